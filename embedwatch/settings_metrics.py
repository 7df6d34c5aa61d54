"""Settings of a process's own endpoint: /metrics, /livez and /readyz. The agents have theirs in the HTTP API."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from embedwatch.errors import ConfigError
from embedwatch.hosts import name_list
from embedwatch.section import Section

PORT_HELP = "port of this process's own /metrics, /livez and /readyz; 0: any free one, told in the log; off without it"
HOST_HELP = "address that /metrics, /livez and /readyz bind to; 0.0.0.0: every interface"
ALLOWED_HELP = "further names by which /metrics, /livez and /readyz are asked, separated by commas; others are refused"
NAMES_PATTERN = r"^[A-Za-z0-9._ ,:\[\]-]*$"


class MetricsSettings(Section):
    """Also made of the options of commands that have no section."""

    metrics_port: int | None = Field(None, ge=0, le=65535, description=PORT_HELP)
    metrics_host: str = Field("127.0.0.1", max_length=255, pattern=r"^[A-Za-z0-9._:-]+$", description=HOST_HELP)
    metrics_allowed_hosts: str = Field("", max_length=4000, pattern=NAMES_PATTERN, description=ALLOWED_HELP)

    @property
    def metrics_host_names(self) -> tuple[str, ...]:
        """`metrics_allowed_hosts` one by one."""
        return name_list(self.metrics_allowed_hosts)


def of_options(port: int | None, host: str | None, allowed_hosts: str | None) -> MetricsSettings:
    """Of a command that has no section. Raises `ConfigError`."""
    given: dict[str, Any] = {"metrics_port": port, "metrics_host": host, "metrics_allowed_hosts": allowed_hosts}
    try:
        return MetricsSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0])
        option = f"--{name.replace('_', '-')}"
        raise ConfigError(f"option {option}: {detail['msg']}, found {str(given[name])[:80]!r}") from None
