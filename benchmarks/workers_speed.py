"""The worker, from Kafka to acknowledged vectors with metrics on, against `SentenceTransformer.encode`.

Same texts, same threads. `encode` gets all texts in one call, which lets it sort them all; the worker gets them from a
topic, 256 at a time.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import rig
from benchmarks.claims import Claim, Result
from workers.backends.one_thread import torch_thread
from workers.batching import plan
from workers.loading import cpu_quota

VS_BEST = Claim("worker_vs_encode_best", "a worker beats encode at its best batch size, both float32", "x", 1.2)
VS_DEFAULT_FLOAT32 = Claim("worker_vs_encode_default_float32", "a worker in float32 beats encode as it comes", "x", 1.6)
VS_DEFAULT = Claim(
    "worker_vs_encode_default", "a worker as it comes beats encode as it comes, where the CPU has bfloat16", "x", 2.2
)
PARITY = Claim("worker_default_min_cosine", "its vectors stay those of encode", "cosine", 0.9995)
VS_BARE = Claim("worker_vs_bare_forward", "Kafka, cache, counting and metrics cost at most 5 %", "x", 0.95)
METERING = Claim("metering_overhead_pct", "metrics cost at most 1 % of the CPU time", "%", 1.0, "at_most")
CLAIMS = (VS_BEST, VS_DEFAULT_FLOAT32, VS_DEFAULT, PARITY, VS_BARE, METERING)

TEXTS = 768
REPETITIONS = 5
BATCH_SIZES = (4, 8, 16, 32, 64)


def measure(ids: frozenset[str]) -> Iterator[Result]:
    from workers.backends.sentence_transformers import ModelOptions, load

    def loaded(precision: Any) -> Any:
        return load(
            "all-MiniLM-L6-v2", device="cpu", threads=cpu_quota(), allow_download=False,
            options=ModelOptions(precision=precision),
        )  # fmt: skip

    texts = rig.real_texts(TEXTS)
    float32, default = loaded("float32"), loaded("auto")
    model = float32._model

    def encode(batch_size: int) -> float:
        # In the thread the worker computes in, so that nobody's threads sleep where another's spin.
        return rig.seconds(
            lambda: torch_thread.run(lambda: model.encode(texts, batch_size=batch_size, show_progress_bar=False))
        )

    if PARITY.id in ids:
        truth = torch_thread.run(lambda: model.encode(texts, show_progress_bar=False))
        found = np.concatenate(
            [default.embed(default.tokenise(texts[n : n + 32]).payloads) for n in range(0, TEXTS, 32)]
        )
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
        yield Result.of(PARITY, [float(((found * truth).sum(1) / lengths).min())])
    with rig.broker() as broker:

        def worker(embedder: Any, **more: Any) -> float:
            settings = rig.settings_for(broker, model=embedder.name, max_texts=TEXTS)
            rig.send(settings, texts)
            return rig.run_worker(settings, embedder, **more)

        if ids & {VS_BEST.id, VS_DEFAULT_FLOAT32.id, VS_DEFAULT.id, VS_BARE.id}:
            encode(16)
            tried = {size: encode(size) for size in BATCH_SIZES}
            best = min(tried, key=lambda size: tried[size])
            found_seconds = rig.alternate(
                {
                    "encode_best": lambda: encode(best),
                    "encode_default": lambda: encode(32),
                    "worker_float32": lambda: worker(float32),
                    "worker_default": lambda: worker(default),
                    "bare_float32": lambda: bare_loop(float32, texts),
                    "bare_default": lambda: bare_loop(default, texts),
                },
                REPETITIONS,
            )
            rates = {f"{name}_texts_per_s": TEXTS / statistics.median(v) for name, v in found_seconds.items()}

            def ratio(slow: str, fast: str) -> list[float]:
                return [a / b for a, b in zip(found_seconds[slow], found_seconds[fast], strict=True)]

            yield Result.of(VS_BEST, ratio("encode_best", "worker_float32"), best_batch_size=best, **rates)
            yield Result.of(VS_DEFAULT_FLOAT32, ratio("encode_default", "worker_float32"))
            # Asked only of a processor that has it: elsewhere a worker as it comes computes in float32, too.
            in_bfloat16 = "bfloat16" in default.way
            asked = VS_DEFAULT if in_bfloat16 else replace(VS_DEFAULT, target=None)
            yield Result.of(asked, ratio("encode_default", "worker_default"), in_bfloat16=float(in_bfloat16))
            yield Result.of(VS_BARE, ratio("bare_float32", "worker_float32"), in_bfloat16=statistics.median(
                ratio("bare_default", "worker_default")
            ))  # fmt: skip
        if METERING.id in ids:
            # In CPU seconds: on a shared machine the wall time of one run differs from the next by ten times what is
            # looked for. A worker that computes uses all its processors, so that both say the same of throughput.
            on_off = rig.alternate(
                {
                    "on": lambda: worker(default, cpu=True),
                    "off": lambda: worker(default, cpu=True, metrics=False),
                },
                4 * REPETITIONS + 1,
            )
            yield Result.of(
                METERING, [100 * (on / off - 1) for on, off in zip(on_off["on"], on_off["off"], strict=True)]
            )


def bare_loop(embedder: Any, texts: list[str]) -> float:
    """What is left of a worker without Kafka, cache, counting and metrics: tokenise, sort, embed."""

    def run() -> None:
        for first in range(0, len(texts), 256):
            encoded = embedder.tokenise(texts[first : first + 256])
            out = np.empty((len(encoded.payloads), embedder.dims), np.float32)
            for batch in plan(encoded.counts, embedder.token_budget):
                out[batch] = embedder.embed([encoded.payloads[index] for index in batch])

    return rig.seconds(run)
