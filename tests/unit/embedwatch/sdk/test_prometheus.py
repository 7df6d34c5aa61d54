from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from embedwatch.sdk.bounds import OTHER, Bounds
from embedwatch.sdk.sink_prometheus import SECONDS_BUCKETS, PrometheusSink
from stream_agents.web import series
from tests.harness.calls import CALL, FAILED, UNPRICED, call

OPENAI = {"model": "text-embedding-3-small", "provider": "openai", "tenant": "acme"}
OWN = {"model": "my-own", "provider": "", "tenant": ""}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_call_is_counted_in_base_units(registry):
    sink = PrometheusSink(registry)
    sink.record(CALL)
    sink.record(CALL)
    for name, value in {
        "embedwatch_sdk_calls_total": 2,
        "embedwatch_texts_total": 20,
        "embedwatch_cache_hits_total": 4,
        "embedwatch_cache_misses_total": 14,
        "embedwatch_duplicate_texts_total": 2,
        "embedwatch_tokens_embedded_total": 1400,
        "embedwatch_tokens_saved_total": 600,
        "embedwatch_cost_usd_total": 0.000028,
        "embedwatch_saved_usd_total": 0.000012,
    }.items():
        assert registry.get_sample_value(name, OPENAI) == pytest.approx(value), name
    assert registry.get_sample_value("embedwatch_phase_seconds_total", {**OPENAI, "phase": "embed"}) == pytest.approx(
        0.3
    )
    whose = {"model": OPENAI["model"], "provider": "openai"}
    assert registry.get_sample_value("embedwatch_sdk_call_duration_seconds_sum", whose) == pytest.approx(0.4)
    assert registry.get_sample_value("embedwatch_sdk_call_duration_seconds_bucket", {**whose, "le": "0.25"}) == 2
    assert registry.get_sample_value("embedwatch_sdk_call_duration_seconds_bucket", {**whose, "le": "0.1"}) == 0
    assert (SECONDS_BUCKETS[0], SECONDS_BUCKETS[-1]) == (0.001, 60.0)


def test_what_has_no_price_is_counted_apart_and_has_no_cost(registry):
    sink = PrometheusSink(registry)
    sink.record(UNPRICED)
    assert registry.get_sample_value("embedwatch_cost_usd_total", OWN) is None
    assert registry.get_sample_value("embedwatch_saved_usd_total", OWN) is None
    assert registry.get_sample_value("embedwatch_unpriced_tokens_total", OWN) == 700
    assert registry.get_sample_value("embedwatch_unpriced_saved_tokens_total", OWN) == 300


def test_texts_of_unknown_length_are_counted_as_such(registry):
    PrometheusSink(registry).record(call(tokens=None, token_method=None, cost_nano_usd=None))
    assert registry.get_sample_value("embedwatch_sdk_uncounted_texts_total", OPENAI) == 7
    assert registry.get_sample_value("embedwatch_unpriced_tokens_total", OPENAI) is None


def test_an_error_is_counted_by_its_class(registry):
    PrometheusSink(registry).record(FAILED)
    labels = {**OPENAI, "class": "rate_limited"}
    assert registry.get_sample_value("embedwatch_errors_total", labels) == 4
    assert registry.get_sample_value("embedwatch_sdk_failed_calls_total", labels) == 1
    assert registry.get_sample_value("embedwatch_cost_usd_total", OPENAI) is None


def test_two_sinks_share_a_registry_and_none_is_needed(registry):
    PrometheusSink(registry).record(CALL)
    PrometheusSink(registry).record(CALL)
    assert registry.get_sample_value("embedwatch_sdk_calls_total", OPENAI) == 2
    assert PrometheusSink().registry is REGISTRY


def test_names_without_sdk_in_them_are_those_of_the_agents(registry):
    for made in (CALL, FAILED, UNPRICED):
        PrometheusSink(registry).record(made)
    own = {family.name for family in registry.collect()}
    source = Path(series.__file__).read_text()
    agents = {f"embedwatch_{name}" for name in re.findall(r'"(?:embedwatch_)?([a-z_]+)"', source)}
    assert {name for name in own if not name.startswith("embedwatch_sdk_")} <= agents
    assert len(own) > 12


