"""A real worker on a real broker, its model loaded once, timed from its first text to its last commit."""

from __future__ import annotations

import ast
import contextlib
import itertools
import logging
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from embedwatch import wire
from embedwatch.clock import SystemClock
from embedwatch.kafka import create_topics, producer
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.settings import Settings
from producers.stdlib_docs import MIN_CHARS, _modules, docstrings, library_folder
from workers.backend import Embedder
from workers.intake import Intake
from workers.meter import Meter
from workers.pipeline import Pipeline
from workers.service import _Worker
from workers.stopping import Stop

CHUNK_TEXTS = 128


def real_texts(count: int) -> list[str]:
    """Different docstrings of the standard library, in an order that is always the same."""
    found: dict[str, None] = {}
    for path in _modules(library_folder()):
        with contextlib.suppress(SyntaxError, ValueError, OSError):
            source = path.read_bytes()
            ast.parse(source)
            found.update(dict.fromkeys(text for _, text in docstrings(source) if len(text) >= MIN_CHARS))
    texts = list(found)
    random.Random(0).shuffle(texts)
    if len(texts) < count:
        raise SystemExit(f"the standard library has {len(texts)} docstrings, {count} are needed")
    return texts[:count]


@contextlib.contextmanager
def broker() -> Iterator[EmbeddedBroker]:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder)) as service:
        yield service


def settings_for(service: EmbeddedBroker, **worker: Any) -> Settings:
    """Topics of their own for one run."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": service.bootstrap_servers, "topic_prefix": prefix, "partitions": 1},
            "worker": {"group": prefix, **worker},
        }
    )


def send(settings: Settings, texts: Sequence[str]) -> None:
    """Texts as producers pack them."""
    create_topics(settings.kafka, settings.topics.specs())
    client = producer(settings.kafka, "bench-producer")
    try:
        numbered = enumerate(texts)
        while part := list(itertools.islice(numbered, CHUNK_TEXTS)):
            ids = [f"t{number}" for number, _ in part]
            client.send(
                settings.topics.texts, key=ids[0].encode(), value=wire.encode_chunk(ids, [text for _, text in part]),
                headers=wire.chunk_headers(len(ids)),
            )  # fmt: skip
        client.flush(60)
    finally:
        client.close()


class _Timed(_Worker):
    """The worker, with a model that is there already and its life timed from the first cycle to the last commit."""

    embedder: Embedder
    metrics = True
    seconds = 0.0
    cpu_seconds = 0.0

    def _load_model(self) -> Embedder:
        return self.embedder

    def _loop(self, intake: Intake, pipeline: Pipeline, meter: Meter, tick: Callable[[], bool]) -> None:
        begun: list[float] = []
        begin = pipeline.begin

        def begin_timed(messages: Any, membership: Any = None) -> Any:
            if not begun:
                begun.extend((time.perf_counter(), time.process_time()))
            return begin(messages, membership)

        pipeline.begin = begin_timed  # type: ignore[method-assign]
        if not self.metrics:
            meter.events = lambda work, now: []  # type: ignore[method-assign]
        super()._loop(intake, pipeline, meter, tick)
        self.seconds = time.perf_counter() - begun[0]
        self.cpu_seconds = time.process_time() - begun[1]
        if meter.texts == 0 and self.metrics:
            raise SystemExit("the worker did nothing")


def run_worker(settings: Settings, embedder: Embedder, *, metrics: bool = True, cpu: bool = False) -> float:
    """Seconds from the first text taken to the last offset committed; `cpu`: of all its threads on processors."""
    clock = SystemClock()
    with contextlib.ExitStack() as edges:
        worker = _Timed(settings, clock, Stop(60.0, clock), edges)
        worker.embedder, worker.metrics = embedder, metrics
        worker.run()
        return worker.cpu_seconds if cpu else worker.seconds


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def alternate(ways: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Each way once a round, in an order that turns, after one round that does not count."""
    for way in ways.values():
        way()
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repetitions):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found[name].append(ways[name]())
    return found
