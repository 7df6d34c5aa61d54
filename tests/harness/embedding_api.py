"""A local stand-in for an OpenAI-compatible endpoint: real HTTP, vectors of the hashing model, and moods.

`moods` is a list of what the next answers are: an HTTP status, or "half", "nan", "dims", "garbage"; then it is well
again. A text with the word `poison` is always refused with 400. Vectors come as base64, as OpenAI's own client asks for
them, and as numbers where `encoding_format` is "float". Azure's path, which names the deployment, is answered too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from typing import Any

import numpy as np

from tests.harness.local_server import Handler, LocalServer
from workers.backends.hashing import HashingEmbedder


class EmbeddingApi(LocalServer):
    """Use it as a context manager; `url` ends in /v1. `seen` are the requests' bodies."""

    def __init__(self, *, dims: int = 16, key: str | None = None, usage: bool = True) -> None:
        self.model = HashingEmbedder("stand-in", dims)
        self.key, self.usage = key, usage
        self.moods: list[int | str] = []
        self.headers: dict[str, str] = {}
        self.answers_as: str | None = None  # the model that the answer names; else the one asked for
        self.seen: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.gate: threading.Event | None = None
        self._lock = threading.Lock()
        api = self

        class Answers(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = api.answer(self.path, self.headers.get("authorization"), json.loads(body))
                self.send_response(status)
                for name, value in api.headers.items() if status >= 400 else ():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                # Half an answer: less than was promised, and the connection closed.
                cut = answer[: len(answer) // 2] if status == 200 and answer.endswith(b"half") else answer
                with contextlib.suppress(ConnectionError):  # whoever asked may have gone
                    self.wfile.write(cut)
                if cut is not answer:
                    self.close_connection = True

        super().__init__(Answers)

    @property
    def url(self) -> str:
        return f"{super().url}/v1"

    def answer(self, path: str, authorization: str | None, request: dict[str, Any]) -> tuple[int, bytes]:
        with self._lock:
            self.seen.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            mood = self.moods.pop(0) if self.moods else None
        try:
            if self.gate is not None:
                self.gate.wait(10)
            return self._answer(path, authorization, request, mood)
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(
        self, path: str, authorization: str | None, request: dict[str, Any], mood: int | str | None
    ) -> tuple[int, bytes]:
        if path != "/v1/embeddings" and not path.startswith("/openai/deployments/"):
            return 404, b'{"error": {"message": "no such path"}}'
        if self.key is not None and authorization != f"Bearer {self.key}":
            return 401, b'{"error": {"message": "invalid key"}}'
        if isinstance(mood, int):
            return mood, json.dumps({"error": {"message": f"mood {mood}"}}).encode()
        texts = texts_of(request["input"])
        if any("poison" in text for text in texts):
            return 400, b'{"error": {"message": "a text I cannot stand"}}'
        if mood == "garbage":
            return 200, b"<html>proxy</html>"
        vectors = self.model.embed(self.model.tokenise(texts).payloads)
        if mood == "dims":
            vectors = vectors[:, :-1]
        if mood == "nan":
            vectors[0, 0] = np.nan
        vectors = vectors[:, : request.get("dimensions", vectors.shape[1])]
        as_numbers = request.get("encoding_format") == "float"
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": row.tolist() if as_numbers else base64.b64encode(row.astype("<f4").tobytes()).decode(),
            }
            for index, row in enumerate(vectors)
        ]
        answer: dict[str, Any] = {"object": "list", "data": rows[::-1], "model": self.answers_as or request["model"]}
        if self.usage:
            answer["usage"] = {"prompt_tokens": sum(tokens_of(text) for text in texts), "total_tokens": 0}
        body = json.dumps(answer).encode()
        return 200, body + b"half" if mood == "half" else body


def texts_of(given: Any) -> list[str]:
    """A text, texts, the tokens of one, or the tokens of each."""
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        given = [given]
    return [each if isinstance(each, str) else " ".join(map(str, each)) for each in given]


def tokens_of(text: str) -> int:
    """What this provider bills: unlike any count made elsewhere."""
    return 2 * len(text.split()) + 1
