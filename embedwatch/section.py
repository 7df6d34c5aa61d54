"""The base of all settings sections."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mistyped name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def without_user(address: str) -> str:
    """The address of a setting that is printed. Raises ValueError where it holds a name and a password."""
    if re.match(r"[a-z]+://[^/?#]*@", address):
        raise ValueError("holds a user name or a password, which would be printed with it")
    return address
