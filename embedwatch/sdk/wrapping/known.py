"""The clients that have an adapter, told by the names in their inheritance: nothing is imported to find out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from embedwatch.sdk.wrapping.proxy import original

_OPENAI = frozenset({"OpenAI", "AsyncOpenAI"})  # Azure's two inherit from them
_OPENAI_RESOURCES = frozenset({"Embeddings", "AsyncEmbeddings"})


def is_a(client: Any, package: str, names: frozenset[str]) -> bool:
    """Whether the client's class, or one that it inherits from, is one of a package's of these names."""
    kinds = type(original(client)).__mro__
    return any(base.__name__ in names and base.__module__.partition(".")[0] == package for base in kinds)


def _lazy(module: str, function: str) -> Callable[..., Any]:
    def adapt(monitor: Any, client: Any, **labels: str | None) -> Any:
        found = getattr(import_module(f"embedwatch.sdk.wrapping.{module}"), function)
        return found(monitor, client, **labels)

    adapt.__qualname__ = f"{module}.{function}"
    return adapt


def _of(package: str, *names: str) -> Callable[[Any], bool]:
    wanted = frozenset(names)
    return lambda client: is_a(client, package, wanted)


KNOWN: tuple[tuple[Callable[[Any], bool], Callable[..., Any]], ...] = (
    (_of("openai", *_OPENAI), _lazy("openai_client", "wrap_client")),
    (_of("openai", *_OPENAI_RESOURCES), _lazy("openai_client", "wrap_resource")),
    (_of("langchain_core", "Embeddings"), _lazy("langchain", "wrap")),
    (_of("llama_index", "BaseEmbedding"), _lazy("llama_index", "wrap")),
    (
        _of("sentence_transformers", "SentenceTransformer", "SparseEncoder", "MultiVectorEncoder"),
        _lazy("sentence_transformer", "wrap"),
    ),
)
