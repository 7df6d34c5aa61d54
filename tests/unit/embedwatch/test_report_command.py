"""`embedwatch report` as a person calls it, against the agents' own routes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

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
