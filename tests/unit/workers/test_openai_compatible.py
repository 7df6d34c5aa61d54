from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.checks import guarded
from embedwatch.errors import ConfigError, ConnectionFailed, ModelError
from embedwatch.settings import Settings, WorkerSettings
from tests.harness.embedding_api import EmbeddingApi, tokens_of
from workers.backends.openai_compatible import OpenAIEmbedder, _is_ours, _where
from workers.backends.openai_wire import most_bytes, read_answer, reason_of, requests_of, share, wait_asked
from workers.backends.rate_limit import PerMinute
from workers.checks import check_model
from workers.failures import EmbedError

SECRET = "sk-very-secret"


@pytest.fixture
def api() -> Iterator[EmbeddingApi]:
    with EmbeddingApi(key=SECRET) as service:
        yield service


class Rig:
    """Makes embedders whose waiting passes the time of a clock instead of a test's."""

    def __init__(self, api: EmbeddingApi, clock: Any) -> None:
        self.api, self.clock = api, clock
        self.slept: list[float] = []
        self._made: list[OpenAIEmbedder] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.pass_by(seconds)

    def __call__(self, **settings: Any) -> OpenAIEmbedder:
        options = {
            "backend": "openai", "model": "text-embedding-3-small", "api_base_url": self.api.url,
            "api_key": SECRET, **settings,
        }  # fmt: skip
        made = OpenAIEmbedder(WorkerSettings.model_validate(options), clock=self.clock, sleep=self.sleep)
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture
def make(api: EmbeddingApi, clock: Any) -> Iterator[Rig]:
    rig = Rig(api, clock)
    yield rig
    rig.close()


def embed(model: OpenAIEmbedder, texts: list[str]) -> Any:
    return model.embed(model.tokenise(texts).payloads)


TEXTS = [f"text number {number} " * (number % 3 + 1) for number in range(11)]


def test_every_text_gets_its_own_vector_in_whatever_order_they_come(api: EmbeddingApi, make: Rig) -> None:
    model = make(api_max_batch_texts=3, api_dimensions=16)
    assert np.allclose(embed(model, TEXTS), api.model.embed(api.model.tokenise(TEXTS).payloads), atol=1e-6)
    assert (model.dims, model.device, model.local) == (16, "api", True)
    sizes = [len(request["input"]) for request in api.seen[1:]]
    assert sorted(sizes) == [2, 3, 3, 3]
    assert {request["dimensions"] for request in api.seen} == {16}


def test_tokens_are_those_the_provider_bills_and_add_up_to_its_usage(make: Rig) -> None:
    model = make(api_max_batch_texts=4)
    embed(model, TEXTS)
    assert model.token_method == "provider"
    assert sum(model.billed_tokens() or ()) == sum(tokens_of(text) for text in TEXTS)


def test_without_usage_the_tokens_are_counted_here(api: EmbeddingApi, make: Rig) -> None:
    api.usage = False
    model = make()
    embed(model, TEXTS)
    assert (model.token_method, model.billed_tokens()) == ("tiktoken", None)
    assert make(model="some-model").token_method == "estimated"


def test_a_text_that_is_too_long_is_cut_where_its_tokens_are_known(api: EmbeddingApi, make: Rig) -> None:
    model = make(api_max_text_tokens=5)
    encoded = model.tokenise(["one two three four five six seven eight"])
    assert (encoded.counts.tolist(), encoded.full_counts.tolist()) == ([5], [8])
    assert encoded.payloads[0][0] == "one two three four five"


@pytest.mark.parametrize("mood", [429, 500, 503, 408, "half", "garbage", "dims"])
def test_trouble_of_the_endpoint_is_tried_again(api: EmbeddingApi, make: Rig, mood: int | str) -> None:
    model = make()
    api.moods = [mood, mood]
    assert np.allclose(embed(model, ["text"]), api.model.embed(["text"]), atol=1e-6)
    assert len(make.slept) == 2
    assert all(0.5 <= seconds <= 31 for seconds in make.slept)


def test_it_waits_as_long_as_it_is_asked_to(api: EmbeddingApi, make: Rig) -> None:
    model = make()
    api.moods, api.headers = [429], {"retry-after": "7"}
    embed(model, ["text"])
    assert 7 <= make.slept[0] < 8


def test_trouble_that_lasts_stops_the_worker_and_makes_no_dead_letters(api: EmbeddingApi, make: Rig) -> None:
    model = make(api_retry_seconds=20)
    api.moods = [503] * 100
    with pytest.raises(ConnectionFailed, match="answers 503: mood 503, for 20 s"):
        embed(model, ["text"])


def test_answers_that_stay_wrong_are_the_texts_fault(api: EmbeddingApi, make: Rig) -> None:
    model = make()
    api.moods = ["dims"] * 3
    with pytest.raises(EmbedError, match="15"):
        embed(model, ["text"])


