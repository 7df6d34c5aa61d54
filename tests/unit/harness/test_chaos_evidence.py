"""What the chaos suite takes for true must be able to say that something is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from embedwatch import wire
from embedwatch.settings import KafkaSettings
from tests.chaos.evidence import Evidence
from workers.backends.hashing import HashingEmbedder

DIMS = 16


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(KafkaSettings(), "UTC", trusted_ends=True, dims=DIMS)


def text(name: str, words: str = "some words") -> Any:
    return SimpleNamespace(key=name.encode(), value=words.encode(), headers=[])


def line(number: int) -> Any:
    return text(f"load1/load1.txt:{number}")


def test_a_line_that_did_not_arrive_is_missed_and_one_that_came_twice_is_counted(evidence: Evidence) -> None:
    evidence._read_texts([line(1), line(2), line(4)])
    assert evidence.first_missing("load1") == 2
    evidence._read_texts([line(3), line(4)])
    assert (evidence.first_missing("load1"), evidence.sent_again()) == (4, 1)
    assert evidence.first_missing("load2") == 0


def test_a_vector_of_another_text_is_wrong_and_one_from_the_cache_is_not(evidence: Evidence) -> None:
    evidence._read_texts([text("a", "one  two"), text("b"), text("c", "three")])
    own = HashingEmbedder(dims=DIMS).embed(["one two", "some words"])
    for name, vector in (("a", own[0]), ("b", own[1].astype("float16").astype("float32")), ("c", own[0])):
        evidence.take_vector(name, vector)
    assert evidence.wrong_vectors() == ["c"]
    evidence.take_vector("a", own[0])
    assert evidence.wrong_vectors() == ["c"]
    evidence.take_vector("a", own[1])
    assert evidence.wrong_vectors() == ["a", "c"]
    evidence.take_vector("nobody", own[1])
    assert evidence.wrong_vectors() == ["a", "c", "nobody"]


def test_a_chunk_is_its_texts(evidence: Evidence) -> None:
    ids = ["load1/load1.txt:1", "load1/load1.txt:2"]
    record = SimpleNamespace(
        key=b"x", value=wire.encode_chunk(ids, ["one", "two"]), headers=[("format", wire.TEXTS_FORMAT)]
    )
    evidence._read_texts([record])
    assert evidence.first_missing("load1") == 2
