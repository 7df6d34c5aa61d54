"""The HTTP API of the stream agents, as the report, the check and the demo read it."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import SecretStr

from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.settings import Settings


def default_url(settings: Settings) -> str:
    """Where agents with these settings serve; an address that means "every interface" is asked on loopback."""
    host = settings.agents.web_host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.agents.web_port}"


class AgentsApi:
    """One connection, kept open. `token` is what the agents want to see (`agents.web_token`).

    Raises `ConfigError` for a URL that is none.

    Its methods raise `ConnectionFailed` when the agents are not there or not ready, and `ConfigError` for a parameter
    that they refuse.
    """

    def __init__(
        self,
        url: str,
        *,
        token: SecretStr | None = None,
        timeout_seconds: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        address = url.rstrip("/")
        self.url = _without_user(address)  # as it is told to people
        try:
            _check_address(httpx.URL(address))
            # `trust_env=False`: a proxy for the outside world is no way to an agent.
            self._client = httpx.Client(base_url=address, timeout=timeout_seconds, trust_env=False, transport=transport)
            if token is not None:
                self._client.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        except (httpx.InvalidURL, ValueError) as error:
            told = _without_user(url)
            raise ConfigError(f"--agents-url: {told!r} is not the address of an HTTP server: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def close(self) -> None:
        self._client.close()

    def ready(self) -> tuple[bool, list[str]]:
        """Whether the numbers can be trusted now, and what stands in the way."""
        answer = self._get("/readyz", {}, (200, 503))
        return bool(answer.get("ready")), [str(reason) for reason in answer.get("reasons", ())]

    def summary(self, window_seconds: int = 300, scope: str = "all") -> dict[str, Any]:
        return self._get("/api/v1/summary", {"window_seconds": str(window_seconds), "scope": scope}, (200,))

    def scopes(self) -> list[str] | None:
        """Every scope that they know of; None from agents of an older version, which do not tell."""
        answer = self._get("/api/v1/scopes", {}, (200, 404))
        found = answer.get("scopes")
        return [str(scope) for scope in found] if isinstance(found, list) else None

    def windows(self, scope: str = "all", limit: int = 60) -> list[dict[str, Any]]:
        """The newest windows of the shortest length there is, the newest first."""
        answer = self._get("/api/v1/windows", {"scope": scope, "limit": str(limit)}, (200,))
        rows = answer.get("windows")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def ledger(self, scope: str = "all") -> dict[str, Any]:
        """The days kept, of one scope: `timezone`, `today` and `rows`."""
        return self._get("/api/v1/ledger", {"scope": scope}, (200,))

    def ledger_day(self, day: str) -> dict[str, Any]:
        """One day, of every scope."""
        return self._get("/api/v1/ledger", {"day": day}, (200,))

    def baseline(self, window_seconds: int) -> dict[str, Any]:
        """Sums and sketches of every scope; `embedwatch.baselines.from_answer` reads them."""
        return self._get("/api/v1/baseline", {"window_seconds": str(window_seconds)}, (200,))

    def scaling(self) -> dict[str, Any]:
        """How many workers the queue needs, and what that goes by."""
        return self._get("/api/v1/scaling", {}, (200,))

    def verdicts(self) -> list[dict[str, Any]]:
        """Every rule's judgement now, the breached ones first."""
        rows = self._get("/api/v1/verdicts", {}, (200,)).get("verdicts")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def version(self) -> str | None:
        """Of embedwatch, at the agents; None where they do not say it."""
        info = self._get("/openapi.json", {}, (200,)).get("info")
        found = info.get("version") if isinstance(info, dict) else None
        return found if isinstance(found, str) else None

    def text(self, path: str, accept: str = "*/*") -> str:
        """What stands at a path that answers no JSON, such as `/metrics` or the page for people."""
        answer = self._ask(path, {}, {"Accept": accept})
        if answer.status_code != 200:
            raise ConnectionFailed(f"{self.url}{path} answers with status {answer.status_code}")
        return answer.text

    def alerts(self) -> dict[str, Any]:
        """What is breached, and the states of alerts where these agents know them."""
        return self._get("/api/v1/alerts", {}, (200,))

    def history(self, scope: str = "all") -> list[dict[str, Any]] | None:
        """The last hour of a scope in rows, the oldest first; None from agents of an older version."""
        answer = self._get("/api/v1/history", {"scope": scope}, (200, 404))
        rows = answer.get("rows")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None

    def _get(self, path: str, parameters: dict[str, str], good: tuple[int, ...]) -> dict[str, Any]:
        answer = self._ask(path, parameters)
        try:
            data = answer.json()
        except ValueError:
            data = None
        if answer.status_code == 400 and isinstance(data, dict) and "error" in data:
            raise ConfigError(str(data["error"]))
        if answer.status_code in (401, 403, 429) and isinstance(data, dict) and "error" in data:
            raise ConnectionFailed(f"the stream agents at {self.url} refuse: {data['error']}")
        if answer.status_code not in good or not isinstance(data, dict):
            raise ConnectionFailed(
                f"what answers at {self.url} is not the stream agents (status {answer.status_code} for {path})"
            )
        return data

    def _ask(self, path: str, parameters: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.get(path, params=parameters, headers=headers)
        except httpx.TimeoutException:
            raise ConnectionFailed(f"the stream agents at {self.url} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionFailed(
                f"no stream agents at {self.url} ({_why(error)}). Start them with `embedwatch agents` or `embedwatch "
                "up`, or name their address: --agents-url where a command has it, else agents.web_host and "
                "agents.web_port."
            ) from None


def _check_address(url: httpx.URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("it begins with http:// or https:// and a host")


def _why(error: Exception) -> str:
    return "connection refused" if isinstance(error, httpx.ConnectError) else type(error).__name__


def _without_user(address: str) -> str:
    """A user and a password in an address are shown to nobody."""
    return re.sub(r"//[^/?#]*@", "//", address)
