"""`embedwatch produce` as a process against real brokers: what arrives, and what it says about what did not."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import consumer, create_topics, partitions_of, true_end_offsets
from embedwatch.processes import free_port
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from embedwatch.wire import TextItem, decode_texts
from tests.harness.own_endpoint import numbers, probe
from tests.harness.workers import until

COMMAND = [sys.executable, "-c", "from embedwatch.cli import main; main()", "produce"]
PATIENCE_SECONDS = 30.0


class Produce:
    """Starts the command for one broker and topic prefix."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("EMBEDWATCH_")} | {
            "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "EMBEDWATCH_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        }

    def __call__(self, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env=self.environ,
            timeout=90,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextlib.contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environ,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def feed(process: subprocess.Popen[bytes], lines: range) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(b"text %d\n" % n for n in lines))
    process.stdin.flush()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Exit code, standard output and error once it has ended by itself; its standard input may still be open."""
    code = process.wait(60)
    assert process.stdout is not None
    assert process.stderr is not None
    return code, process.stdout.read().decode(), process.stderr.read().decode()


def arrived(kafka: KafkaSettings) -> list[TextItem]:
    """All texts on the topic, partition by partition."""
    topic = Topics(kafka.topic_prefix).texts
    ends = true_end_offsets(kafka, partitions_of(kafka, topic))
    if not ends:
        return []  # the topic is not there yet
    client = consumer(kafka, "test-reader", group=None)
    found: list[tuple[int, int, list[TextItem]]] = []
    try:
        client.assign(list(ends))
        client.seek_to_beginning(*ends)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(client.position(tp) < end for tp, end in ends.items()):
            assert time.monotonic() < deadline, "the topic could not be read to its end"
            for tp, records in client.poll(500).items():
                for r in records:
                    items = decode_texts(r.key, r.value, r.headers, fallback_id="no key")
                    found.append((tp.partition, r.offset, items))
    finally:
        client.close()
    return [item for _, _, items in sorted(found, key=lambda part: part[:2]) for item in items]


def wait_for_texts(kafka: KafkaSettings, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    seen = -1
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionFailed):
            seen = len(arrived(kafka))
        if seen >= count:
            return
    raise AssertionError(f"{seen} texts arrived, waited for {count}")


@pytest.fixture
def produce(embedded_settings: KafkaSettings) -> Produce:
    return Produce(embedded_settings)


@pytest.fixture
def broker_of_its_own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """One that a test may stop, pause and kill."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with EmbeddedBroker(folder) as service:
        yield service
        if service.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(service.pid, signal.SIGCONT)


def write_txt(path: Path, texts: list[str]) -> None:
    path.write_text("".join(text + "\n" for text in texts))


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])


