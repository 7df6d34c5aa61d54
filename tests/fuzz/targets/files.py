"""Files and variables that people write."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import yaml

from embedwatch import errors, rules, settings
from embedwatch.yamlfile import YamlFile
from tests.fuzz.dice import TEXTS, Dice

RULES = {
    "thresholds": {"latency_p95_ms": 500, "daily_cost_usd": 100, "queue_depth": 1000},
    "rules": [
        {
            "name": "search", "metric": "latency_p95_ms", "threshold": 300, "window": "1m", "for": "30s",
            "scope": {"model": "m"}, "by": ["tenant"], "severity": "critical", "min_samples": 5, "route": "slack",
            "keep_firing_for": "1h30m", "text": "look", "runbook": "https://wiki.example/x",
        },
        {"type": "BUDGET_EXCEEDED", "metric": "daily_cost_usd", "threshold": 7, "steps_pct": [50, 80, 100]},
        {"metric": "latency_regression_pct", "baseline": "b"},
    ],
}  # fmt: skip
SETTINGS = {
    section: {
        name: value for name, value in part.items() if value is not None and not isinstance(value, bytes)
    }
    for section, part in json.loads(settings.Settings().model_dump_json()).items()
    if isinstance(part, dict)
}  # fmt: skip
PIECES = (
    "rules:\n", "thresholds:\n", "- ", "  ", "\n", "metric: ", "latency_p95_ms", ": ", "&a ", "*a", "<<: *a", "{", "}",
    "[", "]", ",", "'", '"', "|\n", ">\n", "!!python/object:os.system ", "!!binary ", "!!timestamp ", "!!float ", "? ",
    "---\n", "...\n", "%YAML 1.1\n", "#", "\t", "1:2:3", ".inf", ".nan", "0o17", "0x1f", "2027-01-15", "~", "=", "yes",
    "!!set {a, b}", "!!omap [a: 1]", "!!int ", "!!null x", "!!str ", "1_000", "2027-99-99", "2027-01-01T99:99:99Z",
)  # fmt: skip
MAX_MESSAGE_LINE = 3000


def _text(dice: Dice, seed: object) -> str:
    """YAML: changed, or put together from what has a meaning in it."""
    kind = dice.byte() % 4
    if kind < 2:
        try:
            return yaml.safe_dump(dice.changed(seed, 8), allow_unicode=True)
        except (yaml.YAMLError, ValueError, UnicodeError):
            return ""
    if kind == 2:
        return "".join(dice.pick(PIECES) if dice.byte() % 4 else dice.pick(TEXTS) for _ in range(dice.below(60)))
    return dice.rest().decode("utf-8", "replace")


def fuzz_rules(data: bytes) -> None:
    """A rules file: rules that can be judged, or `ConfigError` that says what is wrong in lines that can be read."""
    dice = Dice(data)
    text = _text(dice, RULES)
    try:
        found = rules.parse_rules(YamlFile("rules.yaml", text))
    except errors.ConfigError as error:
        _readable(error, text)
        return
    assert found
    assert len({rule.name for rule in found}) == len(found) <= rules.MAX_RULES
    for rule in found:
        assert rule.metric in rules.METRICS
        assert 0 <= rule.threshold < float("inf")
        assert 0 <= rule.for_seconds < float("inf")
        assert 0 <= rule.window_seconds <= rules.MAX_WINDOW_SECONDS
        assert rule.name.isprintable()
        json.dumps([rule.name, rule.text, rule.runbook, rule.scope, rule.by, rule.steps_pct], allow_nan=False).encode()


def fuzz_settings(data: bytes) -> None:
    """A file of settings, and variables: settings, or `ConfigError` that names the place and shows no secret."""
    dice = Dice(data)
    secret = "xoxb-very-secret-token"
    seed = {**SETTINGS, "alerts": {**SETTINGS["alerts"], "slack_bot_token": secret}}
    seed = {name: seed[name] for name in (dice.pick(sorted(seed)), dice.pick(sorted(seed)), "alerts")}
    text = _text(dice, seed)
    environ = {"EMBEDWATCH_ALERTS_SLACK_APP_TOKEN": secret}
    for _ in range(dice.below(4)):
        section = dice.pick(sorted(SETTINGS))
        name = settings.env_name(section, dice.pick(sorted(SETTINGS[section]) or ["x"]))
        environ[name if dice.byte() % 8 else name + dice.text()] = dice.text().replace("\0", "")
    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        path = Path(folder) / "embedwatch.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            found = settings.load(path, environ=environ)
        except errors.ConfigError as error:
            _readable(error, text + "".join(environ.values()))
            assert secret not in str(error) or text.count(secret) > 1
            return
    shown = settings.listed(found)
    assert not any(secret in value for _, value, _ in shown), "a secret is shown"
    settings.redact_url(dice.text() + dice.text())


def _readable(error: errors.ConfigError, text: str) -> None:
    lines = str(error).splitlines()
    assert lines
    assert sum(map(len, lines)) <= 2000 + 40 * len(text) + MAX_MESSAGE_LINE * len(lines)


_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file a run: memory wears no disk
