"""Fixtures shared by all tests: real brokers and a real cache, started only when a test asks for one.

`broker` runs a test on the embedded broker and on Apache Kafka. What is missing on a developer's machine is skipped
with one line; in CI `EMBEDWATCH_TEST_REQUIRE=embedded,kafka,...` turns every such skip into a failure.
`KAFKA_BOOTSTRAP_SERVERS` names a broker of the user's own, which then takes the place of Apache Kafka.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from embedwatch.services.broker import EmbeddedBroker
from embedwatch.services.cache import EmbeddedCache, Unavailable, start_cache
from embedwatch.settings import KafkaSettings
from tests.harness.apache_kafka import ApacheKafka
from tests.harness.brokers import APACHE_KAFKA, EMBEDDED, PROMISES, Broker, settings_for
from tests.harness.requirements import REQUIRE, REQUIREMENTS, missing, required, start_embedded, start_kafka

BROKERS = (pytest.param(EMBEDDED, id=EMBEDDED), pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka))


# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("embedwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("embedwatch")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(name): what the broker must keep; see tests/harness/brokers.py")
    config.addinivalue_line("markers", "restarts_broker: stops and starts the broker, so it must be one of ours")
    unknown = required() - REQUIREMENTS
    if unknown:
        raise pytest.UsageError(f"{REQUIRE}: unknown {sorted(unknown)}, known are {sorted(REQUIREMENTS)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A broker that is not ours is not restarted: there is no such test then, rather than a skipped one."""
    if not _own_bootstrap_servers():
        return
    ours: list[pytest.Item] = []
    foreign: list[pytest.Item] = []
    for item in items:
        taboo = item.get_closest_marker("restarts_broker") and item.get_closest_marker("kafka")
        (foreign if taboo else ours).append(item)
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = ours


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where a requirement is named, a test that needs it and was skipped for any reason has failed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    demanded = required() & _needs(item)
    if report.skipped and demanded and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE} names {', '.join(sorted(demanded))}, but this test was skipped: {reason}"
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A file that skips itself whole hides what its tests need: where anything is required, that is a failure too."""
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    if report.outcome == "skipped" and required():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE} is set, but {collector.nodeid} was skipped as a whole: {reason}"
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, one for the whole run."""
    service = EmbeddedBroker(tmp_path_factory.mktemp("embedded-broker"))
    start_embedded(service)
    yield Broker(EMBEDDED, service.bootstrap_servers, frozenset())
    service.stop()


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Broker]:
    """Apache Kafka, one for the whole run; or the broker that `KAFKA_BOOTSTRAP_SERVERS` names."""
    servers = _own_bootstrap_servers()
    if servers:
        from embedwatch.kafka import wait_for_broker  # slow to import: not for those who run unit tests

        wait_for_broker(KafkaSettings(bootstrap_servers=servers), 10.0)
        yield Broker(APACHE_KAFKA, servers, PROMISES)
        return
    service = ApacheKafka(tmp_path_factory.mktemp("apache-kafka"), say=say)
    start_kafka(service)
    yield Broker(APACHE_KAFKA, service.bootstrap_servers, PROMISES)
    service.stop()


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn. A test of a promise that one does not keep must fail there (strict xfail)."""
    chosen: Broker = request.getfixturevalue("embedded_broker" if request.param == EMBEDDED else "apache_kafka")
    _expect_gaps(request, chosen)
    return chosen


@pytest.fixture(params=BROKERS)
def own_broker(request: pytest.FixtureRequest, tmp_path: Path, say: Callable[[str], None]) -> Iterator[Broker]:
    """Like `broker`, but started for this test alone, which may restart it. Mark the test `restarts_broker`."""
    service: EmbeddedBroker | ApacheKafka
    if request.param == EMBEDDED:
        service = EmbeddedBroker(tmp_path / "embedded-broker")
        start_embedded(service)
    else:
        service = ApacheKafka(tmp_path / "apache-kafka", say=say)
        start_kafka(service)

    def restart() -> None:
        service.stop()
        service.start()

    promises = frozenset() if request.param == EMBEDDED else PROMISES
    chosen = Broker(request.param, service.bootstrap_servers, promises, restart, service.pid, service.stop)
    _expect_gaps(request, chosen)
    yield chosen
    service.stop()


@pytest.fixture
def kafka_settings(broker: Broker) -> KafkaSettings:
    """Settings for `broker` with a topic prefix of this test's own."""
    return settings_for(broker)


@pytest.fixture
def embedded_settings(embedded_broker: Broker) -> KafkaSettings:
    """Settings for the embedded broker alone with a topic prefix of this test's own."""
    return settings_for(embedded_broker)


@pytest.fixture(scope="session")
def cache_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCache]:
    """A real Valkey or Redis with a limit of 64 MiB, one for the whole run; `url` is its address."""
    cache = start_cache(tmp_path_factory.mktemp("cache"), max_memory_bytes=64 * 1024 * 1024)
    if isinstance(cache, Unavailable):
        missing("redis", cache.reason)
    yield cache
    cache.stop()


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells whoever waits what takes long, also while output is captured."""
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(text: str) -> None:
        if reporter is not None:
            with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
                reporter.ensure_newline()
                reporter.write_line(f"  {text}")

    return write


def _expect_gaps(request: pytest.FixtureRequest, chosen: Broker) -> None:
    for mark in request.node.iter_markers("promise"):
        (promise,) = mark.args
        if promise not in PROMISES:
            raise pytest.UsageError(f"{request.node.nodeid}: unknown promise {promise!r}, known are {sorted(PROMISES)}")
        gap = chosen.gap(promise)
        if gap is not None:
            # Only a failed assertion is the gap; any other error is an error.
            request.applymarker(pytest.mark.xfail(strict=True, reason=gap, raises=AssertionError))


def _needs(item: pytest.Item) -> set[str]:
    needs = {name for name in ("kafka", "model") if item.get_closest_marker(name)}
    fixtures = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    if "embedded_broker" in fixtures or EMBEDDED in parameters:
        needs.add("embedded")
    if "apache_kafka" in fixtures:
        needs.add("kafka")
    if "cache_server" in fixtures:
        needs.add("redis")
    return needs


def _own_bootstrap_servers() -> str:
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "").strip()
