"""Logging to standard error, one line a record; the level from `EMBEDWATCH_LOG_LEVEL` (default INFO)."""

from __future__ import annotations

import logging
import os
import sys

from embedwatch.errors import ConfigError
from embedwatch.settings import PREFIX

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configure(level: str | None = None) -> None:
    """Set up the root logger of a command. Raises `ConfigError` for an unknown level."""
    wanted = (level or os.environ.get(PREFIX + "LOG_LEVEL") or "INFO").upper()
    if wanted not in LEVELS:
        raise ConfigError(f"{PREFIX}LOG_LEVEL={wanted!r}: known levels are {', '.join(LEVELS)}")
    logging.basicConfig(
        level=wanted, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    quieten_kafka(wanted)
    for chatty in ("aiokafka", "faust", "mode", "httpx", "httpcore", "urllib3", "slack_sdk"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(wanted)))


def quieten_kafka(level: str = "INFO") -> None:
    """kafka-python tells every attempt as an error of its own; what came of it is said once, in our words."""
    logging.getLogger("kafka").setLevel(logging.DEBUG if level == "DEBUG" else logging.CRITICAL)
