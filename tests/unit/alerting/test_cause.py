from __future__ import annotations

import pytest

from alerting.cause import cause
from embedwatch.events import Contributor
from tests.harness.verdicts import verdict

CACHE = Contributor("phase", "cache_lookup", 610.0, 95.0, 8.0)


@pytest.mark.parametrize(
    ("parts", "steady"),
    [
        ([CACHE], True),
        ([CACHE, Contributor("tenant", "acme", 900.0, 99.0)], False),  # the tenant comes first
        ([CACHE, Contributor("phase", "embed", 30.0, 5.0, 1.1)], False),
        ([Contributor("phase", "cache_lookup", 610.0, 60.0, 8.0)], False),  # much of the growth is in what is not named
        ([Contributor("phase", "cache_lookup", 610.0, 95.0)], False),  # of before nothing is known
        ([Contributor("phase", "embed", 610.0, 95.0, 3.0)], False),
    ],
)
def test_the_model_is_called_unchanged_only_where_that_is_known(parts: list[Contributor], steady: bool) -> None:
    said = cause(verdict(contributors=parts)) or ""
    assert ("the model itself is as fast as before" in said) == steady


def test_a_cause_says_what_grew_what_did_not_and_what_that_suggests() -> None:
    assert cause(verdict(contributors=[CACHE])) == (
        "mostly looking up the cache (610 ms, 8 times what it was, 95 %), the model itself is as fast as before: "
        "it is slow or far away."
    )


def test_workers_that_are_silent_are_named_and_are_no_part_of_anything() -> None:
    parts = [Contributor("worker", "gpu-1", 42.0), Contributor("worker", "gpu-2", 39.0)]
    down = {"alert_type": "WORKER_DOWN", "metric": "worker_silent_seconds", "unit": "s"}
    assert cause(verdict(contributors=parts, **down)) == "workers gpu-1 silent for 42 s, gpu-2 silent for 39 s."
    assert cause(verdict(contributors=parts[:1], **down)) == "worker gpu-1 silent for 42 s."
