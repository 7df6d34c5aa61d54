"""Settings of who is told of which alert (`alerts.routes`)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, get_args

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from embedwatch.events import AlertType, Severity
from embedwatch.section import Section

LABELS = ("severity", "alert_type", "rule", "route", "model", "tenant", "worker")
_KNOWN_VALUES = {"severity": get_args(Severity), "alert_type": get_args(AlertType)}
_MENTION = re.compile(r"<!(here|channel|everyone)>|<@[UW][A-Z0-9]{2,30}>|<!subteam\^S[A-Z0-9]{2,30}>")


def _several(value: object) -> object:
    """One is written without brackets."""
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1, max_length=50)]


class RouteSettings(Section):
    """One route."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    match: dict[str, Names] = Field(default_factory=dict)
    to: Names | None = None
    mention: Names | None = None
    goes_on: bool = Field(False, alias="continue")

    @field_validator("match")
    @classmethod
    def _match_known(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for label, patterns in value.items():
            if label not in LABELS:
                raise ValueError(f"{label!r} is no label of an alert; there are {', '.join(LABELS)}")
            known = _KNOWN_VALUES.get(label)
            for pattern in patterns:
                if known is not None and not any(fnmatchcase(each, pattern) for each in known):
                    raise ValueError(f"no {label} is like {pattern!r}; there are {', '.join(known)}")
        return value

    @field_validator("mention")
    @classmethod
    def _mention_form(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for each in value or ():
            if not _MENTION.fullmatch(each):
                raise ValueError(
                    f"{each[:60]!r} is no mention; one is <!here>, <!channel>, <!everyone>, <@U012AB3CD> (a member's "
                    "id) or <!subteam^S012AB3CD> (a user group's id)"
                )
        return value
