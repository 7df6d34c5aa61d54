"""How large the state of a day of 1,000 scopes is, and how soon an agents process has it back."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.agents_rig import PARTITIONS, Agents, batch_events, encoded
from benchmarks.claims import Claim, Result
from embedwatch.kafka import TopicPartition, consumer
from stream_agents.compute.history import is_state, parsed_key

RECOVERY = Claim(
    "state_recovery_s", "from the start of an agents process to numbers again, with 1,000 scopes and 24 hours of state",
    "s", 10.0, "at_most",
)  # fmt: skip
CLAIMS = (RECOVERY,)

#: 1 + 24 + 39 + 24 * 39 = 1,000 scopes.
MODELS, TENANTS = 24, 39
#: Each model of each tenant once an hour.
EVENTS = MODELS * TENANTS * 24
TEXTS = 16
REPETITIONS = 3


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, rig.broker() as broker:
        names = [f"bench-{uuid.uuid4().hex[:8]}" for _ in range(2)]
        full, empty = (Agents(broker, Path(folder), name, max_scopes=1250, lag_interval_seconds=5) for name in names)
        yield recovery(full, empty)


def recovery(agents: Agents, empty: Agents) -> Result:
    """The state is made by a process that counts a day of events and stops in order; others recover it. `empty` has
    no state: what its processes take is Faust and the group."""
    made = batch_events(
        EVENTS, TEXTS, first_seconds=time.time() - 86_400, seconds=86_400, models=MODELS, tenants=TENANTS
    )
    agents.send(encoded(made))
    with agents.running() as child:
        agents.wait_texts(child, EVENTS * TEXTS)
        before = money(agents)
    took = rig.alternate(
        {"full": lambda: seconds_to_numbers(agents, before), "empty": lambda: seconds_to_numbers(empty, {})},
        REPETITIONS,
    )
    state = state_bytes(agents)
    return Result.of(
        RECOVERY, took["full"], without_state_s=statistics.median(took["empty"]),
        scopes=len({scope for scope, _ in before}), days=len({day for _, day in before}), partitions=PARTITIONS,
        state_bytes=sum(state), largest_record_bytes=max(state),
    )  # fmt: skip


def seconds_to_numbers(agents: Agents, wanted: dict[tuple[str, str], int]) -> float:
    """From the start of a process until it says it is ready. What it then says must be what was counted."""
    begun = time.monotonic()
    with agents.running() as child:
        agents.wait_ready(child)
        took = time.monotonic() - begun
        if money(agents) != wanted:
            raise SystemExit("the ledger after a recovery is not the one before it")
    return took


def money(agents: Agents) -> dict[tuple[str, str], int]:
    """Nano-USD by scope and day."""
    return {(row["scope"], row["day"]): row["cost_nano_usd"] for row in agents.get("/api/v1/ledger")["rows"]}


def state_bytes(agents: Agents) -> list[int]:
    """Bytes of the newest state of each partition."""
    client: Any = consumer(agents.kafka, "bench-reader", group=None)
    topic = f"{agents.app_id}-state-changelog"
    newest: dict[int, int] = {}
    try:
        client.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
        client.seek_to_beginning()
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 3.0:
            for place, records in client.poll(timeout_ms=200).items():
                for record in records:
                    if is_state(parsed_key(record.key)):
                        newest[place.partition] = len(record.value)
                quiet_since = time.monotonic()
    finally:
        client.close()
    return [newest[p] for p in range(PARTITIONS)]
