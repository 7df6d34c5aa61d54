"""Certificates for tests, made by openssl: an authority, and servers that it vouches for."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.harness.apache_kafka import CannotRun


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files."""

    certificate: Path
    key: Path


def openssl() -> str:
    """Its path. Raises `CannotRun` where there is none."""
    found = shutil.which("openssl")
    if found is None:
        raise CannotRun("certificates for tests are made by openssl, and there is none on PATH")
    return found


def authority(folder: Path, name: str = "authority") -> Certificate:
    """One that nobody else knows."""
    uses = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    return _made(folder, name, "-subj", f"/CN=embedwatch tests {name}", *uses)


def server(folder: Path, by: Certificate, address: str, name: str = "server") -> Certificate:
    """For a server at an IP address: it has no host name."""
    signed = ("-CA", str(by.certificate), "-CAkey", str(by.key))
    uses = ("-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE")
    return _made(folder, name, "-subj", "/CN=embedwatch tests server", *signed, *uses)


def _made(folder: Path, name: str, *options: str) -> Certificate:
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    # Without a file of settings of the machine: it adds extensions of its own, some twice.
    command = [openssl(), "req", "-x509", "-config", "/dev/null", *curve, "-days", "2", *files, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise CannotRun(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    return made
