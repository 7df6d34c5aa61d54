"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.targets import alerts, commands, days, events, files, inputs, texts, web

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "admission": web.fuzz_admission,
    "agent_state": events.fuzz_agent_state,
    "agents": events.fuzz_agents,
    "alerting": alerts.fuzz_alerting,
    "arguments": commands.fuzz_arguments,
    "cache": texts.fuzz_cache,
    "codec": events.fuzz_codec,
    "days": days.fuzz_days,
    "dead_letters": texts.fuzz_dead_letters,
    "http": web.fuzz_http,
    "inputs": inputs.fuzz_inputs,
    "partials": events.fuzz_partials,
    "periods": days.fuzz_periods,
    "rules": files.fuzz_rules,
    "settings": files.fuzz_settings,
    "sketch": events.fuzz_sketch,
    "slack_press": alerts.fuzz_slack_press,
    "slack_text": alerts.fuzz_slack_text,
    "texts": texts.fuzz_texts,
    "vectors": texts.fuzz_vectors,
}