def test_it_is_served_on_loopback_until_it_is_closed(registry):
    sink = PrometheusSink(registry, port=0)
    sink.record(CALL)
    try:
        answer = httpx.get(f"http://127.0.0.1:{sink.port}/metrics", headers={"accept": "text/plain"})
        assert "embedwatch_cost_usd_total{" in answer.text
        assert sink._server[0].server_address[0] == "127.0.0.1"
    finally:
        sink.close(5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{sink.port}/metrics")
    sink.close(5)
    assert sink.flush(1)


def test_a_forked_child_closes_at_once_and_leaves_the_port_to_its_parent():
    program = (
        "import os, sys, urllib.request, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from embedwatch import Monitor\n"
        "from embedwatch.sdk import PrometheusSink\n"
        "sink = PrometheusSink(port=0)\n"
        "monitor, port = Monitor('m', [sink]), sink.port\n"
        "held, release = os.pipe()\n"
        "done, tell = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.close(release)\n"
        "    monitor.close(30)\n"
        "    os.write(tell, repr((sink.port, monitor.sink_errors)).encode())\n"
        "    os.read(held, 1)\n"  # lives until its parent's end
        "    os._exit(0)\n"
        "print(os.read(done, 100).decode())\n"
        "page = urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics').read().decode()\n"
        "print('embedwatch_sdk_calls' in page)\n"
        "monitor.close(30)\n"
        "again = PrometheusSink(port=port)\n"  # nobody holds it any more
        "print(again.port == port)\n"
        "again.close(30)\n"
        "os.close(release)\n"
        "os.waitpid(child, 0)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert found.stdout.split("\n") == ["(None, {})", "True", "True", ""], found.stderr


def test_phases_of_the_callers_own_are_bounded(registry):
    sink = PrometheusSink(registry, bounds=Bounds(max_phases=2))
    for number in range(5):
        sink.record(call(phase_seconds={f"phase-{number}": 1.0}))
    (family,) = (family for family in registry.collect() if family.name == "embedwatch_phase_seconds")
    found = {each.labels["phase"]: each.value for each in family.samples if each.name.endswith("_total")}
    assert found == {"phase-0": 1.0, "phase-1": 1.0, "other": 3.0}


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.none() | st.text(max_size=3)), max_size=80))
def test_labels_stay_within_their_bounds(names):
    bounds = Bounds(max_models=3, max_providers=2, max_tenants=4, max_sets=9)
    found = [bounds.of(call(model=model, provider=provider, tenant=tenant)) for model, provider, tenant in names]
    assert len({labels for labels in found if labels != (OTHER, OTHER, OTHER)}) <= 9
    for position, limit in enumerate((3, 2, 4)):
        assert len({labels[position] for labels in found} - {OTHER, ""}) <= limit
    # What has a series keeps it.
    assert [bounds.of(call(model=m, provider=p, tenant=t)) for (m, p, t), of in zip(names, found, strict=True)
            if OTHER not in of] == [of for of in found if OTHER not in of]  # fmt: skip


def test_processes_of_one_service_are_added_up(tmp_path):
    program = (
        "from embedwatch.sdk.sink_prometheus import PrometheusSink\n"
        "from tests.harness.calls import CALL, FAILED\n"
        "sink = PrometheusSink()\n"
        "sink.record(CALL); sink.record(FAILED)\n"
    )
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
    serving = (
        "import httpx, sys\n"
        "from embedwatch.sdk.sink_prometheus import PrometheusSink\n"
        "sink = PrometheusSink(port=0)\n"
        "print(httpx.get(f'http://127.0.0.1:{sink.port}/metrics', headers={'accept': 'text/plain'}).text)\n"
        "sink.close(5)\n"
    )
    served = subprocess.run(
        [sys.executable, "-c", serving], env=env, check=True, timeout=60, capture_output=True, text=True
    ).stdout
    assert re.search(r"embedwatch_cost_usd_total\{[^}]*acme[^}]*\} 2\.8e-05", served)
    assert re.search(r'embedwatch_sdk_call_duration_seconds_bucket\{le="0\.25"[^}]*\} 4\.0', served)


def test_the_exposition_has_no_text_of_a_user(registry):
    PrometheusSink(registry).record(FAILED)
    assert b"RateLimitError" not in generate_latest(registry)
