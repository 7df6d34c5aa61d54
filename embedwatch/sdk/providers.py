"""Who answers, by the names of OpenTelemetry's GenAI conventions: from an address or from the name of a class. Pure."""

from __future__ import annotations

OPENAI = "openai"
AZURE_OPENAI = "azure.ai.openai"

#: What the built-in price list (genai-prices) calls them, where that is another name.
PRICE_LISTS = {
    AZURE_OPENAI: "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
}

#: By the end of the host's name. OpenAI's client is used for many others, too.
_BY_HOST = (
    (".azure.com", AZURE_OPENAI),
    (".azure.us", AZURE_OPENAI),
    (".azure.cn", AZURE_OPENAI),
    ("api.mistral.ai", "mistral_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("api.voyageai.com", "voyageai"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
)

#: By a part of the lower-case name of a class, as LangChain and LlamaIndex name theirs; the first that fits.
_BY_CLASS = (
    ("azureopenai", AZURE_OPENAI),
    ("azureai", "azure.ai.inference"),
    ("openai", OPENAI),
    ("bedrock", "aws.bedrock"),
    ("vertex", "gcp.vertex_ai"),
    ("gemini", "gcp.gemini"),
    ("googlegenai", "gcp.gemini"),
    ("googlegenerativeai", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("cohere", "cohere"),
    ("voyage", "voyageai"),
    ("watsonx", "ibm.watsonx.ai"),
)
#: Likewise; these work on a machine of the caller's own, and no list has a price for them.
_LOCAL_CLASSES = ("huggingface", "ollama", "llamacpp", "fastembed", "gpt4all", "instructor", "ipex", "openvino", "onnx")
_REMOTE_PARTS = ("endpoint", "inference", "hub")

#: LiteLLM's names, where they are others.
_OF_LITELLM = {
    "azure": AZURE_OPENAI,
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "vertex_ai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "voyage": "voyageai",
    "watsonx": "ibm.watsonx.ai",
}


def of_host(host: str) -> str:
    """Of an endpoint that speaks as OpenAI's does."""
    host = host.lower()
    return next((provider for end, provider in _BY_HOST if host.endswith(end)), OPENAI)


def of_class(kind: type) -> str | None:
    """Of a class that hides its client; None where its name does not tell."""
    name = kind.__name__.lower()
    return next((provider for part, provider in _BY_CLASS if part in name), None)


def is_local(kind: type) -> bool | None:
    """True where a class of this name runs the model itself; None where its name does not tell."""
    name = kind.__name__.lower()
    local = any(part in name for part in _LOCAL_CLASSES) and not any(part in name for part in _REMOTE_PARTS)
    return True if local else None


def of_litellm(name: str | None) -> str | None:
    """Of what LiteLLM calls a provider."""
    return None if name is None else _OF_LITELLM.get(name, name)
