"""Where to read on: the dashboard of what an alert is about, and the runbook that its rule names. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from embedwatch.events import Verdict
from embedwatch.runbooks import mistake

#: What a dashboard's address may hold in braces.
PLACES = ("model", "tenant", "worker", "rule", "alert_type", "alert_id")
MAX_URL_CHARS = 1000
_PLACE = re.compile("{(" + "|".join(PLACES) + ")}")
_URL = re.compile(r"https?://[\w.~:/?#\[\]@!$&()*+,;=%-]{1,900}", re.ASCII)


def dashboard(address: str, verdict: Verdict | None = None) -> str:
    """The address with its places filled in, each fit for a URL; empty where the alert says nothing of it.

    Filled in it may grow too long to be a link: then it is the one without.
    """
    known: dict[str, str] = {}
    if verdict is not None:
        known = {"rule": verdict.rule, "alert_type": verdict.alert_type, "alert_id": verdict.alert_id, **verdict.scope}

    def fill(match: re.Match[str]) -> str:
        return quote(known.get(match[1], "").encode("utf-8", "replace"), safe="")

    filled = _PLACE.sub(fill, address)
    return filled if len(filled) <= MAX_URL_CHARS else _PLACE.sub("", address)


def runbook(verdict: Verdict) -> str | None:
    """What its rule names, else the first address in the text of the rule.

    A verdict can come from anybody who may write to its topic, so it is looked at once more.
    """
    if verdict.runbook and mistake(verdict.runbook) is None:
        return verdict.runbook
    return in_text(verdict.text)


def in_text(text: str | None) -> str | None:
    """The first address, without the punctuation of the sentence around it."""
    found = _URL.search(text or "")
    return found[0].rstrip(".,;:!?)]") if found else None
