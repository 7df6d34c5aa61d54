"""LangChain's `Embeddings`: documents and queries, sync and async. What comes back is still an `Embeddings`.

LangChain's interface gives vectors and nothing else, so the tokens are counted in the background. To have those that
were billed, give the class a measured client (`OpenAIEmbeddings(client=monitor.wrap(OpenAI()).embeddings, ...)`): a
call within a call is one call, with the texts of the outer and the tokens of the inner one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedwatch.sdk import providers
from embedwatch.sdk.wrapping.proxy import original, proxied

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

METHODS = ("embed_documents", "embed_query", "aembed_documents", "aembed_query")


def wrap(monitor: Monitor, client: Any, **labels: str | None) -> Any:
    """The embeddings, measured."""
    kind = type(original(client))
    if labels.get("provider") is None and monitor.provider is None:
        labels["provider"] = providers.of_class(kind)
    return proxied(monitor, client, METHODS, labels, local=providers.is_local(kind))
