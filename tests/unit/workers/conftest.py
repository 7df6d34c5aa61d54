"""In-memory edges for the worker's pipeline: what it asks of clock, cache server, Kafka and model, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from embedwatch import codec, wire
from embedwatch.events import BatchEvent, TokenMethod
from embedwatch.pricing import Price, PriceBook
from embedwatch.topics import Topics
from workers.backend import Encoded, Vectors
from workers.backends.hashing import HashingEmbedder
from workers.batching import TokenBudget
from workers.cache import StoreError, VectorCache
from workers.decode import Decoder, Message
from workers.failures import FailureBudget
from workers.meter import Identity, Meter
from workers.pipeline import Pipeline


class FakeClock:
    """Stands still until told, except that each look at it may cost `step_seconds`."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.step_seconds = 0.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.monotonic()

    def monotonic(self) -> float:
        self.seconds += self.step_seconds
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class MemoryStore:
    """A cache server. `down` makes every call fail; `asked` counts the calls that reached it."""

    items: dict[bytes, bytes] = field(default_factory=dict)
    down: bool = False
    asked: int = 0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._reach()
        return [self.items.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        self._reach()
        self.items.update(items)

    def stats(self) -> dict[str, float]:
        self._reach()
        return {
            "entries": len(self.items), "memory_bytes": 2048, "dataset_bytes": 1000, "evictions": 1, "hits": 2,
            "misses": 3,
        }  # fmt: skip

    def _reach(self) -> None:
        self.asked += 1
        if self.down:
            raise StoreError("redis://cache: TimeoutError: no answer")


@dataclass
class MemoryPublisher:
    """Keeps what was sent, and how much of it was flushed."""

    sent: list[tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]] = field(default_factory=list)
    flushed: int = 0
    on_flush: Callable[[], None] = lambda: None
    finished: list[tuple[dict[tuple[str, int], int], Any]] = field(default_factory=list)
    ours: bool = True

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.sent.append((topic, key, value, headers))

    def flush(self) -> None:
        self.on_flush()
        self.flushed = len(self.sent)

    def finish(self, offsets: Mapping[tuple[str, int], int], membership: Any) -> bool:
        self.flush()
        self.finished.append((dict(offsets), membership))
        return self.ours

    def on(self, topic: str) -> list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]]:
        return [(key, value, headers) for name, key, value, headers in self.sent if name == topic]


class Moody:
    """The hashing model with the troubles a real one has, each set off by a word in the text.

    `poison` fails the batch, `nan` gives NaN, `choke` fails the tokenizer; a batch of more than `memory_tokens` padded
    tokens is out of memory. `batches` lists the sizes that went through.
    """

    token_method: TokenMethod = "model"
    device = "cpu"
    local = True
    token_budget = 64
    pads = True
    gpu_uuids: Sequence[str] = ()

    def __init__(self, clock: FakeClock, dims: int = 4, max_tokens: int = 6) -> None:
        self._inner = HashingEmbedder("moody", dims, max_tokens=max_tokens)
        self._clock = clock
        self.name, self.dims, self.max_tokens, self.fingerprint = "moody", dims, max_tokens, self._inner.fingerprint
        self.memory_tokens = 10**9
        self.seconds_per_batch = 0.0
        self.seconds_to_tokenise = 0.0
        self.scale = 1.0
        self.batches: list[int] = []
        self.tokenised: list[list[str]] = []

    def vector(self, text: str) -> Vectors:
        """What the model gives for this one text."""
        vector: Vectors = self._inner.embed(self._inner.tokenise([text]).payloads)[0] * np.float32(self.scale)
        return vector

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        self.tokenised.append(list(texts))
        self._clock.pass_by(self.seconds_to_tokenise)
        if any("choke" in text for text in texts):
            raise ValueError("cannot tokenise this")
        return self._inner.tokenise(texts)

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        self._clock.pass_by(self.seconds_per_batch)
        padded = max(len(text.split()) for text in payloads) * len(payloads)
        if padded > self.memory_tokens:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if any("poison" in text for text in payloads):
            raise ValueError("a text I cannot stand")
        self.batches.append(len(payloads))
        vectors: Vectors = self._inner.embed(payloads) * np.float32(self.scale)
        for row, text in zip(vectors, payloads, strict=True):
            if "nan" in text:
                row[0] = np.nan
        return vectors

    def billed_tokens(self) -> None:
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._inner.count_tokens(texts)

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        pass


@dataclass
class FakeRecord:
    """A record as kafka-python gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Rig:
    """A pipeline on in-memory edges, and ways to look at what came out."""

    def __init__(self, price: Price | None = None, *, dtype: str = "float32", local_max_bytes: int = 0) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.publisher = MemoryPublisher()
        self.model = Moody(self.clock)
        self.topics = Topics()
        self.meter = Meter(
            Identity("w1"), model="moody", token_method="model", price=price or PriceBook().quote("moody", local=True)
        )
        self.cache = VectorCache(self.store, local_max_bytes=local_max_bytes, dims=self.model.dims, clock=self.clock)
        self.failures = FailureBudget(100.0, 10_000)
        self.out_of_time = False
        self.budget = TokenBudget(self.model.token_budget)
        self.dtype = dtype
        self._offset = 0
        self.build()

    def build(self) -> None:
        """Again, after an edge was replaced."""
        self.pipeline = Pipeline(
            embedder=self.model, cache=self.cache, publisher=self.publisher, meter=self.meter, topics=self.topics,
            budget=self.budget, failures=self.failures, clock=self.clock, vector_dtype=self.dtype, metrics_key=b"w1",
            out_of_time=lambda: self.out_of_time,
        )  # fmt: skip

    def record(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp: int | None = 0,
    ) -> FakeRecord:
        self._offset += 1
        at = int((self.clock.now() - 2.0) * 1000) if timestamp == 0 else timestamp
        return FakeRecord(self.topics.texts, 0, self._offset, at, key, value, headers)

    def decode(self, record: FakeRecord) -> Message:
        return Decoder({"moody"}, 1000, self.clock.monotonic).decode(record)

    def single(self, text_id: str, text: str | bytes, **headers: str) -> Message:
        value = text if isinstance(text, bytes) else text.encode()
        return self.decode(self.record(text_id.encode(), value, [(k, v.encode()) for k, v in headers.items()]))

    def chunk(self, texts: Iterable[tuple[str, str]], **headers: str) -> Message:
        ids, bodies = zip(*texts, strict=True)
        named = [(k, v.encode()) for k, v in headers.items()]
        return self.decode(
            self.record(ids[0].encode(), wire.encode_chunk(ids, bodies), [("format", wire.TEXTS_FORMAT), *named])
        )

    def events(self) -> list[BatchEvent]:
        events = [codec.decode_metric(value) for _, value, _ in self.publisher.on(self.topics.metrics)]
        assert all(isinstance(event, BatchEvent) for event in events)
        return events  # type: ignore[return-value]

    def vectors(self) -> list[tuple[str, Any]]:
        """Every (id, vector) that went out, in order."""
        return [
            pair
            for key, value, headers in self.publisher.on(self.topics.vectors)
            for pair in wire.read_vectors(key, value, headers)
        ]

    def dead(self) -> dict[str, str]:
        """Error class by text id."""
        letters = self.publisher.on(self.topics.dead_letters)
        return {(key or b"").decode(): str(wire.header(headers, "error_class")) for key, _, headers in letters}


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(scope="session")
def make_rig() -> Callable[..., Rig]:
    """For tests that need a price, a dtype, or one rig for each example."""
    return Rig


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()
