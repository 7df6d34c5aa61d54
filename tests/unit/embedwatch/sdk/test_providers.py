from __future__ import annotations

import pytest

from embedwatch.sdk import providers
from embedwatch.sdk.wrapping import adapters, known
from tests.harness.calls import Watched


@pytest.mark.parametrize(
    ("provider", "model", "nano_usd_per_token"),
    [
        ("openai", "text-embedding-3-small", 20),
        ("azure.ai.openai", "text-embedding-3-small", 20),
        ("mistral_ai", "mistral-embed", 100),
        ("gcp.gemini", "gemini-embedding-001", 150),
        ("aws.bedrock", "amazon.titan-embed-text-v2:0", 20),
    ],
)
def test_the_conventions_names_find_the_built_in_prices(provider, model, nano_usd_per_token):
    with Watched() as watched:
        with watched.monitor.call("one", model=model, provider=provider) as call:
            call.usage(tokens=1000)
        assert watched.call().cost_nano_usd == 1000 * nano_usd_per_token
        assert watched.call().provider == provider


def test_a_name_of_the_callers_own_is_priced_by_the_model_that_answered():
    with Watched(provider="openai") as watched:
        for response_model in ("text-embedding-3-large", "nobody-sells-this"):
            with watched.monitor.call("one", model="alias") as call:
                call.usage(tokens=10)
                call.response(model=response_model)
        assert [call.cost_nano_usd for call in watched.calls()] == [1300, None]


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("Team.OpenAI.Azure.com", "azure.ai.openai"),
        ("api.mistral.ai", "mistral_ai"),
        ("127.0.0.1", "openai"),
    ],
)
def test_a_provider_is_told_by_its_host(host, provider):
    assert providers.of_host(host) == provider


@pytest.mark.parametrize(
    ("name", "provider", "local"),
    [
        ("AzureOpenAIEmbeddings", "azure.ai.openai", None),
        ("OpenAIEmbedding", "openai", None),
        ("BedrockEmbeddings", "aws.bedrock", None),
        ("GoogleGenerativeAIEmbeddings", "gcp.gemini", None),
        ("HuggingFaceEmbeddings", None, True),
        ("HuggingFaceEndpointEmbeddings", None, None),
        ("OllamaEmbedding", None, True),
        ("MyEmbeddings", None, None),
    ],
)
def test_a_provider_is_told_by_the_name_of_a_class(name, provider, local):
    kind = type(name, (), {})
    assert (providers.of_class(kind), providers.is_local(kind)) == (provider, local)


def test_no_client_is_imported_to_know_one():
    assert [pair for pair in adapters if pair in known.KNOWN] == list(known.KNOWN)
    assert not any(matches(object()) for matches, _ in known.KNOWN)
    stranger = type("OpenAI", (), {"__module__": "openai_but_not_quite"})()
    assert not any(matches(stranger) for matches, _ in known.KNOWN)
