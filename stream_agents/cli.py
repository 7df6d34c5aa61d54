"""`embedwatch agents`: run the stream agents until stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from embedwatch import logs, options
from embedwatch.rules import load_rules
from embedwatch.settings import load

log = logging.getLogger("agents")


def app(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    rules: Annotated[Path | None, options.setting("agents", "rules", "--rules", "-r")] = None,
    web_host: Annotated[str | None, options.setting("agents", "web_host", help="address the HTTP API binds to")] = None,
    web_port: Annotated[int | None, options.setting("agents", "web_port", help="port of the HTTP API")] = None,
    timezone: Annotated[str | None, options.setting("budget", "timezone", "--timezone", "--tz")] = None,
    app_id: Annotated[
        str | None, options.setting("agents", "app_id", help="consumer group and name of the state")
    ] = None,
) -> None:
    """Turn metric events into windows, budgets and verdicts (Faust).

    Example: embedwatch agents -b broker:9092 --rules rules.yaml --timezone Europe/Berlin

    Serves the numbers at http://HOST:PORT/api/v1/summary and /metrics. Stops cleanly on Ctrl-C and SIGTERM; what was
    counted is in the state topic, and a restart goes on exactly there.
    """
    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "agents.rules": rules,
            "agents.web_host": web_host,
            "agents.web_port": web_port,
            "agents.app_id": app_id,
            "budget.timezone": timezone,
        },
    )
    logs.configure()
    judged = load_rules(settings.agents.rules)

    from stream_agents.serve import serve

    serve(settings, judged)
