"""Answers /metrics, /livez and /readyz of `embedwatch autoscale`, in a process of its own: beside other threads a
process does not fork safely (`workers.crew`), and who looks after workers waits for no client.

The command writes how it stands once a second, into a file that only its user can read; this process reads it when it
is asked. How old the file is tells whether the command still turns.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from embedwatch.errors import ConfigError
from embedwatch.settings import PREFIX
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.stage_metrics import Look
from workers.autoscale.own_metrics import FAMILIES, Report, look
from workers.crew import Member

log = logging.getLogger("workers.autoscale")

NAME = "metrics"
FILE = f"{PREFIX}AUTOSCALE_REPORT"
SETTINGS = f"{PREFIX}AUTOSCALE_METRICS"
EVERY_SECONDS = 1.0
#: A report has a few hundred.
MAX_BYTES = 65_536


def member(path: Path, settings: MetricsSettings) -> Member:
    """The process that answers."""
    environ = {FILE: str(path), SETTINGS: settings.model_dump_json()}
    return Member(NAME, (sys.executable, "-P", "-m", "workers.autoscale.reporting"), environ)


class Reporter:
    """Writes reports. `due` and `write` are called by the command's one thread, with times of its monotonic clock."""

    def __init__(self, path: Path, settings: MetricsSettings) -> None:
        self.member = member(path, settings)
        self._path = path
        self._next = 0.0
        self._failed = False

    def due(self, monotonic: float) -> bool:
        return monotonic >= self._next

    def write(self, report: Report, monotonic: float) -> None:
        """Whole or not at all. What cannot be written is said once: the workers are looked after all the same."""
        self._next = monotonic + EVERY_SECONDS
        new = self._path.with_suffix(".new")
        try:
            # Not followed: in a folder for everybody a link may lead anywhere.
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(file, msgspec.json.encode(report))
            finally:
                os.close(file)
            os.replace(new, self._path)
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written (%s): /livez will say that nothing moves", new, error.strerror)
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


def read(path: Path) -> tuple[Report | None, float | None]:
    """The last report, and when it was written in Unix seconds; None where there is none of ours."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None, None
    try:
        about = os.fstat(file)
        if about.st_uid != os.getuid():
            return None, None
        return msgspec.json.decode(os.read(file, MAX_BYTES), type=Report), about.st_mtime
    except (OSError, msgspec.DecodeError):
        return None, None
    finally:
        os.close(file)


def main(environ: Mapping[str, str] = os.environ) -> None:
    """Until SIGTERM, which ends it at once: there is nothing to finish."""
    from embedwatch import logs
    from embedwatch.stage_endpoint import serving

    logs.configure()
    path, settings = Path(environ[FILE]), MetricsSettings.model_validate_json(environ[SETTINGS])
    begun = time.time()

    def now() -> Look:
        report, written = read(path)
        return look(report, max(time.time() - (begun if written is None else written), 0.0))

    with serving(settings, "autoscale", FAMILIES, now) as port:
        if port is None:
            # Said already. With this code nobody starts it again.
            sys.exit(ConfigError.exit_code)
        threading.Event().wait()


if __name__ == "__main__":
    main()
