"""A test that must run and did not is a failure: shown by running pytest on a machine without Java."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
KAFKA_TEST = "tests/contract/test_topics.py::test_a_topic_that_does_not_exist_has_no_partitions[apache-kafka]"


def run_pytest(tmp_path: Path, target: str, require: str) -> subprocess.CompletedProcess[str]:
    hidden = ("JAVA_HOME", "KAFKA_BOOTSTRAP_SERVERS", "PYTEST_ADDOPTS")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    environ |= {"PATH": str(tmp_path), "EMBEDWATCH_TEST_REQUIRE": require}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'base'}",
        target,
    ]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_without_java_a_test_on_apache_kafka_is_skipped_with_one_line(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, KAFKA_TEST, "embedded")
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "needs Java 17 or newer" in line


def test_where_kafka_is_required_the_same_is_a_failure(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, KAFKA_TEST, "embedded, kafka")
    assert done.returncode == 1, done.stdout
    assert "EMBEDWATCH_TEST_REQUIRE names kafka" in done.stdout
    assert "needs Java 17 or newer" in done.stdout


@pytest.mark.parametrize(
    ("body", "required", "fails"),
    [
        ("@pytest.mark.kafka\ndef test_it(): pytest.skip('not today')", "kafka", True),
        ("@pytest.mark.kafka\ndef test_it(): pytest.skip('not today')", "redis", False),
        ("@pytest.mark.model\n@pytest.mark.skipif(True, reason='x')\ndef test_it(): pass", "model", True),
        ("def test_it(): pytest.skip('not today')", "kafka,redis,model,embedded", False),
        ("@pytest.mark.kafka\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False", "kafka", False),
        ("pytest.skip('whole file', allow_module_level=True)", "kafka", True),
        ("pytest.skip('whole file', allow_module_level=True)", "", False),
    ],
)
def test_any_skip_of_a_test_that_is_required_is_a_failure(
    tmp_path: Path, body: str, required: str, fails: bool
) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text("from tests.conftest import *  # noqa: F403\n")
    (folder / "test_it.py").write_text(f"import pytest\n{body}\n")
    done = run_pytest(tmp_path, str(folder / "test_it.py"), required)
    assert (done.returncode in (1, 2)) == fails, done.stdout + done.stderr


def test_an_unknown_requirement_is_refused(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, KAFKA_TEST, "kafak")
    assert done.returncode == 4
    assert "unknown ['kafak']" in done.stderr + done.stdout
