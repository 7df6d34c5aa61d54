"""Dead letters and collected vectors, by the commands themselves, after a real worker on the embedded broker."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embedwatch import wire
from embedwatch.kafka import TopicPartition, admin_client, true_end_offsets
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker, settings_for
from tests.harness.commands import say
from tests.harness.workers import DIMS, HASHING, PARTITIONS, Flow
from workers.backends.hashing import HashingEmbedder
from workers.dead_letters import MAX_VALUE_BYTES


class Commands:
    """A flow with ten good texts, two that ask for another model and one that is no text; and our commands on it."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self.flow = Flow(kafka, folder)
        self.folder = folder
        self.ids = self.flow.send_chunks(1, 8)
        self.flow.send([(b"single", b"text of id-0", []), (b"other", b"one more", [])])
        chunk = wire.encode_chunk(["m1", "m2"], ["for another", "model"])
        self.flow.send(
            [(b"m1", chunk, wire.chunk_headers(2, model="another", tenant="acme")), (b"bytes", b"\xff\xfe", [])]
        )
        self.flow.work(*HASHING)

    def run(self, *arguments: object, code: int = 0) -> str:
        return say(self.flow.kafka, *arguments, code=code)

    def letters(self, *arguments: object) -> list[dict[str, object]]:
        found = json.loads(self.run("dlq", "list", "--json", *arguments))
        assert isinstance(found, list)
        return found


@pytest.fixture
def commands(embedded_settings: KafkaSettings, tmp_path: Path) -> Commands:
    return Commands(embedded_settings, tmp_path)


def test_letters_are_listed_shown_and_sent_back_with_their_bytes_and_ids(commands: Commands) -> None:
    shown = commands.run("dlq", "list")
    assert "3 dead letters" in shown
    assert "unknown_model 2, invalid_utf8 1" in shown
    assert "unknown_model" in shown.splitlines()[-2], "in a pipe each letter is one line, whatever COLUMNS is"
    assert [letter["text_id"] for letter in commands.letters("--class", "invalid_utf8")] == ["bytes"]
    assert commands.letters("--tenant", "nobody") == []
    (broken,) = commands.letters("--id", "bytes")
    text = commands.run("dlq", "show", broken["place"])
    assert "invalid_utf8" in text
    assert r"\xff\xfe" in text
    assert "no dead letter '0:99'" in commands.run("dlq", "show", "0:99", code=3)

    assert "2 dead letters would be sent" in commands.run("dlq", "replay", "--class", "unknown_model", "--dry-run")
    told = json.loads(commands.run("dlq", "replay", "--class", "unknown_model", "--dry-run", "--json"))
    assert (told["letters"], told["by_class"], told["sent"]) == (2, {"unknown_model": 2}, None)
    assert "2 sent and acknowledged" in commands.run("dlq", "replay", "--class", "unknown_model", "--yes")
    # The cause is mended: a worker that has the model.
    commands.flow.work("--backend", "hashing", "--model", "another", "--hashing-dims", DIMS)
    got = Counter(text_id for text_id, _ in commands.flow.vectors())
    assert got == Counter([*commands.ids, "single", "other", "m1", "m2"])


def test_a_replay_goes_on_where_the_last_one_ended_and_not_for_ever(commands: Commands) -> None:
    assert "3 sent and acknowledged" in commands.run("dlq", "replay", "--yes")
    assert "0 dead letters to be sent" in commands.run("dlq", "replay", "--yes")
    assert "3 of them were sent back" in commands.run("dlq", "list")
    assert "0 dead letters to be sent" in commands.run("dlq", "replay", "--id", "bytes", "--yes")
    commands.flow.work(*HASHING)  # nothing was mended: all three come back
    assert [letter["replays"] for letter in commands.letters()] == [0, 0, 0, 1, 1, 1]
    assert {(letter["text_id"], letter["tenant"]) for letter in commands.letters()} == {
        ("m1", "acme"), ("m2", "acme"), ("bytes", None),
    }  # fmt: skip
    out = commands.run("dlq", "replay", "--max-replays", "1", "--yes")
    assert "left out: 3, it came back 1 times already" in out


def test_an_event_that_did_not_decode_is_never_sent_to_be_embedded(commands: Commands) -> None:
    topics = commands.flow.topics
    headers = [
        ("error_class", b"malformed_message"), ("stage", b"agents.decode"), ("source_topic", topics.metrics.encode())
    ]  # fmt: skip
    commands.flow.send([(b"metrics-0-7", b"{", headers)], topics.dead_letters)
    said = commands.run("dlq", "replay", "--class", "malformed_message", "--yes")
    assert "0 dead letters to be sent" in said
    assert f"left out: 1, no text of {topics.texts}: it came from {topics.metrics}" in said


