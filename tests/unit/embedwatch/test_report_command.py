"""`embedwatch report` as a person calls it, against the agents' own routes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from embedwatch.commands.report import with_present
from embedwatch.processes import free_port
from stream_agents.runtime import Runtime
from tests.harness.agents_log import batch_event, deliver, log_of, runtime_on


def agents() -> Runtime:
    log = log_of(batch_event(), batch_event(model="slow", tenant="acme"))

    async def counted() -> Runtime:
        runtime = runtime_on(log)
        runtime.recover({}, {0})
        await deliver(log, runtime, 2)
        return runtime

    return asyncio.run(counted())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_KAFKA_CONNECT_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("EMBEDWATCH_AGENTS_APP_ID", "alone")  # of a runtime that no process runs


@pytest.mark.parametrize("more", [(), ("--json",), ("--day", "today")])
def test_a_scope_of_which_nothing_is_known_is_told_with_those_that_there_are(
    run: Any, serve: Any, more: tuple[str, ...]
) -> None:
    url = serve(agents())
    code, out, err = run("report", "--agents-url", url, "--scope", "model=slwo", *more)
    assert (code, out) == (3, "")
    assert err == "embedwatch: nothing was measured of scope 'model=slwo'; did you mean model=slow?\n"
    code, out, err = run("report", "--agents-url", url, "--scope", "model=bge-large-en-v1.5", *more)
    assert (code, out) == (3, "")
    assert "there are: all; model=m; model=slow; model=slow,tenant=acme; tenant=acme" in err


def test_a_scope_is_asked_for_in_any_order(run: Any, serve: Any) -> None:
    code, out, err = run("report", "--agents-url", serve(agents()), "--scope", "tenant=acme,model=slow", "--json")
    assert code == 0, err
    assert json.loads(out)["scope"] == "model=slow,tenant=acme"


def test_of_everything_a_page_of_zeros_is_right_when_nothing_has_come(run: Any, serve: Any) -> None:
    runtime = runtime_on(log_of())
    runtime.recover({}, {0})
    url = serve(runtime)
    code, out, _ = run("report", "--agents-url", url)
    assert code == 0
    assert "Total texts:         0 today" in out
    code, _, err = run("report", "--agents-url", url, "--scope", "model=m")
    assert code == 3
    assert "nothing was measured of scope 'model=m'; there are: all" in err


def test_a_period_is_printed_in_every_form_and_json_is_json(run: Any, serve: Any, tmp_path: Any) -> None:
    """No broker answers: what the agents keep is there, and it is said that the topic could not be read."""
    url = ("--agents-url", serve(agents()), "-b", f"127.0.0.1:{free_port()}")
    documents = []
    for form in ("--json",), ("--format", "json"):
        code, out, err = run("report", *url, "--day", "today", "--by", "model,tenant", *form)
        assert code == 0, err
        documents.append(json.loads(out))
    assert documents[0]["groups"] == documents[1]["groups"]
    assert [row["label"] for row in documents[0]["groups"]] == ["m / (no tenant)", "slow / acme"]
    assert "could not be read" in documents[0]["notes"][0]
    for form, begin in (("text", "====="), ("md", "# Embedding"), ("html", "<!doctype html>"), ("csv", "period,")):
        code, out, err = run("report", *url, "--day", "today", "--format", form)
        assert code == 0, err
        assert out.startswith(begin)
    code, out, err = run("report", *url, "--week", "this-week", "--output", "week.md")
    assert (code, out) == (0, ""), err
    assert (tmp_path / "week.md").read_text().startswith("# Embedding costs: Week")


def test_the_day_alone_is_the_short_page(run: Any, serve: Any) -> None:
    code, out, _ = run("report", "--agents-url", serve(agents()), "--day", "today")
    assert code == 0
    assert "LEDGER OF 2027-01-15 (UTC)" in out


def test_a_period_of_which_nothing_is_known_is_an_error_and_no_page_of_zeros(run: Any, serve: Any) -> None:
    url = ("--agents-url", serve(agents()), "-b", f"127.0.0.1:{free_port()}")
    code, out, err = run("report", *url, "--month", "2020-01")
    assert (code, out) == (3, "")
    assert "nothing is known of 2020-01" in err
    code, _, err = run("report", *url, "--day", "today", "--by", "model", "--scope", "tenant=acne")
    assert code == 3
    assert "did you mean tenant=acme" in err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--month"], ["--month", "this-month"]),
        (["--week", "--by", "model"], ["--week", "this-week", "--by", "model"]),
        (["--day", "-o", "x.md"], ["--day", "today", "-o", "x.md"]),
        (["--month", "2026-11"], ["--month", "2026-11"]),
        (["--month=last-month"], ["--month=last-month"]),
        ([], []),
    ],
)
def test_a_period_without_a_name_is_the_present_one(given: list[str], meant: list[str]) -> None:
    assert with_present(given) == meant


def test_the_command_takes_it_so(run: Any) -> None:
    code, _, err = run("report", "--month", "--by", "nonsense")
    assert code == 2
    assert "--by is day, model, tenant" in err
