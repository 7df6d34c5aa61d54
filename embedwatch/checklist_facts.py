"""What `embedwatch checklist` goes by, asked for: the agents' API, the broker, and what the check says of receivers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from embedwatch.agents_api import AgentsApi
from embedwatch.checklist import Facts
from embedwatch.errors import ConnectionFailed, EmbedwatchError, InputError
from embedwatch.scopes import parse_scope, scope_key
from embedwatch.settings import Settings

#: A page may be large; its title stands at its beginning.
TITLE = re.compile(r"<title>([^<]{1,100})</title>", re.IGNORECASE)
SERIES = re.compile(r"^embedwatch_\w+(?:\{| )", re.MULTILINE)
ASK_SECONDS = 3.0
#: Models that are asked for one by one.
MAX_MODELS = 20


#: Questions beside those of each model: scopes, windows, metrics, page, alerting, receivers, alerts.
QUESTIONS = 7


def gather(
    settings: Settings, api: AgentsApi, *, window_seconds: int, baselines: Path,
    told: Callable[[float], object] = lambda done_pct: None,
) -> Facts:  # fmt: skip
    """Raises `ConnectionFailed` without agents; of the rest, what cannot be asked is None, with its reason. `told` is
    called with how many of the questions are asked, in percent."""
    reasons: dict[str, str] = {}
    asked, names = 0, list[str]()

    def ask(name: str, question: Callable[[], Any]) -> Any:
        nonlocal asked
        told(100.0 * asked / (QUESTIONS + min(len(names), MAX_MODELS)))
        asked += 1
        try:
            return question()
        except ModuleNotFoundError as error:
            reasons[name] = f"{error.name} is not installed here"
        except EmbedwatchError as error:
            reasons[name] = " ".join(str(error).split())
        return None

    summary = api.summary(window_seconds)
    verdicts = tuple(api.verdicts())
    names = _models(ask("scopes", api.scopes) or ())
    models = {
        name: found
        for name in names[:MAX_MODELS]
        if (found := ask("models", partial(api.summary, window_seconds, scope_key((("model", name),)))))
    }
    windows = ask("windows", api.windows) or []
    metrics = ask("metrics", lambda: api.text("/metrics"))
    page = ask("page", lambda: api.text("/ui", accept="text/html"))
    title = TITLE.search(page[:4096]) if page and "<html" in page[:4096].lower() else None
    group = ask("alerting", lambda: _members(settings))
    return Facts(
        agents_url=api.url,
        summary=summary,
        verdicts=verdicts,
        models=models,
        models_unknown=_unasked(names, models, reasons),
        metrics_series=None if metrics is None else len(SERIES.findall(metrics)),
        closed_windows=sum(window.get("state") == "closed" for window in windows),
        page_title=title[1].strip() if title else None,
        baselines=_names(baselines),
        baselines_folder=str(baselines),
        receivers=ask("receivers", lambda: _receivers(settings)),
        alerting_members=group,
        alerting_group=settings.alerts.group,
        # A broker that does not answer is waited for once.
        alerts_by_status=None if group is None else ask("alerts", lambda: _states(settings)),
        reasons=reasons,
    )


def _models(keys: Iterable[str]) -> list[str]:
    """Names of the scopes that are one model of all tenants."""
    names = []
    for key in keys:
        with suppress(ValueError):
            scope = parse_scope(key)
            if len(scope) == 1 and scope[0][0] == "model":
                names.append(scope[0][1])
    return sorted(names)


def _unasked(names: list[str], models: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """Of models that were not looked at, in words; empty when there is none."""
    if "scopes" in reasons or "models" in reasons:
        return f"not all models could be asked for: {reasons.get('scopes') or reasons['models']}"
    return f"only {len(models)} of {len(names):,} models were looked at" if len(names) > len(models) else ""


def _names(folder: Path) -> tuple[str, ...]:
    """Of those files that are baselines."""
    from embedwatch.baselines import SUFFIX, read

    names = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            names.append(read(path).name)
        except InputError:
            continue
    return tuple(names)


def _receivers(settings: Settings) -> Mapping[str, bool]:
    """Who would be told, by the check of alerting; what is skipped is not configured."""
    from embedwatch.checks import of_stages

    checker = dict(of_stages()).get("slack")
    if checker is None:
        raise ConnectionFailed("alerting is not installed here")
    found = {check.name: check.state == "ok" for check in checker(settings) if check.state in ("ok", "failed")}
    # Buttons and who watches the heartbeat are told of no alert.
    return {name: answers for name, answers in found.items() if name not in ("slack buttons", "heartbeat")}


def _members(settings: Settings) -> int:
    """Processes in the group of alerting. Raises `ConnectionFailed` where that is not known."""
    from embedwatch.clock import SystemClock
    from embedwatch.kafka import briefly
    from embedwatch.lag.reader import LagReader

    where = briefly(settings.kafka, ASK_SECONDS)
    with LagReader(where, settings.alerts.group, [settings.topics.verdicts], SystemClock()) as reader:
        reading = reader.read()
    if reading.members is None:
        raise ConnectionFailed(reading.trouble or "the broker does not tell the members of a group")
    return reading.members


def _states(settings: Settings) -> Mapping[str, int]:
    """How many alerts are in which state: the newest record of each, on the topic `alerts`."""
    import msgspec

    from embedwatch.kafka import briefly
    from embedwatch.reading import TopicReader

    newest: dict[bytes, str] = {}
    with TopicReader(briefly(settings.kafka, ASK_SECONDS), settings.topics.alerts) as reader:
        for batch in reader.batches():
            for record in batch:
                try:
                    state = msgspec.json.decode(record.value) if record.value else None
                except msgspec.DecodeError:
                    continue
                if isinstance(state, dict) and isinstance(state.get("status"), str):
                    newest[record.key] = state["status"]
                else:
                    newest.pop(record.key, None)
    counts: dict[str, int] = {}
    for status in newest.values():
        counts[status] = counts.get(status, 0) + 1
    return counts
