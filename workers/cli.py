"""`embedwatch worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedwatch import logs, options
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings, load

_MODEL, _API, _WORK = "Model", "Endpoint (--backend openai)", "Batches and polls"
_PROCESSES = "Several processes"
_LIMITS, _DRILL = "Limits and life", "Load tests and fire drill"
_OWN = "Its own metrics"


def _option(panel: str, section: str, field: str, *flags: str) -> Any:
    option = options.setting(section, field, *flags)
    option.rich_help_panel = panel
    return option


def app(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    cache_url: options.CacheUrl = None,
    group: Annotated[str | None, options.setting("worker", "group", help="consumer group; workers share it")] = None,
    name: Annotated[str | None, options.setting("worker", "name")] = None,
    model: Annotated[str | None, _option(_MODEL, "worker", "model", "--model", "-m")] = None,
    backend: Annotated[str | None, _option(_MODEL, "worker", "backend")] = None,
    api_base_url: Annotated[str | None, _option(_API, "worker", "api_base_url")] = None,
    api_dimensions: Annotated[int | None, _option(_API, "worker", "api_dimensions")] = None,
    api_max_text_tokens: Annotated[int | None, _option(_API, "worker", "api_max_text_tokens")] = None,
    api_max_batch_texts: Annotated[int | None, _option(_API, "worker", "api_max_batch_texts")] = None,
    api_max_batch_tokens: Annotated[int | None, _option(_API, "worker", "api_max_batch_tokens")] = None,
    api_concurrency: Annotated[int | None, _option(_API, "worker", "api_concurrency")] = None,
    api_requests_per_minute: Annotated[int | None, _option(_API, "worker", "api_requests_per_minute")] = None,
    api_tokens_per_minute: Annotated[int | None, _option(_API, "worker", "api_tokens_per_minute")] = None,
    api_timeout_seconds: Annotated[float | None, _option(_API, "worker", "api_timeout_seconds")] = None,
    api_retry_seconds: Annotated[float | None, _option(_API, "worker", "api_retry_seconds")] = None,
    device: Annotated[str | None, _option(_MODEL, "worker", "device")] = None,
    threads: Annotated[int | None, _option(_MODEL, "worker", "threads")] = None,
    processes: Annotated[int | None, _option(_PROCESSES, "worker", "processes")] = None,
    processes_per_gpu: Annotated[int | None, _option(_PROCESSES, "worker", "processes_per_gpu")] = None,
    allow_download: Annotated[
        bool | None, _option(_MODEL, "worker", "allow_download", "--allow-download/--no-allow-download")
    ] = None,
    precision: Annotated[str | None, _option(_MODEL, "worker", "precision")] = None,
    prompt_name: Annotated[str | None, _option(_MODEL, "worker", "prompt_name")] = None,
    truncate_dim: Annotated[int | None, _option(_MODEL, "worker", "truncate_dim")] = None,
    revision: Annotated[str | None, _option(_MODEL, "worker", "revision")] = None,
    trust_remote_code: Annotated[
        bool | None, _option(_MODEL, "worker", "trust_remote_code", "--trust-remote-code/--no-trust-remote-code")
    ] = None,
    vector_dtype: Annotated[str | None, _option(_MODEL, "worker", "vector_dtype")] = None,
    gpu_usd_per_hour: Annotated[str | None, _option(_MODEL, "pricing", "gpu_usd_per_hour")] = None,
    token_budget: Annotated[int | None, _option(_WORK, "worker", "token_budget")] = None,
    max_poll_texts: Annotated[int | None, _option(_WORK, "worker", "max_poll_texts")] = None,
    max_poll_messages: Annotated[int | None, _option(_WORK, "worker", "max_poll_messages")] = None,
    max_wait_ms: Annotated[int | None, _option(_WORK, "worker", "max_wait_ms")] = None,
    max_text_bytes: Annotated[int | None, _option(_LIMITS, "worker", "max_text_bytes")] = None,
    failure_budget_pct: Annotated[float | None, _option(_LIMITS, "worker", "failure_budget_pct")] = None,
    failure_budget_min_texts: Annotated[int | None, _option(_LIMITS, "worker", "failure_budget_min_texts")] = None,
    delivery: Annotated[str | None, _option(_LIMITS, "worker", "delivery")] = None,
    transaction_timeout_seconds: Annotated[
        float | None, _option(_LIMITS, "worker", "transaction_timeout_seconds")
    ] = None,
    heartbeat_seconds: Annotated[float | None, _option(_LIMITS, "worker", "heartbeat_seconds")] = None,
    drain_seconds: Annotated[float | None, _option(_LIMITS, "worker", "drain_seconds")] = None,
    broker_retry_seconds: Annotated[float | None, _option(_LIMITS, "worker", "broker_retry_seconds")] = None,
    max_texts: Annotated[int | None, _option(_LIMITS, "worker", "max_texts")] = None,
    idle_exit_seconds: Annotated[float | None, _option(_LIMITS, "worker", "idle_exit_seconds")] = None,
    metrics_port: Annotated[int | None, _option(_OWN, "worker", "metrics_port")] = None,
    metrics_host: Annotated[str | None, _option(_OWN, "worker", "metrics_host")] = None,
    metrics_allowed_hosts: Annotated[str | None, _option(_OWN, "worker", "metrics_allowed_hosts")] = None,
    hashing_dims: Annotated[int | None, _option(_DRILL, "worker", "hashing_dims")] = None,
    hashing_seconds_per_text: Annotated[float | None, _option(_DRILL, "worker", "hashing_seconds_per_text")] = None,
    drill_slow_after_seconds: Annotated[float | None, _option(_DRILL, "worker", "drill_slow_after_seconds")] = None,
    drill_slow_for_seconds: Annotated[float | None, _option(_DRILL, "worker", "drill_slow_for_seconds")] = None,
    drill_slow_delay_ms: Annotated[int | None, _option(_DRILL, "worker", "drill_slow_delay_ms")] = None,
) -> None:
    """Read texts from Kafka, embed them, write vectors and metrics back.

    Offsets are committed only after vectors, dead letters and metrics are acknowledged: a worker that is killed loses
    nothing, and some texts are done again. Start as many as the topic has partitions. SIGTERM or Ctrl-C finishes what
    is in flight; a second one stops at once.

    With --processes or --processes-per-gpu this command starts that many workers, each with its number after its name
    in events and before its log lines, and starts one that crashed again. Limits such as --max-texts and
    --token-budget hold for each. With --metrics-port the first worker answers at that port, the next one at the next,
    and so on.

    A text that cannot be embedded goes to the dead-letters topic with its reason. With --cache-url vectors are shared
    between workers through Redis or Valkey; a cache in trouble is bypassed.

    Example: embedwatch worker -b broker:9092 --cache-url redis://cache:6379/0 --model all-MiniLM-L6-v2
    """
    settings = read(dict(locals()))
    # What only watches others loads neither Kafka's client nor a model's libraries.
    from workers.members import members

    if crew := members(settings):
        from workers.crew import supervise

        raise typer.Exit(supervise(crew, drain_seconds=settings.worker.drain_seconds))
    from workers.service import run

    run(settings)


def read(given: dict[str, Any]) -> Settings:
    """The settings from the options of a command that takes those of a worker; sets up its log.

    Raises `ConfigError`.
    """
    config_path: Path | None = given.pop("config")
    sections = {
        "bootstrap_servers": "kafka.bootstrap_servers",
        "topic_prefix": "kafka.topic_prefix",
        "cache_url": "cache.url",
        "gpu_usd_per_hour": "pricing.gpu_usd_per_hour",
    }
    settings = load(config_path, {sections.get(field, f"worker.{field}"): value for field, value in given.items()})
    if settings.worker.backend == "openai" and settings.worker.api_base_url is None:
        # Told here: the backend would say so when Kafka has been asked, and each of several processes again.
        raise ConfigError("the openai backend needs --api-base-url, e.g. https://api.openai.com/v1")
    logs.configure()
    return settings
