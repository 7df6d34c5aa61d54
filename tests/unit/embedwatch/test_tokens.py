from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import json
import logging
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch import tokens

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No encoding remembered, an empty cache folder, and no network."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a token counter asked the network")

    import tiktoken.registry

    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tokens.counter_for.cache_clear()
    yield
    tokens.counter_for.cache_clear()


def test_the_guides_example_has_seven_tokens() -> None:
    counter = tokens.counter_for("text-embedding-3-small")
    assert (counter.method, counter.count(["What is the capital of France?"])) == ("tiktoken", [7])


def test_special_tokens_in_a_users_text_are_ordinary_text() -> None:
    assert tokens.counter_for("text-embedding-3-small").count(["<|endoftext|>"])[0] > 1


def test_a_sound_cached_file_is_preferred(tmp_path: Path) -> None:
    import tiktoken_ext

    bundled = next(Path(folder) / "data" / "cl100k_base.tiktoken" for folder in tiktoken_ext.__path__)
    (tmp_path / CL100K).write_bytes(bundled.read_bytes())
    counter = tokens.counter_for("openai/text-embedding-3-large")
    assert counter.method == "tiktoken"
    import tiktoken.registry

    assert list(tiktoken.registry.ENCODINGS) == ["cl100k_base"]


def test_a_damaged_cached_file_is_left_alone_and_not_used(tmp_path: Path) -> None:
    (tmp_path / CL100K).write_bytes(b"damaged")
    counter = tokens.counter_for("text-embedding-3-small")
    assert (counter.method, counter.count(["What is the capital of France?"])) == ("tiktoken", [7])
    assert (tmp_path / CL100K).read_bytes() == b"damaged"


def test_without_any_file_the_count_is_an_estimate_and_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "_OFFLINE", {})
    with caplog.at_level(logging.WARNING):
        counter = tokens.counter_for("text-embedding-3-small")
        tokens.counter_for("text-embedding-3-small")
    assert counter.method == "estimated"
    assert [str(tmp_path / CL100K) in record.getMessage() for record in caplog.records] == [True]


def test_a_model_of_another_house_is_estimated_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        counter = tokens.counter_for("voyage-3")
    assert (counter.method, counter.count(["abcde", ""])) == ("estimated", [2, 0])
    assert not caplog.records


def test_the_estimate_counts_bytes_and_knows_text_that_is_not_ascii() -> None:
    assert tokens.estimate("a" * 8) == 2
    assert tokens.estimate("日本語のテキスト") == 8  # 24 bytes, all outside ASCII
    assert tokens.estimate("a naïve café in the old town") == 8  # 30 bytes, mostly ASCII
    assert tokens.estimate("\ud800") == 1  # a lone surrogate is counted, not fatal


def test_the_estimate_is_within_ten_percent_on_english() -> None:
    text = [doc for doc in (getattr(hashlib, name).__doc__ for name in dir(hashlib)) if doc]
    text += [doc for doc in (getattr(socket, name).__doc__ for name in dir(socket)) if doc]
    exact = sum(tokens.counter_for("text-embedding-3-small").count(text))
    assert sum(tokens.EstimateCounter().count(text)) == pytest.approx(exact, rel=0.10)


def test_the_estimate_is_within_ten_percent_on_code() -> None:
    modules = (argparse, ast, hashlib, inspect, json, logging, socket, tarfile)
    code = [Path(module.__file__).read_text(encoding="utf-8") for module in modules]
    exact = sum(tokens.counter_for("text-embedding-3-small").count(code))
    assert sum(tokens.EstimateCounter().count(code)) == pytest.approx(exact, rel=0.10)


def test_the_estimate_is_within_ten_percent_on_chinese_and_japanese() -> None:
    texts = [
        "日本語のテキストと漢字かな交じり文を埋め込みます。" * 3,
        "我们把中文文本转换成向量, 以便进行语义搜索。" * 3,
    ]
    exact = sum(tokens.counter_for("text-embedding-3-small").count(texts))
    assert sum(tokens.EstimateCounter().count(texts)) == pytest.approx(exact, rel=0.10)


PIECES = st.sampled_from(
    ["a", " ", "  \n", "\r\n", "\t", "don't", "1234567", "é", "漢字", "🙂", "\ud83d", "\ude42", "<|", "|>", "<", ">",
     "<|endoftext", "<|endoftext|", "endoftext|>", "<|endoftext|>", "<|fim_prefix|>", "\x00"]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=40), st.integers(1, 30))
def test_many_texts_have_as_many_tokens_as_each_by_itself(texts: list[str], chars_at_once: int) -> None:
    counter = tokens.counter_for("text-embedding-3-small")
    assert isinstance(counter, tokens.TiktokenCounter)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokens, "CHARS_AT_ONCE", chars_at_once * 10)
        assert counter.count(texts) == [len(counter._encoding.encode_ordinary(text)) for text in texts]


def test_many_texts_are_counted_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tokens.counter_for("text-embedding-3-small")
    assert isinstance(counter, tokens.TiktokenCounter)
    steps: list[str] = []
    for name in ("encode", "encode_to_numpy"):
        real = getattr(counter._encoding, name)
        monkeypatch.setattr(
            counter._encoding, name, lambda *args, _r=real, _n=name, **kw: steps.append(_n) or _r(*args, **kw)
        )
    assert counter.count(["some words of a text"] * 2048) == [5] * 2048
    assert steps == ["encode_to_numpy"]
    steps.clear()
    assert counter.count(["a", "b", "word " * tokens.CHARS_AT_ONCE, *["c"] * 8])[2] > 100_000
    assert steps == ["encode"] * 3 + ["encode_to_numpy"]
    steps.clear()
    odd = ["word"] * 40 + ["<|endoftext|>", "half \ud83d a pair"]
    assert counter.count(odd)[:40] == [1] * 40
    assert sorted(steps) == ["encode", "encode_to_numpy", "encode_to_numpy"], "the odd ones alone are counted apart"


@pytest.mark.parametrize("others", [0, 8])
def test_a_text_that_is_too_much_for_tiktoken_is_an_error_that_can_be_caught(others: int) -> None:
    """Its own panic is none: it is no `Exception`."""
    counter = tokens.counter_for("text-embedding-3-small")
    with pytest.raises(ValueError, match="stack size"):
        counter.count(["word"] * others + [" " * 1_100_000 + "a"])