def test_a_clipped_text_goes_back_whole(commands: Commands) -> None:
    text = "x" * (MAX_VALUE_BYTES + 1000)
    commands.flow.send([(b"long", text.encode(), [("model", b"another")])])
    commands.flow.work(*HASHING)
    (letter,) = commands.letters("--id", "long")
    assert (letter["bytes"], letter["clipped_from_bytes"]) == (MAX_VALUE_BYTES, len(text))
    assert "1 sent and acknowledged" in commands.run("dlq", "replay", "--id", "long", "--yes")
    long = [record for record in commands.flow.read(commands.flow.topics.texts) if record.key == b"long"]
    assert [record.value for record in long] == [text.encode()] * 2
    assert wire.header(long[1].headers, "replays") == "1"


def test_a_clipped_letter_whose_source_is_gone_keeps_no_other_from_going(commands: Commands) -> None:
    topics = commands.flow.topics
    headers = [
        ("error_class", b"unknown_model"), ("source_topic", topics.texts.encode()), ("source_partition", b"0"),
        ("source_offset", b"100000"), ("clipped_from_bytes", b"50"),
    ]  # fmt: skip
    commands.flow.send([(b"cut", b"half a text", headers)], topics.dead_letters)
    said = commands.run("dlq", "replay", "--yes")
    assert "3 sent and acknowledged; 1" not in said
    assert "3 sent and acknowledged" in said
    assert "not sent: 1, its text is clipped, and its source has been deleted" in said
    assert "0 sent" in commands.run("dlq", "replay", "--yes")  # the clipped one is looked for again, no other goes


def test_a_clipped_text_that_retention_has_deleted_is_named_and_the_rest_goes(
    apache_kafka: Broker, tmp_path: Path
) -> None:
    commands = Commands(settings_for(apache_kafka), tmp_path)
    topics, kafka = commands.flow.topics, commands.flow.kafka
    commands.flow.send([(b"long", b"x" * (MAX_VALUE_BYTES + 1000), [("model", b"another")])])
    commands.flow.work(*HASHING)
    partitions = [TopicPartition(topics.texts, p) for p in range(PARTITIONS)]
    admin = admin_client(kafka)
    try:
        admin.delete_records(true_end_offsets(kafka, partitions))
    finally:
        admin.close()
    said = commands.run("dlq", "replay", "--yes")
    assert "3 sent and acknowledged" in said
    assert "not sent: 1, its text is clipped, and its source has been deleted" in said
    again = commands.run("dlq", "replay", "--yes")
    assert "0 sent" in again
    assert "its source has been deleted" in again


def test_vectors_are_collected_with_their_ids(commands: Commands, tmp_path: Path) -> None:
    model = HashingEmbedder("test-model", DIMS)
    truth = {i: model.embed([f"text of {i}"])[0] for i in commands.ids}
    truth |= {"single": truth["id-0"], "other": model.embed(["one more"])[0]}
    parquet, npy = tmp_path / "out.parquet", tmp_path / "out.npy"
    assert "10 vectors, test-model in 16 dimensions of float32" in commands.run("collect", parquet)
    facts = json.loads(commands.run("collect", npy, "--json"))
    assert (facts["texts"], facts["copies_left_out"], facts["interrupted"]) == (10, 0, False)
    table = pq.read_table(parquet)
    assert table.schema.metadata[b"fingerprint"].decode() == model.fingerprint
    by_id = dict(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    matrix = np.load(npy)
    ids = [json.loads(line) for line in (tmp_path / "out.ids.jsonl").read_text().splitlines()]
    assert matrix.shape == (10, DIMS)
    assert set(by_id) == set(ids) == set(truth)
    for text_id, row in zip(ids, matrix, strict=True):
        assert np.allclose(row, truth[text_id], atol=1e-6)
        assert np.allclose(by_id[text_id], truth[text_id], atol=1e-6)
    assert "is there already" in commands.run("collect", npy, code=2)
    assert not list(tmp_path.glob("*.part"))


def test_vectors_that_do_not_belong_together_are_not_mixed(commands: Commands, tmp_path: Path) -> None:
    commands.run("dlq", "replay", "--class", "unknown_model", "--yes")
    commands.flow.work("--backend", "hashing", "--model", "another", "--hashing-dims", 8)
    out = tmp_path / "out.parquet"
    assert "do not belong together" in commands.run("collect", out, code=3)
    assert not list(tmp_path.glob("out.*"))
    assert "2 vectors" in commands.run("collect", out, "--model", "another")
    commands.run("collect", out, "--model", "another", "--force", "--keep", "all", "--texts", "1")
    assert pq.read_table(out).num_rows == 1
