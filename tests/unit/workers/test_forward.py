"""The faster ways to run a model give the model's own vectors, or are not taken."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.errors import ModelError
from tests.harness.requirements import need_model

pytestmark = pytest.mark.model

FAMILIES = ("bert", "roberta", "xlm-roberta")


@pytest.fixture(scope="module")
def tiny() -> Callable[..., Any]:
    """Makes small models of a family with random weights and mean pooling."""
    need_model()
    import torch
    import transformers

    def make(family: str, **more: Any) -> Any:
        torch.manual_seed(7)
        offset = 0 if family == "bert" else 2
        config = transformers.AutoConfig.for_model(
            family, vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
            max_position_embeddings=20 + offset, pad_token_id=0 if family == "bert" else 1, **more,
        )  # fmt: skip
        return transformers.AutoModel.from_config(config).eval()

    return make


class Pooled:
    """As much of a SentenceTransformer as the ways use: an encoder, then the mean over the tokens."""

    def __init__(self, encoder: Any) -> None:
        import torch

        self.encoder = encoder
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.pad_id = encoder.config.pad_token_id
        #: Added to each vector of the model's own forward pass, so that others differ from it.
        self.skew = 0.0
        first = self

        class First:
            model = encoder

            def __call__(self, features: Any) -> Any:
                mask = features["attention_mask"]
                out = first.encoder(input_ids=features["input_ids"], attention_mask=mask).last_hidden_state
                return {"token_embeddings": out + first.skew, "attention_mask": mask}

        def pool(features: Any) -> Any:
            mask = features["attention_mask"][..., None]
            return {"sentence_embedding": (features["token_embeddings"] * mask).sum(1) / mask.sum(1)}

        self.modules = [First(), pool]

    def __iter__(self) -> Any:
        return iter(self.modules)

    def __getitem__(self, index: int) -> Any:
        return self.modules[index]

    def __call__(self, features: Any) -> Any:
        for module in self.modules:
            features = module(features)
        return features

    def parameters(self) -> Any:
        return list(self.encoder.parameters())

    def buffers(self) -> Any:
        return list(self.encoder.buffers())

    def to(self, dtype: Any) -> None:
        self.encoder.to(dtype)
        self.dtype = dtype

    def plain(self) -> Any:
        from workers.backends.forward import Padded

        return Padded(self, pad_id=self.pad_id, pad_left=False, type_ids=False, extra={})


def rows(*sizes: int) -> list[Any]:
    return [np.arange(3, 3 + size, dtype=np.int32) % 50 for size in sizes]


PROBE_ROWS = (3, 7, 7, 1, 20)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_gives_the_vectors_of_its_own_forward_pass(tiny: Callable[..., Any], family: str) -> None:
    import torch

    from workers.backends.forward import choose

    model = Pooled(tiny(family))
    way, name = choose(model, model.plain(), rows(*PROBE_ROWS), "float32", {})
    assert name == "packed-float32"

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=20), min_size=1, max_size=6))
    def same(texts: list[list[int]]) -> None:
        ids = [np.array(text, np.int32) for text in texts]
        with torch.inference_mode():
            assert torch.allclose(way(ids), model.plain()(ids), atol=1e-5)

    same()


def ragged_stand_in(query: Any, key: Any, value: Any, starts: Any, _: Any, longest: int, __: int) -> Any:
    """What flash attention for sequences of different lengths computes, text by text: it needs a GPU itself."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    ends = starts.tolist()
    assert longest == max(b - a for a, b in itertools.pairwise(ends))
    parts = [[x[a:b].transpose(0, 1)[None] for x in (query, key, value)] for a, b in itertools.pairwise(ends)]
    return torch.cat([scaled_dot_product_attention(*part)[0].transpose(0, 1) for part in parts])


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_over_ragged_rows_gives_the_same_vectors(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    import torch

    from workers.backends import packed

    monkeypatch.setattr(packed, "rows_in", lambda tokens, device: tokens)  # as on a GPU
    model = Pooled(tiny(family))
    encoder = packed.PackedEncoder(model.encoder, torch.float32, ragged=ragged_stand_in)
    plain = packed.PackedEncoder(model.encoder, torch.float32)
    with torch.inference_mode():
        for sizes in (PROBE_ROWS, (4, 4), (1,)):
            (got, mask), (truth, same_mask) = encoder(rows(*sizes)), plain(rows(*sizes))
            assert torch.allclose(got, truth, atol=1e-5)
            assert torch.equal(mask, same_mask)


def test_a_gpu_without_ragged_attention_still_runs_in_bfloat16(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.backends import attention, forward

    asked = []

    def fails(*_: Any) -> Any:
        asked.append(1)
        raise RuntimeError("no kernel image is available for execution on the device")

    model = Pooled(tiny("bert"))
    monkeypatch.setattr(attention, "ragged_attention", lambda: fails)
    monkeypatch.setattr(forward, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(forward, "on_nvidia", lambda device: True)
    _, name = forward.choose(model, model.plain(), rows(*PROBE_ROWS), "auto", {})
    assert (name, asked) == ("packed-bfloat16", [1])


@pytest.mark.parametrize("laid_out", [True, False])
def test_products_are_the_same_with_weights_laid_out_and_not(monkeypatch: pytest.MonkeyPatch, laid_out: bool) -> None:
    import torch

    from workers.backends import products

    need_model()
    if laid_out and not products.laid_out_weights():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "laid_out_weights", lambda *_: laid_out)
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(24, 16, generator=generator), torch.randn(24, generator=generator)
    for activation, function in (
        ("none", lambda x: x), ("relu", torch.relu), ("gelu", torch.nn.functional.gelu),
    ):  # fmt: skip
        product = products.Product(weight, bias, activation)  # type: ignore[arg-type]
        with torch.inference_mode():
            for count in (1, 16, 33, products.rows_in(33, torch.device("cpu"))):
                x = torch.randn(count, 16, generator=generator)
                assert torch.allclose(product(x), function(x @ weight.T + bias), atol=1e-5)
    assert products.rows_in(33, torch.device("cpu")) == (48 if laid_out else 33)


def test_a_text_with_more_tokens_than_positions_fails_and_names_both(tiny: Callable[..., Any]) -> None:
    from workers.backends.forward import choose

    model = Pooled(tiny("roberta"))
    way, _ = choose(model, model.plain(), rows(*PROBE_ROWS), "float32", {})
    with pytest.raises(ValueError, match="21 tokens, and the model has 20 positions"):
        way(rows(21))


def test_a_model_whose_vectors_packing_would_change_runs_as_it_came(
    tiny: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    from workers.backends.forward import choose

    model = Pooled(tiny("bert"))
    model.skew = 5.0
    plain = model.plain()
    assert choose(model, plain, rows(*PROBE_ROWS), "float32", {}) == (plain, "float32")
    assert "packing changes its vectors" in caplog.text


@pytest.mark.parametrize(
    ("family", "more", "reason"),
    [
        ("distilbert", {}, "its type is distilbert"),
        ("bert", {"is_decoder": True}, "it is a decoder"),
        ("bert", {"hidden_act": "silu"}, "its activation is silu"),
    ],
)
def test_what_cannot_be_packed_says_why_and_runs_as_it_came(
    tiny: Callable[..., Any], caplog: pytest.LogCaptureFixture, family: str, more: dict[str, Any], reason: str
) -> None:
    import transformers

    from workers.backends.forward import choose

    caplog.set_level(logging.INFO)
    if family == "distilbert":
        config = transformers.DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=4, hidden_dim=32)
        encoder = transformers.DistilBertModel(config).eval()
    else:
        encoder = tiny(family, **more)
    model = Pooled(encoder)
    plain = model.plain()
    assert choose(model, plain, rows(*PROBE_ROWS), "float32", {}) == (plain, "float32")
    assert reason in caplog.text


def test_bfloat16_is_taken_where_the_vectors_stay_the_same_and_asked_for_is_refused_where_not(
    tiny: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.backends import forward

    model = Pooled(tiny("bert"))
    _, name = forward.choose(model, model.plain(), rows(*PROBE_ROWS), "bfloat16", {})
    assert name == "packed-bfloat16"
    monkeypatch.setattr(forward, "SAME_BFLOAT16", 1.1)  # no model is that good
    with pytest.raises(ModelError, match="--precision float32"):
        forward.choose(model, model.plain(), rows(*PROBE_ROWS), "bfloat16", {})
    monkeypatch.setattr(forward, "has_bfloat16", lambda device: True)
    _, name = forward.choose(model, model.plain(), rows(*PROBE_ROWS), "auto", {})
    assert name == "packed-float32"
    assert "float32 is used" in caplog.text


@pytest.mark.parametrize("alike", [True, False])
def test_a_model_that_cannot_be_packed_is_turned_as_a_whole_or_left_as_it_was(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, alike: bool
) -> None:
    import torch

    from workers.backends import forward

    model = Pooled(tiny("bert", hidden_act="silu"))
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    monkeypatch.setattr(forward, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(forward, "SAME_BFLOAT16", 0.99 if alike else 1.1)
    _, name = forward.choose(model, model.plain(), rows(*PROBE_ROWS), "auto", {})
    wanted = ("bfloat16", torch.bfloat16) if alike else ("float32", torch.float32)
    assert (name, model.dtype) == wanted
    same = [torch.equal(now.float(), before) for now, before in zip(model.parameters(), weights, strict=True)]
    assert all(same) is not alike, "what bfloat16 rounded has to be put back"


def test_where_the_processor_has_no_bfloat16_auto_keeps_float32(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.backends import forward

    monkeypatch.setattr(forward, "has_bfloat16", lambda device: False)
    model = Pooled(tiny("bert"))
    assert forward.choose(model, model.plain(), rows(*PROBE_ROWS), "auto", {})[1] == "packed-float32"


def test_the_real_model_in_bfloat16_stays_within_its_bound_of_encode() -> None:
    need_model()
    from workers.backends.forward import PROBES, SAME_BFLOAT16
    from workers.backends.sentence_transformers import ModelOptions, load

    options = ModelOptions(precision="bfloat16", truncate_dim=128)
    model = load("all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False, options=options)
    texts = [*PROBES, *(f"text number {number} " * (number % 19 + 1) for number in range(40))]
    got = model.embed(model.tokenise(texts).payloads)
    truth = model._model.encode(texts, show_progress_bar=False)
    assert (model.way, model.dims, got.shape, got.dtype) == ("packed-bfloat16", 128, truth.shape, np.float32)
    cosine = (got * truth).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(truth, axis=1)
    assert cosine.min() >= SAME_BFLOAT16


def test_a_prompt_that_the_model_has_not_is_refused_with_those_it_has() -> None:
    need_model()
    from workers.backends.sentence_transformers import ModelOptions, load

    with pytest.raises(ModelError, match="no prompt 'passage'; it has"):
        load(
            "all-MiniLM-L6-v2", device="cpu", threads=2, allow_download=False,
            options=ModelOptions(prompt_name="passage"),
        )  # fmt: skip