def write_parquet(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts}), path)


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "txt": write_txt,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def test_all_texts_of_every_format_arrive_once_with_their_headers(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = {name: [f"{name} text number {n}, größer" for n in range(700)] for name in WRITERS}
    for name, write in WRITERS.items():
        write(data / f"x.{name}", texts[name])
    (data / "picture.png").write_bytes(b"\x89PNG")
    done = Produce(kafka_settings)(data, "--model", "bge-small", "--tenant", "acme", "--json")
    assert done.returncode == 0, done.stderr
    found = arrived(kafka_settings)
    first_line = {"txt": 1, "jsonl": 1, "csv": 2, "parquet": 1}
    assert {(item.id, item.text) for item in found} == {
        (f"x.{name}:{first_line[name] + n}", text) for name in WRITERS for n, text in enumerate(texts[name])
    }
    assert len(found) == 2800
    assert {(item.model, item.tenant, item.source) for item in found} == {
        ("bge-small", "acme", f"x.{name}") for name in WRITERS
    }
    assert all(item.id.startswith(item.source or "?") for item in found)
    counts = json.loads(done.stdout)
    assert counts["outcome"] == "done"
    assert counts["texts_acknowledged"] == counts["texts_read"] == counts["resume_skip"] == 2800
    assert counts["texts_unknown"] == 0
    assert counts["messages"] == 4 * 3  # 256 + 256 + 188 of each
    assert counts["ignored_files"] == 1


def test_the_same_file_twice_has_the_same_ids(produce: Produce, tmp_path: Path) -> None:
    write_txt(tmp_path / "a.txt", ["one", "", "three"])
    for _ in range(2):
        done = produce(tmp_path / "a.txt")
        assert done.returncode == 0, done.stderr
        assert "2 texts in 1 message arrived at" in done.stdout
        assert "note: 1 blank line skipped" in done.stderr
    assert sorted(item.id for item in arrived(produce.kafka)) == ["a.txt:1", "a.txt:1", "a.txt:3", "a.txt:3"]


def test_what_is_not_utf8_or_empty_is_sent_and_said(produce: Produce, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n{"text": ""}\n{"text": "caf\xe9"}\n')
    (tmp_path / "b.txt").write_bytes(b"fine\n\xff\xfe bytes\n")
    done = produce(tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted((item.id, item.text, item.raw) for item in arrived(produce.kafka)) == [
        ("a.jsonl:1", "good", b"good"),
        ("a.jsonl:2", "", b""),
        ("a.jsonl:3", None, b"caf\xe9"),
        ("b.txt:1", "fine", b"fine"),
        ("b.txt:2", None, b"\xff\xfe bytes"),
    ]
    assert "note: 2 texts not valid UTF-8: sent as they are, they become dead letters" in done.stderr
    assert "note: 1 text empty: sent, they become dead letters" in done.stderr


def test_a_broken_line_stops_and_the_rest_can_follow(produce: Produce, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [f"text {n}" for n in range(1000)])
    good = path.read_text()
    path.write_text(good.replace('{"text": "text 600"}', '{"text": "text 600"'))
    done = produce(path)
    assert done.returncode == 3
    assert done.stderr.startswith(f"embedwatch: {path}, line 601: not JSON: ")
    assert done.stderr.endswith("600 texts arrived; go on with --skip 600\n")
    assert done.stderr.count("\n") == 1
    assert len(arrived(produce.kafka)) == 600
    path.write_text(good)
    done = produce(path, "--skip", "600")
    assert done.returncode == 0, done.stderr
    assert sorted(item.id for item in arrived(produce.kafka)) == sorted(f"a.jsonl:{n}" for n in range(1, 1001))


def test_large_texts_arrive_alone_and_larger_ones_are_refused_or_listed(produce: Produce, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_txt(path, ["small", "m" * 1_000_000, "x" * 5_000_000, "f" * 4 * 1024 * 1024, "last"])
    done = produce(path)
    assert done.returncode == 3
    assert f"embedwatch: {path}, line 3: the text has 5,000,000 bytes, at most 4,194,304 can be sent" in done.stderr
    assert "2 texts arrived; go on with --skip 2" in done.stderr
    done = produce(path, "--skip", "2", "--on-too-large", "skip")
    assert done.returncode == 3
    assert f"1 text too large and not sent: {path}, line 3 (5,000,000 bytes)" in done.stderr
    assert "2 texts in 2 messages arrived" in done.stdout
    found = {item.id: len(item.raw) for item in arrived(produce.kafka)}
    assert found == {"a.txt:1": 5, "a.txt:2": 1_000_000, "a.txt:4": 4 * 1024 * 1024, "a.txt:5": 4}


def test_the_largest_message_there_can_be_is_taken(produce: Produce, tmp_path: Path) -> None:
    write_txt(tmp_path / "a.txt", [os.urandom(4 * 1024 * 1024 - 8 * 1024).hex()])
    done = produce(tmp_path / "a.txt", "--max-text-bytes", 8 * 1024 * 1024, "--tenant", "ü" * 256)
    assert done.returncode == 0, done.stderr
    assert len(arrived(produce.kafka)[0].raw) == 8 * 1024 * 1024 - 16 * 1024


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no texts to send: standard input is empty"),
        (b"\n \n", "no texts to send: standard input is empty (2 blank lines)"),
        (b"\x7fELF\0\0", "standard input: looks like binary (NUL bytes"),
    ],
)
def test_standard_input_without_texts_is_an_error(produce: Produce, data: bytes, says: str) -> None:
    done = produce("-", stdin=data)
    assert done.returncode == 3
    assert says in done.stderr.splitlines()[-1 if says.startswith("no") else 0]


def test_a_skip_past_the_end_is_an_error_and_one_to_the_end_is_not(produce: Produce, tmp_path: Path) -> None:
    write_txt(tmp_path / "a.txt", ["one", "two"])
    assert produce(tmp_path / "a.txt", "--skip", "2").returncode == 0
    done = produce(tmp_path / "a.txt", "--skip", "3")
    assert done.returncode == 3
    assert "nothing sent: the inputs hold 2 texts, --skip is 3" in done.stderr


def test_a_topic_that_may_not_be_made_is_missed_in_words(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    produce = Produce(kafka_settings)
    write_txt(tmp_path / "a.txt", ["one"])
    done = produce(tmp_path / "a.txt", "--no-create-topics")
    assert done.returncode == 4
    assert f"there is no topic {produce.kafka.topic_prefix}.texts; make it with" in done.stderr
    assert "embedwatch topics create" in done.stderr
    assert done.stderr.count("\n") == 1
    create_topics(kafka_settings, Topics(kafka_settings.topic_prefix).specs())
    assert produce(tmp_path / "a.txt", "--no-create-topics").returncode == 0


def test_a_few_lines_on_an_open_pipe_do_not_wait_for_more(produce: Produce) -> None:
    port = free_port()
    with produce.started("-", "--source", "log", "--metrics-port", port) as process:
        feed(process, range(3))
        wait_for_texts(produce.kafka, 3)
        assert process.poll() is None
        until(lambda: numbers(port)["embedwatch_producer_acknowledged_texts_total"] == 3)
        assert (probe(port, "/livez"), probe(port, "/readyz")) == ((200, []), (200, []))
        assert numbers(port)["embedwatch_producer_in_flight_texts"] == 0
        assert process.stdin is not None
        process.stdin.close()
        assert ended(process)[0] == 0
    assert [item.id for item in arrived(produce.kafka)] == ["log:1", "log:2", "log:3"]


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_sends_what_was_taken_and_says_what_arrived(
    produce: Produce, number: signal.Signals, code: int, word: str
) -> None:
    with produce.started("-", "--max-wait-ms", "60000", "--json") as process:
        feed(process, range(600))
        wait_for_texts(produce.kafka, 512)  # the last 88 wait for their chunk to fill
        process.send_signal(number)
        got, out, err = ended(process)
    assert got == code
    assert f"embedwatch: {word}: 600 texts arrived; go on with --skip 600" in err
    counts = json.loads(out)
    assert (counts["outcome"], counts["texts_acknowledged"], counts["texts_unknown"]) == ("stopped", 600, 0)
    assert len(arrived(produce.kafka)) == 600


def test_a_signal_during_a_paced_run_ends_it_soon(produce: Produce) -> None:
    with produce.started("--stdlib-docs", "--rate", "50", "--json") as process:
        wait_for_texts(produce.kafka, 20)
        process.send_signal(signal.SIGTERM)
        code, out, _ = ended(process)
    assert code == 143
    counts = json.loads(out)
    assert counts["texts_acknowledged"] == len(arrived(produce.kafka)) == counts["resume_skip"]


def test_a_broker_that_dies_leaves_the_exact_count_of_what_it_had(broker_of_its_own: EmbeddedBroker) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker_of_its_own.bootstrap_servers)
    with Produce(kafka).started("-", "--timeout-seconds", "3", "--json") as process:
        feed(process, range(300))
        wait_for_texts(kafka, 300)
        true_end_offsets(
            kafka, partitions_of(kafka, Topics().texts)
        )  # the answers to the producer are out before these
        assert broker_of_its_own.pid is not None
        os.kill(broker_of_its_own.pid, signal.SIGKILL)
        feed(process, range(50))
        code, out, err = ended(process)
    assert code == 5
    assert err.count("\n") == 1
    assert err.startswith("embedwatch: topic embedwatch.texts: ")
    assert err.endswith("300 texts arrived; go on with --skip 300\n")
    counts = json.loads(out)
    assert (counts["outcome"], counts["texts_acknowledged"], counts["resume_skip"]) == ("failed", 300, 300)
    assert counts["texts_unknown"] == 50


def test_after_a_broker_that_stood_still_the_rest_can_follow_without_a_loss(
    broker_of_its_own: EmbeddedBroker, tmp_path: Path
) -> None:
    """The broker stops in full flow: some chunks are acknowledged, some are not, some arrive without our knowing."""
    kafka = KafkaSettings(bootstrap_servers=broker_of_its_own.bootstrap_servers)
    produce, path, total = Produce(kafka), tmp_path / "a.txt", 40_000
    write_txt(path, [f"text {n}" for n in range(total)])
    arguments = (path, "--chunk-texts", "5", "--rate", "20000", "--timeout-seconds", "3", "--json")
    pid = broker_of_its_own.pid
    assert pid is not None
    with produce.started(*arguments) as process:
        wait_for_texts(kafka, 500)
        os.kill(pid, signal.SIGSTOP)
        code, out, err = ended(process)
    os.kill(pid, signal.SIGCONT)
    counts = json.loads(out)
    assert code == 5, err
    assert 500 <= counts["resume_skip"] <= counts["texts_acknowledged"] < total
    there = [item.id for item in arrived(kafka)]
    assert counts["texts_acknowledged"] <= len(there) <= counts["texts_acknowledged"] + counts["texts_unknown"]
    assert {f"a.txt:{n}" for n in range(1, counts["resume_skip"] + 1)} <= set(there)
    done = produce(path, "--skip", counts["resume_skip"])
    assert done.returncode == 0, done.stderr
    assert {item.id for item in arrived(kafka)} == {f"a.txt:{n}" for n in range(1, total + 1)}


def test_a_signal_is_obeyed_while_the_broker_stands_still(broker_of_its_own: EmbeddedBroker) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker_of_its_own.bootstrap_servers)
    pid = broker_of_its_own.pid
    assert pid is not None
    with Produce(kafka).started("-", "--json") as process:
        feed(process, range(300))
        wait_for_texts(kafka, 300)
        os.kill(pid, signal.SIGSTOP)
        feed(process, range(20_000))  # more than may be under way: it waits for room
        process.send_signal(signal.SIGTERM)
        code, out, err = ended(process)  # the delivery timeout alone would be 30 s
    assert code == 143
    counts = json.loads(out)
    assert counts["outcome"] == "stopped"
    assert counts["duration_seconds"] < 25
    assert counts["resume_skip"] == counts["texts_acknowledged"] == 300
    assert "terminated: 300 texts arrived; go on with --skip 300" in err


def test_a_topic_with_a_smaller_limit_is_named(apache_kafka: Any, tmp_path: Path) -> None:
    """Apache Kafka refuses a message above the topic's own limit; the embedded broker takes it."""
    from dataclasses import replace

    from tests.harness.brokers import settings_for

    kafka = settings_for(apache_kafka)
    (spec,) = (spec for spec in Topics(kafka.topic_prefix).specs() if spec.name.endswith(".texts"))
    create_topics(kafka, [replace(spec, max_message_bytes=100_000)])
    write_txt(tmp_path / "a.txt", ["one", os.urandom(150_000).hex()])
    done = Produce(kafka)(tmp_path / "a.txt")
    assert done.returncode == 5
    assert "larger than the topic allows: raise its max.message.bytes" in done.stderr
    assert "1 text arrived; go on with --skip 1" in done.stderr
    assert done.stderr.count("\n") == 1
