"""The list of licences, and the audit that says when it was none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tools import audit, licences


@pytest.mark.parametrize(
    ("name", "expression", "good"),
    [
        ("a", "MIT", True),
        ("a", "MIT OR GPL-3.0-only", True),
        ("a", "MIT AND GPL-3.0-only", False),
        ("a", "MPL-2.0 AND (Apache-2.0 OR GPL-3.0-only)", True),
        ("a", "(MIT OR Apache-2.0) AND (GPL-2.0-only OR AGPL-3.0-only)", False),
        ("a", "Apache-2.0 WITH LLVM-exception", True),
        ("a", "AGPL-3.0-only", False),
        ("a", "", False),
        ("crc32c", "LGPL-2.1-or-later", True),
        ("other", "LGPL-2.1-or-later", False),
        ("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", True),
        ("other", "LicenseRef-NVIDIA-Proprietary", False),
    ],
)
def test_what_is_allowed(name: str, expression: str, good: bool) -> None:
    assert licences.allowed(name, expression) is good
    assert bool(licences.troubles({name: expression})) is not good


def test_every_package_of_the_lock_has_a_line_and_is_allowed() -> None:
    lock = licences.locked(licences.LOCK.read_text())
    assert len(lock) > 100
    found = licences.rows(lock, licences.PAGE.read_text())
    assert set(found) == set(lock)
    assert licences.troubles(found) == []


def test_a_package_of_another_platform_keeps_its_line_and_one_that_says_nothing_is_told() -> None:
    page = "| elsewhere-only | MIT |\n"
    assert licences.rows({"elsewhere-only": "1", "brand-new-one": "1"}, page) == {
        "brand-new-one": licences.ELSEWHERE, "elsewhere-only": "MIT",
    }  # fmt: skip
    assert "brand-new-one names no licence" in licences.troubles({"brand-new-one": ""})[0]


def answered(stdout: str, stderr: str = "", code: int = 0) -> Any:
    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    return run


def test_an_advisory_is_a_failure_and_what_was_not_looked_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    said = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "not on PyPI"},
        ]
    }
    assert audit.audit(Path("x"), answered(json.dumps(said), code=1)) == (1, [
        "a 1: CVE-1, mended in 2", "not looked at: c: not on PyPI", "2 packages looked at, 1 advisories",
    ])  # fmt: skip
    only_skipped = {"dependencies": said["dependencies"][2:]}
    code, lines = audit.audit(Path("x"), answered(json.dumps(only_skipped)))
    assert (code, lines) == (audit.NOT_AUDITED, ["not audited: none of 1 packages could be looked up: not on PyPI"])
    said["dependencies"] = said["dependencies"][1:2]
    assert audit.audit(Path("x"), answered(json.dumps(said)))[0] == 0


def test_no_network_and_no_pip_audit_are_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    code, lines = audit.audit(Path("x"), answered("", "Traceback\nConnectionError: no route", 1))
    assert (code, lines) == (audit.NOT_AUDITED, ["not audited: ConnectionError: no route"])

    def never(command: Sequence[str]) -> Any:
        raise subprocess.TimeoutExpired(command, 1)

    assert audit.audit(Path("x"), never)[0] == audit.NOT_AUDITED
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: None)
    assert "pip-audit is not installed" in audit.audit(Path("x"), never)[1][0]
