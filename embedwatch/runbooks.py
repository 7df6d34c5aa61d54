"""The address that a rule names as its runbook: who is told of the alert is shown it. Pure."""

from __future__ import annotations

import re

#: Links of a message share the room that Slack gives them.
MAX_RUNBOOK_CHARS = 500
EXAMPLE = "https://wiki.example/runbooks/search"
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_WITH_USER = re.compile(r"https?://[^/?#]*@", re.IGNORECASE)
#: RFC 3986, without users: host, port, and the rest in the characters that an address may hold.
_ADDRESS = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:[/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?",
    re.IGNORECASE,
)


def mistake(address: object) -> str | None:
    """Why it cannot be a runbook, for people, without its text, which may be a secret; None: it can."""
    if not isinstance(address, str):
        return f"runbook is an address such as {EXAMPLE}"
    if not _SCHEME.match(address):
        return f"runbook is an address that begins with http:// or https://, such as {EXAMPLE}"
    if len(address) > MAX_RUNBOOK_CHARS:
        return f"runbook has at most {MAX_RUNBOOK_CHARS} characters, these are {len(address):,}"
    if _WITH_USER.match(address):
        return "runbook holds a user or password, and everybody who is told of the alert would see it"
    if not _ADDRESS.fullmatch(address):
        return f"runbook holds what no address may: write it as a browser copies it, such as {EXAMPLE}"
    return None