def test_a_text_that_is_refused_is_the_texts_fault_and_not_tried_again(api: EmbeddingApi, make: Rig) -> None:
    model = make()
    with pytest.raises(EmbedError, match="a text I cannot stand"):
        embed(model, ["fine", "poison"])
    assert make.slept == []


def test_a_vector_with_nan_is_left_to_the_pipeline(api: EmbeddingApi, make: Rig) -> None:
    model = make()
    api.moods = ["nan"]
    assert np.isnan(embed(model, ["text", "other"])).any(axis=1).tolist() == [True, False]


def test_a_wrong_key_or_address_is_said_at_the_start_and_the_key_never(
    api: EmbeddingApi, make: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError, match="EMBEDWATCH_WORKER_API_KEY") as refused:
        make(api_key="sk-wrong-secret")
    assert "sk-wrong" not in str(refused.value)
    with pytest.raises(ConfigError, match="--api-base-url"):
        make(api_base_url=api.url.removesuffix("/v1"))
    with pytest.raises(ConfigError, match="--api-base-url"):
        make(api_base_url=None)
    with pytest.raises(ConnectionFailed, match="no answer"):
        make(api_base_url="http://127.0.0.1:1/v1", api_retry_seconds=1)
    embed(make(), ["text"])
    assert "secret" not in caplog.text


@pytest.mark.parametrize("mood", ["garbage"])
def test_an_endpoint_that_makes_no_sense_at_the_start_is_a_model_that_cannot_be_used(
    api: EmbeddingApi, make: Rig, mood: str
) -> None:
    api.moods = [mood] * 5
    with pytest.raises(ModelError, match="cannot be used") as refused:
        make()
    assert "\n" not in str(refused.value)


def test_no_more_requests_are_under_way_than_allowed(api: EmbeddingApi, make: Rig) -> None:
    model = make(api_concurrency=2, api_max_batch_texts=1)
    api.gate = threading.Event()
    timer = threading.Timer(0.3, api.gate.set)
    timer.start()
    embed(model, TEXTS)
    timer.join()
    assert api.most_at_once == 2


def test_the_limits_of_the_account_are_kept(make: Rig) -> None:
    model = make(api_requests_per_minute=3, api_max_batch_texts=1, api_concurrency=1)
    begun = make.clock.monotonic()
    embed(model, TEXTS)
    # 12 requests with the first one at the start: three are free, the others come every 20 s
    assert make.clock.monotonic() - begun >= 9 * 20 - 1


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_requests_hold_every_text_once_in_order_and_no_more_than_allowed(
    counts: list[int], max_texts: int, max_tokens: int
) -> None:
    parts = requests_of(counts, max_texts, max_tokens)
    assert [index for part in parts for index in part] == list(range(len(counts)))
    for part in parts:
        assert len(part) <= max_texts
        assert sum(counts[index] for index in part) <= max_tokens or len(part) == 1


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**4), min_size=1, max_size=40))
def test_a_shared_total_adds_up_and_follows_the_weights(total: int, weights: list[int]) -> None:
    shares = share(total, np.array(weights))
    assert shares.sum() == total
    assert (shares >= 0).all()
    exact = total * np.maximum(weights, 1) / np.maximum(weights, 1).sum()
    assert (np.abs(shares - exact) < 1).all()


@given(st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 30)), max_size=40), st.floats(1, 100))
def test_no_minute_holds_more_than_the_limit_and_one_full_bucket(
    takes: list[tuple[float, float]], limit: float
) -> None:
    bucket, now, gone = PerMinute(limit), 0.0, []
    for amount, pause in takes:
        now += bucket.take(min(amount, limit), now)
        gone.append((now, min(amount, limit)))
        now += pause
    for at, _ in gone:
        assert sum(amount for when, amount in gone if at <= when < at + 60) <= 2 * limit + 1e-6


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 25 Nov 2020 12:00:10 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_what_the_endpoint_asks_to_wait_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked(headers, 1795608000.0) == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"data": []}',
        b'{"data": [{"index": 1, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": "not base64!"}]}',
        b'{"data": [{"index": 0, "embedding": "AAAA"}]}',
    ],
)
def test_an_answer_that_is_not_the_vectors_asked_for_is_refused(body: bytes) -> None:
    with pytest.raises(EmbedError):
        read_answer(body, 1, None)


