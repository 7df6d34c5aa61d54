"""How many batch events one agents process counts a second, what one costs alone, and whether the money is right."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks import rig
from benchmarks.agents_rig import Agents, batch_events, cpu_seconds, encoded, two_hundred_rules
from benchmarks.claims import Claim, Result
from embedwatch.codec import decode_metric
from embedwatch.events import BatchEvent
from stream_agents.compute.ledger import PartitionState, check_bookable
from stream_agents.compute.scopes import scope_key, scopes_of
from stream_agents.compute.world import World

EVENTS = Claim(
    "agent_events_per_s", "one agents process decodes, books and evaluates batch events of 256 texts, 50 scopes and "
    "200 rules", "events/s", 5000.0,
)  # fmt: skip
DIFFERENCE = Claim(
    "ledger_difference_nano_usd", "after kill -9 the ledger differs from the truth, over all scopes", "nano-USD", 0.0,
    "at_most",
)  # fmt: skip
CLAIMS = (EVENTS, DIFFERENCE)

TEXTS = 256
COUNT = 40_000
EXACT_COUNT = 30_000
REPETITIONS = 3
PURE_COUNT = 2000
MONEY = ("cost_nano_usd", "saved_nano_usd")


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, rig.broker() as broker:
        if EVENTS.id in ids:
            yield events_per_second(broker, Path(folder))
        if DIFFERENCE.id in ids:
            yield ledger_difference(broker, Path(folder))


def events_per_second(broker: Any, folder: Path) -> Result:
    pure = {f"pure_{texts}_texts_us": pure_microseconds(texts) for texts in (16, TEXTS, 2048)}
    rules = two_hundred_rules(folder / "rules.yaml")
    rates, costs = [], []
    for _ in range(REPETITIONS):
        agents = Agents(broker, folder, f"bench-{uuid.uuid4().hex[:8]}", rules=rules, lag_interval_seconds=5)
        agents.send(encoded(batch_events(COUNT, TEXTS, first_seconds=time.time() - 60, seconds=60)))
        with agents.running() as child:
            rate, microseconds = _drain(agents, child)
            rates.append(rate)
            costs.append(microseconds)
    return Result.of(EVENTS, rates, cpu_us_per_event=statistics.median(costs), **pure)


def _drain(agents: Agents, child: Any) -> tuple[float, float]:
    """Events a second and processor microseconds an event, between the first look that finds any and the last."""
    child.wait_until(lambda: agents.today_texts()[0] > 0, 90, "first event", step_seconds=0.02)
    (first, begun), cpu = agents.today_texts(), cpu_seconds(child.pid)
    done, now = first, begun
    while done < COUNT * TEXTS:
        time.sleep(0.1)
        done, now = agents.today_texts()
        if now - begun > 120:
            raise SystemExit(f"the agents counted {done // TEXTS} of {COUNT} events in two minutes")
    events = (done - first) / TEXTS
    return events / (now - begun), 1e6 * (cpu_seconds(child.pid) - cpu) / events


def pure_microseconds(texts: int) -> float:
    """Decode, check, windows and ledger of one event, as the runtime does them, without Kafka and Faust."""
    now = time.time()
    values = encoded(batch_events(PURE_COUNT, texts, first_seconds=now - 60, seconds=60))
    world = World(zone=ZoneInfo("Europe/Berlin"), max_scopes=1000, lag_group="g", lag_topic="t")
    state = PartitionState(next_offset=0)
    found = []
    for _ in range(6):
        gc.collect()
        begun = time.perf_counter()
        for value in values:
            event = decode_metric(value)
            if isinstance(event, BatchEvent):
                check_bookable(event, world.zone, now)
                world.apply_batch(event, now)
                state.book(event, world.zone, world.max_scopes)
        found.append(1e6 * (time.perf_counter() - begun) / PURE_COUNT)
    return statistics.median(found[1:])


def ledger_difference(broker: Any, folder: Path) -> Result:
    """Sum of the absolute differences of every scope's cost and saving: a loss here must not hide a gain there."""
    agents = Agents(broker, folder, f"bench-{uuid.uuid4().hex[:8]}", lag_interval_seconds=5)
    events = list(batch_events(EXACT_COUNT, TEXTS, first_seconds=time.time() - 60, seconds=60))
    truth: Counter[tuple[str, str]] = Counter()
    for event in events:
        for scope in scopes_of(event.model, event.tenant):
            for name in MONEY:
                truth[scope_key(scope), name] += getattr(event, name)
    agents.send(encoded(events))
    with agents.running() as child:
        agents.wait_texts(child, EXACT_COUNT * TEXTS // 3)
        child.process.kill()
        child.process.wait(30)
    with agents.running() as child:
        agents.wait_texts(child, EXACT_COUNT * TEXTS)
        rows = agents.get("/api/v1/ledger")["rows"]
    counted: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for name in MONEY:
            counted[row["scope"], name] += row[name]
    difference = sum(abs(counted[key] - truth[key]) for key in {*counted, *truth})
    return Result.of(
        DIFFERENCE, [float(difference)], events=EXACT_COUNT, texts=EXACT_COUNT * TEXTS,
        truth_usd=truth["all", "cost_nano_usd"] / 1e9, scopes=len({scope for scope, _ in truth}), kills=1,
    )  # fmt: skip
