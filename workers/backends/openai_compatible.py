"""Any endpoint that speaks OpenAI's embeddings protocol: OpenAI, TEI, Infinity, vLLM, Ollama.

What is the endpoint's trouble (no connection, 429, 5xx, half an answer) is tried again for a while and then stops the
worker: its texts stay in the topic. What is a text's trouble (400, a wrong answer again and again) is found by the
pipeline, which halves the batch until the text that fails alone is a dead letter.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import tenacity

from embedwatch import __version__
from embedwatch.clock import Clock, SystemClock
from embedwatch.errors import ConfigError, ConnectionFailed, ModelError
from embedwatch.events import TokenMethod
from embedwatch.settings import WorkerSettings
from embedwatch.tokens import TiktokenCounter, counter_for
from workers.backend import Encoded, Vectors
from workers.backends.openai_wire import most_bytes, read_answer, reason_of, requests_of, share, wait_asked
from workers.backends.rate_limit import PerMinute
from workers.failures import EmbedError

log = logging.getLogger(__name__)

#: Answers that say "not now" rather than "not this".
_LATER = frozenset({402, 408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
#: An answer that makes no sense may be a proxy's; after so many it is the text's or the model's fault.
_BAD_ANSWERS = 3


class _NotNow(Exception):
    """Worth another try. `wait_seconds` is what the endpoint asks for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class OpenAIEmbedder:
    """`sleep` waits between tries and for the rate limits; without one, `close` ends the waiting."""

    device = "api"
    gpu_uuids: Sequence[str] = ()

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], object] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Asks the endpoint once. Raises `ConfigError`, `ModelError` or `ConnectionFailed`."""
        if settings.api_base_url is None:
            raise ConfigError("the openai backend needs --api-base-url, e.g. https://api.openai.com/v1")
        self._settings = settings
        self._clock = clock or SystemClock()
        # It logs every request with its whole address, in which there may be a key.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._closed = threading.Event()
        self._sleep: Callable[[float], object] = sleep or self._closed.wait
        self._url = settings.api_base_url.rstrip("/") + "/embeddings"
        self.where = _where(self._url)
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._client = httpx.Client(
            headers={"user-agent": f"embedwatch/{__version__}"} | ({"authorization": f"Bearer {key}"} if key else {}),
            timeout=settings.api_timeout_seconds,
            limits=httpx.Limits(max_connections=settings.api_concurrency),
            transport=transport,
        )
        self._pool = ThreadPoolExecutor(settings.api_concurrency, thread_name_prefix="embedwatch-api")
        self._lock = threading.Lock()  # of the rate limits and what follows
        #: Requests tried again so far.
        self.retries = 0
        self._requests = PerMinute(settings.api_requests_per_minute)
        self._tokens = PerMinute(settings.api_tokens_per_minute)
        self._counter = counter_for(settings.model)
        self.name = settings.model
        self.max_tokens = settings.api_max_text_tokens
        self.local = _is_ours(self._url)
        self.dims: Any = None
        try:
            vectors, told = self._ask(["warm-up"], 2)
        except EmbedError as error:
            self.close()
            raise ModelError(f"{self.where}: model {self.name!r} cannot be used: {error}") from None
        except BaseException:
            self.close()
            raise
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self.where}: model {self.name!r} gives vectors with NaN or infinity")
        self.dims = int(vectors.shape[1])
        #: `provider` where the endpoint counts tokens itself, else how they are counted here.
        self.token_method: TokenMethod = self._counter.method if told is None else "provider"
        self._billed: list[int] | None = None
        described = (self._url, self.name, self.dims, settings.api_dimensions, self.max_tokens)
        self.fingerprint = blake2b("\0".join(map(str, described)).encode(), digest_size=16).hexdigest()

    @property
    def pads(self) -> bool:
        return False  # what a provider pads it does not say, nor bill

    @property
    def token_budget(self) -> int:
        """As much as all connections together may have under way."""
        return self._settings.api_max_batch_tokens * self._settings.api_concurrency

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        """Payloads are (text, tokens). Texts too long for the model are cut where the tokens are known exactly."""
        full = np.array(self._counter.count(texts), np.int64)
        counts = np.minimum(full, self.max_tokens)
        clip = self._counter.clip if isinstance(self._counter, TiktokenCounter) else None
        payloads = [
            (text if clip is None or whole <= count else clip(text, count), count)
            for text, count, whole in zip(texts, counts.tolist(), full.tolist(), strict=True)
        ]
        return Encoded(payloads, counts, full)

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        """Raises `EmbedError` for what is the texts' fault, `ConnectionFailed` and `ConfigError` for the rest."""
        counts = [count for _, count in payloads]
        parts = requests_of(counts, self._settings.api_max_batch_texts, self._settings.api_max_batch_tokens)

        def one(part: list[int]) -> tuple[Vectors, int | None]:
            return self._ask([payloads[index][0] for index in part], sum(counts[index] for index in part))

        futures = [self._pool.submit(one, part) for part in parts]
        # All are waited for, also after a failure: none may go on behind the back of the next batch.
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            raise next((error for error in failures if not isinstance(error, EmbedError)), failures[0])
        answers = [future.result() for future in futures]
        billed = np.zeros(len(payloads), np.int64)
        for part, (_, told) in zip(parts, answers, strict=True):
            weights = np.array([counts[index] for index in part], np.int64)
            billed[part] = weights if told is None else share(told, weights)
        self._billed = billed.tolist() if self.token_method == "provider" else None  # noqa: S105
        return np.concatenate([vectors for vectors, _ in answers])

    def billed_tokens(self) -> list[int] | None:
        """Tokens of each text of the last `embed` as the provider counted them; they add up to its `usage`."""
        return self._billed

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._counter.count(texts)

    def health(self) -> str | None:
        """Asks the endpoint."""
        try:
            self._ask(["health"], 1)
        except (ConnectionFailed, ConfigError, EmbedError) as error:
            return str(error)
        return None

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _ask(self, texts: list[str], tokens: int) -> tuple[Vectors, int | None]:
        """One request, tried again while the endpoint is in trouble."""
        bad_answers = 0

        def attempt() -> tuple[Vectors, int | None]:
            nonlocal bad_answers
            self._wait_for_turn(tokens)
            body = self._post(texts)
            try:
                vectors, told = read_answer(body, len(texts), self.dims)
            except EmbedError as error:
                bad_answers += 1
                if bad_answers >= _BAD_ANSWERS:
                    raise
                raise _NotNow(str(error)) from None
            if told is not None:
                with self._lock:
                    self._tokens.correct(told - tokens)
            return vectors, told

        backoff = tenacity.wait_exponential_jitter(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_seconds if isinstance(error, _NotNow) else None
            own = backoff(state)
            # Never sooner than asked; and not so late that a wrong clock or a joke of a header stops the work.
            return own if asked is None else min(max(asked, own), self._settings.api_retry_seconds)

        begun = self._clock.monotonic()
        try:
            return tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(_NotNow),
                stop=lambda _: (
                    self._closed.is_set() or self._clock.monotonic() - begun >= self._settings.api_retry_seconds
                ),
                wait=wait,
                sleep=self._pause,
                before_sleep=self._say_retry,
                reraise=True,
            )(attempt)
        except _NotNow as error:
            raise ConnectionFailed(
                f"{self.where}: {error}, for {self._settings.api_retry_seconds:g} s. The worker stops and its texts "
                "stay in the topic; worker.api_retry_seconds sets how long it tries"
            ) from None

    def _say_retry(self, state: tenacity.RetryCallState) -> None:
        with self._lock:
            self.retries += 1
        log.warning(
            "%s: %s; tried again in %.1f s",
            self.where,
            state.outcome.exception() if state.outcome else "?",
            state.next_action.sleep if state.next_action else 0,
        )

    def _pause(self, seconds: float) -> None:
        self._sleep(seconds)

    def _wait_for_turn(self, tokens: int) -> None:
        with self._lock:
            now = self._clock.monotonic()
            wait = max(self._requests.take(1, now), self._tokens.take(tokens, now))
        if wait > 0:
            self._sleep(wait)

    def _post(self, texts: list[str]) -> bytes:
        """An answer that is too long comes cut, and still too long: `read_answer` refuses it."""
        request: dict[str, Any] = {"model": self.name, "input": texts, "encoding_format": "base64"}
        if self._settings.api_dimensions is not None:
            request["dimensions"] = self._settings.api_dimensions
        if self._closed.is_set():
            raise _NotNow("the worker stops")
        try:
            with self._client.stream("POST", self._url, json=request) as answer:
                body = _begin_of(answer, most_bytes(len(texts), self.dims))
        except httpx.HTTPError as error:
            raise _NotNow(f"no answer ({type(error).__name__})") from None
        if answer.is_success:
            return body
        status, reason = answer.status_code, reason_of(body)
        if status in _LATER:
            raise _NotNow(f"answers {status}: {reason}", wait_asked(answer.headers, self._clock.now()))
        if status in (401, 403):
            raise ConfigError(
                f"{self.where} refuses the key ({status}): set worker.api_key (EMBEDWATCH_WORKER_API_KEY)"
            )
        if status == 404:
            raise ConfigError(
                f"{self.where} has no such path or model ({status}: {reason}): look at --api-base-url, which ends in "
                "/v1 at most servers, and --model"
            )
        raise EmbedError("bad_response" if status < 400 else "model_error", f"the endpoint answers {status}: {reason}")


def _begin_of(answer: httpx.Response, limit: int) -> bytes:
    """All of it, or, of what is longer than the limit, one byte more than that: an answer may have no end."""
    body = bytearray()
    for part in answer.iter_bytes():
        body += part[: limit + 1 - len(body)]
        if len(body) > limit:
            break
    return bytes(body)


def _where(url: str) -> str:
    """Scheme, host and port: no user, password or query, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _is_ours(url: str) -> bool:
    """A machine of the user's own: loopback, a private address or a bare name, as services have in compose."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return address.is_loopback or address.is_private