def padded(api: EmbeddingApi, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Every answer has so many bytes: blanks mean nothing in JSON."""
    real = api.answer

    def answer(*asked: Any) -> tuple[int, bytes]:
        status, body = real(*asked)
        return status, body.ljust(size)

    monkeypatch.setattr(api, "answer", answer)


def test_an_answer_of_as_many_bytes_as_there_may_be_is_read_and_one_byte_more_is_not(
    api: EmbeddingApi, make: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    most = most_bytes(2, model.dims)
    padded(api, monkeypatch, most)
    assert embed(model, ["a text", "another"]).shape == (2, model.dims)
    monkeypatch.undo()
    padded(api, monkeypatch, most + 1)
    with pytest.raises(EmbedError, match=f"more than {most:,} bytes, which is more than 2 vectors can take"):
        embed(model, ["a text", "another"])


def test_a_first_answer_of_as_many_bytes_as_there_may_be_is_read_and_one_byte_more_is_not(
    api: EmbeddingApi, make: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded(api, monkeypatch, most_bytes(1, None))
    assert make().dims > 0
    monkeypatch.undo()
    padded(api, monkeypatch, most_bytes(1, None) + 1)
    with pytest.raises(ModelError, match="is it an endpoint of embeddings"):
        make()


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_without_an_end_is_read_no_further(make: Rig, status: int) -> None:
    read = 0

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal read
            while True:
                read += 65_536
                yield b" " * 65_536

    settings = WorkerSettings.model_validate(
        {"backend": "openai", "model": "m", "api_base_url": "http://127.0.0.1:1/v1", "api_retry_seconds": 60}
    )
    endless = httpx.MockTransport(lambda _: httpx.Response(status, stream=Endless()))
    with pytest.raises(ModelError, match="cannot be used"):
        OpenAIEmbedder(settings, clock=make.clock, sleep=make.sleep, transport=endless)
    assert read <= 3 * (most_bytes(1, None) + 2 * 65_536)


@pytest.mark.parametrize("indent", [None, 8])
def test_vectors_written_out_at_length_are_within_what_is_read(indent: int | None) -> None:
    vectors = (np.random.default_rng(1).normal(size=(3, 384)) / 1e5).tolist()
    rows = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(vectors)]
    body = json.dumps({"object": "list", "data": rows}, indent=indent).encode()
    assert len(body) < most_bytes(3, 384)
    assert read_answer(body, 3, 384)[0].shape == (3, 384)


def test_plain_numbers_do_as_well_as_base64() -> None:
    vectors, told = read_answer(
        b'{"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"total_tokens": 5}}', 1, 2
    )
    assert (vectors.tolist(), told) == ([[1.0, 2.0]], 5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "too\\n long"}}', "too long"),
        (b'{"detail": "no"}', "no"),
        (b"\xff", "\ufffd"),
        (b"", "no reason given"),
    ],
)
def test_the_endpoints_own_words_are_kept_in_one_line(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://api.openai.com/v1", False),
        ("http://127.0.0.1:1/v1", True),
        ("http://tei:80", True),
        ("http://10.1.2.3", True),
        ("http://localhost:8080", True),
        ("https://8.8.8.8/v1", False),
    ],
)
def test_a_machine_of_ours_is_told_from_a_providers(url: str, ours: bool) -> None:
    assert _is_ours(url) is ours


def test_an_address_is_named_without_what_may_be_secret() -> None:
    assert _where("https://user:pass@host.example:8443/v1/embeddings?key=1") == "https://host.example:8443"


def test_its_fingerprint_follows_what_changes_a_vector(make: Rig) -> None:
    first = make().fingerprint
    assert make().fingerprint == first
    assert len({first, make(model="text-embedding-3-large").fingerprint, make(api_dimensions=16).fingerprint}) == 3


def test_closing_ends_the_waiting_for_an_endpoint_that_is_away(api: EmbeddingApi) -> None:
    options = {"backend": "openai", "model": "m", "api_base_url": api.url, "api_key": SECRET}
    model = OpenAIEmbedder(WorkerSettings.model_validate(options))
    api.moods = [503] * 100
    failed: list[BaseException] = []

    def run() -> None:
        try:
            embed(model, ["text"])
        except ConnectionFailed as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until: Callable[[], bool] = lambda: len(api.seen) > 1  # noqa: E731
    for _ in range(200):
        if wait_until():
            break
        thread.join(0.05)
    model.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failed) == 1


def test_check_asks_the_endpoint_once_and_says_what_is_wrong_with_it(api: EmbeddingApi) -> None:
    def check(**settings: Any) -> list[tuple[str, str]]:
        worker = {"backend": "openai", "model": "m", "api_base_url": api.url, "api_key": SECRET, **settings}
        whole = Settings.model_validate({"worker": worker})
        return [(found.state, found.detail) for found in guarded("model", check_model, whole)]

    assert check() == [("ok", f"m at {api.url.removesuffix('/v1')}, 16 dimensions")]
    assert len(api.seen) == 1
    ((state, detail),) = check(api_key="wrong")
    assert (state, "EMBEDWATCH_WORKER_API_KEY" in detail) == ("failed", True)
    api.moods = [503]
    ((state, detail),) = check()
    assert (state, "answers 503" in detail) == ("failed", True)
