from __future__ import annotations

import logging
import struct
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import SecretStr

from embedwatch.errors import ConfigError
from embedwatch.settings import CacheSettings
from workers.cache import Breaker, RedisStore, VectorCache
from workers.cache_entry import cache_key, decode_entries, encode_entries, entry_bytes, normalised
from workers.lru import OVERHEAD_BYTES, ByteLRU

DIMS = 4


def entry(vector: list[float], tokens: int = 3, full: int = 5) -> bytes:
    (value,) = encode_entries(np.array([vector], np.float32), np.array([tokens]), np.array([full]))
    assert value is not None
    return value


def make(store: Any, clock: Any, local_max_bytes: int = 0) -> VectorCache:
    return VectorCache(store, local_max_bytes=local_max_bytes, dims=DIMS, clock=clock)


def write(cache: VectorCache, *keys: bytes) -> int:
    matrix = np.eye(DIMS, dtype=np.float32)[: len(keys)]
    return cache.write(cache.remember(keys, matrix, np.full(len(keys), 3), np.full(len(keys), 5)))


@given(
    matrix=arrays(np.float32, st.tuples(st.integers(1, 5), st.just(DIMS)), elements=st.floats(-1, 1, width=16)),
    tokens=st.integers(0, 2**32 - 1),
)
def test_an_entry_gives_back_vector_and_tokens(matrix: np.ndarray, tokens: int) -> None:
    counts = np.full(len(matrix), tokens)
    found = decode_entries(encode_entries(matrix, counts, counts), DIMS)
    assert found.index.tolist() == list(range(len(matrix)))
    assert np.array_equal(found.matrix.astype(np.float32), matrix)
    assert found.tokens.tolist() == found.full_tokens.tolist() == counts.tolist()
    assert found.foreign == 0


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"EW",
        b"x" * entry_bytes(DIMS),
        entry([1, 0, 0, 0])[:-1],
        entry([1, 0, 0, 0]) + b"\0",
        entry([1, 0, 0])[:],  # another model's dims
        b"EW\x02" + entry([1, 0, 0, 0])[3:],  # a version from the future
        entry([1, 0, 0, 0])[:-2] + struct.pack("<e", float("nan")),
    ],
)
def test_whatever_is_not_an_entry_is_a_miss_and_counted(foreign: bytes) -> None:
    found = decode_entries([entry([0, 1, 0, 0]), foreign, None], DIMS)
    assert (found.index.tolist(), found.foreign) == ([0], 1)


def test_a_vector_that_float16_cannot_hold_is_not_cached() -> None:
    matrix = np.array([[1e6, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    assert [value is None for value in encode_entries(matrix, np.ones(2), np.ones(2))] == [True, False]


def test_the_key_tells_models_and_texts_apart_and_has_no_ambiguous_seam() -> None:
    keys = {cache_key(f, t) for f, t in [(b"a", "x"), (b"b", "x"), (b"a", "y"), (b"ax", ""), (b"a", "\0x")]}
    assert len(keys) == 5


def test_texts_that_look_the_same_share_an_entry() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert composed != apart
    assert normalised(apart) == normalised(composed) == unicodedata.normalize("NFC", apart)


def test_a_written_vector_is_found_and_a_missing_one_is_not(store: Any, clock: Any) -> None:
    cache = make(store, clock)
    assert write(cache, b"a", b"b") == 0
    found = cache.lookup([b"x", b"b", b"a"])
    assert (found.entries.index.tolist(), found.errors) == ([1, 2], 0)
    assert found.entries.matrix.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_a_lookup_is_one_request_and_the_local_part_saves_it(store: Any, clock: Any) -> None:
    cache = make(store, clock, local_max_bytes=10**6)
    store.items = {b"a": entry([1, 0, 0, 0]), b"b": entry([0, 1, 0, 0])}
    cache.lookup([b"a", b"b", b"c"])
    assert store.asked == 1
    found = cache.lookup([b"b", b"a"])
    assert (store.asked, found.entries.index.tolist()) == (1, [0, 1])


def test_a_foreign_entry_is_told_once_and_overwritten(store: Any, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    cache = make(store, clock, local_max_bytes=10**6)
    store.items = {b"a": b"not ours"}
    with caplog.at_level(logging.WARNING):
        assert [cache.lookup([b"a"]).errors for _ in range(3)] == [1, 1, 1]
    assert len(caplog.records) == 1
    write(cache, b"a")
    assert make(store, clock).lookup([b"a"]).entries.index.tolist() == [0]


def test_without_a_server_the_local_part_is_the_cache(clock: Any) -> None:
    cache = make(None, clock, local_max_bytes=10**6)
    assert write(cache, b"a") == 0
    assert cache.lookup([b"a"]).entries.index.tolist() == [0]


def test_a_dead_server_is_bypassed_counted_and_found_again(
    store: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(store, clock)
    store.down = True
    with caplog.at_level(logging.INFO):
        for _ in range(10):
            assert cache.lookup([b"a", b"b"]).errors == 2
        assert write(cache, b"a") == 1
        assert store.asked == Breaker.FAILURES
        store.down = False
        clock.pass_by(Breaker.FIRST_PAUSE_SECONDS)
        assert cache.lookup([b"a"]).errors == 0
        assert write(cache, b"a") == 0
    assert [record.getMessage() for record in caplog.records] == [
        "cache: redis://cache: TimeoutError: no answer; it is bypassed until it answers again",
        "cache: answers again",
    ]


def test_the_breaker_waits_longer_each_time_up_to_a_bound() -> None:
    breaker = Breaker()
    now = 0.0
    pauses = []
    for _ in range(Breaker.FAILURES):
        breaker.failed(now)
    for _ in range(8):
        start = now
        while not breaker.allows(now):
            now += 0.5
        pauses.append(now - start)
        assert not breaker.failed(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert breaker.allows(now)


def test_one_failure_alone_does_not_open_the_breaker() -> None:
    breaker = Breaker()
    for _ in range(5):
        assert not breaker.failed(0.0)
        assert not breaker.failed(0.0)
        assert breaker.allows(0.0)
        breaker.succeeded()


@given(
    operations=st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 400)), max_size=100),
    max_bytes=st.integers(0, 2000),
)
def test_the_lru_keeps_its_bound_and_never_a_wrong_value(
    operations: list[tuple[bool, int, int]], max_bytes: int
) -> None:
    lru, truth = ByteLRU(max_bytes), {}
    for is_put, number, size in operations:
        key = bytes([number])
        if is_put:
            truth[key] = bytes([number]) * size
            lru.put(key, truth[key])
        else:
            assert lru.get(key) in (None, truth.get(key))
        assert lru.bytes <= max_bytes
        assert lru.bytes == sum(1 + len(truth[k]) + OVERHEAD_BYTES for k in lru._items)


def test_the_lru_drops_what_was_used_longest_ago() -> None:
    lru = ByteLRU(3 * (OVERHEAD_BYTES + 2))
    for key in (b"a", b"b", b"c"):
        lru.put(key, b"x")
    lru.get(b"a")
    lru.put(b"d", b"x")
    assert [key for key in (b"a", b"b", b"c", b"d") if lru.get(key)] == [b"a", b"c", b"d"]


def test_an_address_that_only_its_client_can_refuse_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"cache\.url: .*socket_timeout.*redis://host:port"):
        RedisStore(CacheSettings(url=SecretStr("redis://cache:6379/0?socket_timeout=soon")))
