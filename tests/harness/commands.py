"""Our commands as a user runs them: a process of their own, a terminal of 80 columns, settings from the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings

EMBEDWATCH = [sys.executable, "-m", "embedwatch"]


def environ(kafka: KafkaSettings) -> dict[str, str]:
    """Ours alone: what a developer has set for embedwatch does not count."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
    return theirs | {
        "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EMBEDWATCH_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "COLUMNS": "80",
    }


def run(
    kafka: KafkaSettings, *arguments: object, code: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Until it ends, with this exit code and without a stack trace. `environment` comes on top."""
    done = subprocess.run(
        [*EMBEDWATCH, *map(str, arguments)], capture_output=True, timeout=90,
        env=environ(kafka) | dict(environment or {}), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def say(kafka: KafkaSettings, *arguments: object, code: int = 0) -> str:
    """What it prints, standard output first."""
    done = run(kafka, *arguments, code=code)
    return (done.stdout + done.stderr).decode()


def start(kafka: KafkaSettings, log: Path, *arguments: object) -> Child:
    """One that goes on. Use it as a context manager."""
    return Child("command", [*EMBEDWATCH, *map(str, arguments)], log, dict(environ(kafka)))
