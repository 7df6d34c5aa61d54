"""Asks the stream agents every few seconds, in a process of its own: it may wait for a name server, a handshake or an
answer by the byte for as long as it likes, and nobody who looks after workers waits with it.

One JSON object a line on standard error: `{"answer": {...}}`, or `{"trouble": "why there is none"}`. It ends with
whoever reads it, or on SIGTERM.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from embedwatch.agents_api import AgentsApi
from embedwatch.errors import EmbedwatchError
from embedwatch.settings import PREFIX
from workers.autoscale.wish import FIELDS, MAX_WORDS
from workers.crew import Member

NAME = "agents"
URL = f"{PREFIX}AUTOSCALE_AGENTS_URL"
TOKEN = f"{PREFIX}AUTOSCALE_AGENTS_TOKEN"
INTERVAL = f"{PREFIX}AUTOSCALE_INTERVAL"
TIMEOUT_SECONDS = 5.0


def member(
    url: str, interval_seconds: float, listen: Callable[[bytes], None], token: SecretStr | None = None
) -> Member:
    """The process that asks. The address may hold a password: it is on no command line."""
    environ = {URL: url, INTERVAL: repr(interval_seconds)}
    if token is not None:
        environ[TOKEN] = token.get_secret_value()
    return Member(NAME, (sys.executable, "-P", "-m", "workers.autoscale.asking"), environ, listen)


def ask(api: AgentsApi) -> dict[str, Any]:
    """What one line says."""
    try:
        answer = api.scaling()
    except EmbedwatchError as error:
        return {"trouble": str(error)}
    # A reader of lines has a limit for one; words beyond what is shown are cut there.
    return {"answer": {name: _cut(answer[name]) for name in FIELDS if name in answer}}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[: 2 * MAX_WORDS]
    return value if value is None or isinstance(value, int | float) else f"a {type(value).__name__}"


def main(environ: Mapping[str, str] = os.environ) -> None:
    interval_seconds = float(environ[INTERVAL])
    token = SecretStr(environ[TOKEN]) if environ.get(TOKEN) else None
    with AgentsApi(environ[URL], token=token, timeout_seconds=TIMEOUT_SECONDS) as api:
        while True:
            began = time.monotonic()
            os.write(2, json.dumps(ask(api)).encode() + b"\n")
            time.sleep(max(interval_seconds - (time.monotonic() - began), 0.05))


if __name__ == "__main__":
    main()
