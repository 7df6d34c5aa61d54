"""What the cache brings: texts that were seen before, from the shared server and from the process's own memory."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.claims import Claim, Result
from embedwatch.clock import SystemClock
from embedwatch.services.cache import EmbeddedCache, start_cache
from embedwatch.settings import CacheSettings, Settings
from workers.backends.hashing import HashingEmbedder
from workers.cache import RedisStore, VectorCache
from workers.cache_entry import cache_key, normalised
from workers.loading import cpu_quota

HITS_60 = Claim("cache_60_pct_hits_vs_none", "60 % cached texts make a worker at least 2.2 times as fast", "x", 2.2)
CACHED = Claim("cached_texts_per_s", "texts that are all in the cache, from chunks, on one core", "texts/s", 30_000)
CLAIMS = (HITS_60, CACHED)

#: Enough for polls of the size that they have in the long run.
TEXTS = 2000
CACHED_TEXTS = 40_000
REPETITIONS = 5


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, rig.broker() as broker:
        cache = start_cache(Path(folder))
        if not isinstance(cache, EmbeddedCache):
            raise SystemExit(f"no cache server can run here: {cache}")
        with cache:
            if HITS_60.id in ids:
                yield hits_60(broker, cache.url)
            if CACHED.id in ids:
                yield cached(broker, cache.url)


def with_cache(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"cache": CacheSettings(url=url)})  # type: ignore[arg-type]


def hits_60(broker: Any, url: str) -> Result:
    from workers.backends.sentence_transformers import load

    embedder: Any = load("all-MiniLM-L6-v2", device="cpu", threads=cpu_quota(), allow_download=False)
    texts = rig.real_texts(TEXTS)
    # Three of each five of like length: 60 % of the texts are then 60 % of the tokens too, not 58 or 62 by chance.
    by_length = sorted(texts, key=lambda text: embedder.count_tokens([text])[0])
    seen = [text for n in range(0, TEXTS, 5) for text in random.Random(n).sample(by_length[n : n + 5], 3)]

    def run(known: list[str]) -> float:
        import redis

        settings = with_cache(rig.settings_for(broker, model=embedder.name, max_texts=TEXTS), url)
        with redis.Redis.from_url(url) as client:
            client.flushall()
        fill(settings, embedder, known)
        rig.send(settings, texts)
        return rig.run_worker(settings, embedder)

    found = rig.alternate({"none": lambda: run([]), "some": lambda: run(seen)}, REPETITIONS)
    return Result.of(
        HITS_60, [a / b for a, b in zip(found["none"], found["some"], strict=True)],
        none_texts_per_s=TEXTS / statistics.median(found["none"]),
        some_texts_per_s=TEXTS / statistics.median(found["some"]),
    )  # fmt: skip


def cached(broker: Any, url: str) -> Result:
    """Everything the worker's process does on one core; broker and cache server have the others."""
    embedder = HashingEmbedder("bench", 384)
    texts = [
        f"text number {number} of the cache's benchmark, as long as a short sentence is"
        for number in range(CACHED_TEXTS)
    ]
    settings = with_cache(rig.settings_for(broker), url)
    fill(settings, embedder, texts)
    everywhere = os.sched_getaffinity(0)
    rates = []
    try:
        for _ in range(REPETITIONS + 1):
            settings = with_cache(
                rig.settings_for(broker, model="bench", max_texts=CACHED_TEXTS, max_poll_texts=2048), url
            )
            rig.send(settings, texts)
            os.sched_setaffinity(0, {min(everywhere)})
            rates.append(CACHED_TEXTS / rig.run_worker(settings, embedder))
            os.sched_setaffinity(0, everywhere)
    finally:
        os.sched_setaffinity(0, everywhere)
    return Result.of(CACHED, rates[1:])


def fill(settings: Settings, embedder: Any, texts: list[str]) -> None:
    """Into the server, as a worker would have done it."""
    store = RedisStore(settings.cache)
    cache = VectorCache(store, local_max_bytes=0, dims=embedder.dims, clock=SystemClock())
    fingerprint = embedder.fingerprint.encode()
    for first in range(0, len(texts), 256):
        part = texts[first : first + 256]
        encoded = embedder.tokenise(part)
        keys = [cache_key(fingerprint, normalised(text)) for text in part]
        if cache.write(cache.remember(keys, embedder.embed(encoded.payloads), encoded.counts, encoded.full_counts)):
            raise SystemExit("the cache server did not take the vectors")
    store.close()
