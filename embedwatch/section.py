"""The base of all settings sections."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mistyped name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
