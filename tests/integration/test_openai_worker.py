"""A worker whose model is an HTTP endpoint: what it gives, what it bills, and what it costs when it is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedwatch.settings import KafkaSettings
from tests.harness.embedding_api import EmbeddingApi, tokens_of
from tests.harness.workers import Flow

SECRET = "sk-of-the-integration-test"


@pytest.fixture
def api() -> Iterator[EmbeddingApi]:
    with EmbeddingApi(key=SECRET) as service:
        yield service


@pytest.fixture
def flow(embedded_settings: KafkaSettings, tmp_path: Path) -> Flow:
    made = Flow(embedded_settings, tmp_path)
    made.environ["EMBEDWATCH_WORKER_API_KEY"] = SECRET
    return made


def arguments(api: EmbeddingApi, *more: object) -> tuple[object, ...]:
    return ("--backend", "openai", "--model", "text-embedding-3-small", "--api-base-url", api.url, *more)


def test_texts_are_embedded_billed_and_dead_lettered_one_by_one(flow: Flow, api: EmbeddingApi) -> None:
    ids = flow.send_chunks(4, 25)
    flow.send([(b"bad", b"a poison text", [])])
    api.moods = ["fine", 429, 500, "half"]  # the first answer is the warm-up's
    log = flow.work(*arguments(api, "--api-max-batch-texts", 10, "--failure-budget-pct", 100))
    assert SECRET not in log
    assert "tried again in" in log
    assert "HTTP Request" not in log
    vectors = flow.vectors()
    assert Counter(text_id for text_id, _ in vectors) == Counter(ids)
    for text_id, vector in vectors:
        truth = api.model.embed([f"text of {text_id}"])[0]
        assert np.allclose(vector, truth, atol=1e-6)
    assert flow.dead() == {"bad": "model_error"}
    batches = flow.batches()
    assert {event.token_method for event in batches} == {"provider"}
    assert sum(event.tokens_embedded for event in batches) == sum(tokens_of(f"text of {i}") for i in ids)
    assert sum(event.padding_tokens for event in batches) == 0


def test_an_endpoint_that_stays_away_stops_the_worker_and_its_texts_wait(flow: Flow, api: EmbeddingApi) -> None:
    ids = flow.send_chunks(2, 10)
    api.moods = ["fine", *[503] * 50]
    with flow.worker(*arguments(api, "--api-retry-seconds", 2)) as child:
        assert child.process.wait(60) == 4
        last = child.last_words(1)
    assert "answers 503" in last
    assert "stay in the topic" in last
    assert flow.dead() == {}
    api.moods.clear()
    flow.work(*arguments(api))
    assert Counter(text_id for text_id, _ in flow.vectors()) == Counter(ids)


def test_a_wrong_key_is_one_line_at_the_start(flow: Flow, api: EmbeddingApi) -> None:
    flow.environ["EMBEDWATCH_WORKER_API_KEY"] = "sk-not-this-one"
    with flow.worker(*arguments(api)) as child:
        assert child.process.wait(30) == 2
        log = child.log.read_text()
    assert "EMBEDWATCH_WORKER_API_KEY" in log
    assert "sk-not" not in log
    assert "Traceback" not in log
