"""`embedwatch up`: the whole flow on this machine until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedwatch import options
from embedwatch.settings import load


def _option(*flags: str, help: str, **more: Any) -> Any:
    name = max(flags, key=len).removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, envvar=f"EMBEDWATCH_UP_{name}", help=help, **more)


def up(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    cache_url: options.CacheUrl = None,
    rules: Annotated[Path | None, options.setting("agents", "rules", "--rules", "-r")] = None,
    model: Annotated[str | None, options.setting("worker", "model", "--model", "-m")] = None,
    web_port: Annotated[
        int | None, options.setting("agents", "web_port", help="port of the agents' HTTP API; 0: a free one")
    ] = None,
    workers: Annotated[int, _option("--workers", "-w", min=1, max=64, help="Worker processes.")] = 1,
    broker_port: Annotated[
        int, _option("--broker-port", min=0, max=65535, help="Port of the embedded broker; 0: a free one.")
    ] = 9092,
    cache_port: Annotated[
        int, _option("--cache-port", min=0, max=65535, help="Port of the embedded cache; 0: a free one.")
    ] = 0,
    slack_port: Annotated[
        int, _option("--slack-port", min=0, max=65535, help="Port of the Slack stand-in; 0: a free one.")
    ] = 0,
    logs: Annotated[
        Path | None, _option("--logs", help="Keep the logs of all parts here. Without it: a temporary folder.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Run broker, cache, workers, stream agents and alerting here, until Ctrl-C.

    With --json the addresses of all parts are one line of JSON on standard output, as soon as everything runs.

    What you name is used instead of ours: --bootstrap-servers your Kafka, --cache-url your Redis, a Slack token or
    webhook in the environment your Slack. The embedded broker keeps nothing when it stops. A stage that ends is started
    again.

    Examples: embedwatch up; embedwatch up --workers 2 --rules rules.yaml;
    embedwatch up -b broker:9092 --cache-url redis://cache:6379/0
    """
    import os
    import tempfile
    import time

    import msgspec
    from rich.console import Console

    from embedwatch.errors import ConnectionFailed, EmbedwatchError
    from embedwatch.local.demo import forget
    from embedwatch.local.screen import Screen
    from embedwatch.local.stack import LocalStack, Plan
    from embedwatch.processes import free_port, stop_on_signals
    from embedwatch.rules import load_rules
    from embedwatch.services.loopback import PortInUse
    from embedwatch.settings import PREFIX, env_name

    overrides = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "kafka.topic_prefix": topic_prefix,
        "cache.url": cache_url,
        "agents.rules": None if rules is None else str(rules.absolute()),
        "worker.model": os.path.abspath(model) if model is not None and os.path.isdir(model) else model,
        "agents.web_port": free_port() if web_port == 0 else web_port,
    }
    settings = load(config, overrides)
    load_rules(settings.agents.rules)  # a mistake in it is told now, and not by a stage that ends
    environ: dict[str, str | None] = {
        env_name(*dotted.split(".")): str(value) for dotted, value in overrides.items() if value is not None
    }
    if config is not None:
        environ[PREFIX + "CONFIG"] = str(config.absolute())
    plan = Plan(
        workers=workers,
        own_broker="bootstrap_servers" not in settings.kafka.model_fields_set,
        own_cache=settings.cache.url is None,
        own_slack=settings.alerts.slack_bot_token is None and settings.alerts.slack_webhook_url is None,
        broker_port=broker_port or None,
        cache_port=cache_port or None,
        slack_port=slack_port,
        environ=environ,
        restart=True,
    )
    keep = logs is not None
    folder = logs or Path(tempfile.mkdtemp(prefix="embedwatch-up-"))
    folder.mkdir(parents=True, exist_ok=True)
    screen = Screen(Console(highlight=False, soft_wrap=True, stderr=True) if as_json else None)

    def say(text: str) -> None:
        screen.say(f"  {text}")

    screen.say("starting (the first start after installing takes longest: torch is read from disk)")
    try:
        with (
            stop_on_signals() as stop,
            LocalStack(settings, folder.absolute(), plan, say, stop) as stack,
        ):
            screen.say("everything runs; Ctrl-C stops it", "bold green")
            if as_json:
                print(msgspec.json.encode(stack.addresses()).decode(), flush=True)
            for what, where in stack.addresses().items():
                screen.say(f"  {what + ':':<24} {where}")
            if settings.pricing == type(settings.pricing)() and settings.worker.backend == "sentence-transformers":
                price = env_name("pricing", "gpu_usd_per_hour")
                say(f"a local model has no list price: its tokens count as unpriced until you set {price}")
            servers = stack.settings.kafka.bootstrap_servers
            flag = "" if servers == "127.0.0.1:9092" else f" -b {servers}"
            prefix = stack.settings.kafka.topic_prefix
            flag += "" if prefix == "embedwatch" else f" --topic-prefix {prefix}"
            url = "" if stack.settings.agents.web_port == type(stack.settings.agents)().web_port else stack.agents_url
            report = f"embedwatch report{f' --agents-url {url}' if url else ''}"
            screen.say(f"in another terminal: embedwatch produce --stdlib-docs --limit 2000{flag}; {report}")
            while True:
                stack.check()
                time.sleep(0.5)
    except PortInUse as error:
        ways = (
            "--broker-port, --cache-port and --slack-port take 0 for a free port; -b names a broker that runs already"
        )
        raise ConnectionFailed(f"{error} ({ways})") from None
    except EmbedwatchError:
        keep = True
        typer.echo(f"embedwatch: the logs are in {folder}", err=True)
        raise
    except KeyboardInterrupt:
        screen.say("stopped", "bold")
    finally:
        if not keep:
            forget(folder)
