"""`python -m benchmarks.agents_profile`: where the processor time of an event goes in a real agents process.

The load is that of `agent_events_per_s`. Looking costs a few percent, so its total is above that of the benchmark.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.agents_rig import Agents, batch_events, encoded, two_hundred_rules
from benchmarks.agents_speed import COUNT, TEXTS

#: A stack belongs to the part named for the innermost of its frames that is named here.
PARTS = {
    "decode the JSON": ("codec.py:decode_metric",),
    "decode two sketches": ("sketch.py:from_text",),
    "panes of the windows": ("shared_windows.py:count",),
    "ledger": ("ledger.py:book", "ledger.py:check_bookable"),
    "counters, closing, offsets": ("world.py:apply_batch", "runtime.py:consume"),
    "judge 200 rules": ("app.py:evaluate",),
    "panes to the other processes": ("publisher.py:publish",),
    "panes from the topic": ("following.py:run",),
    "state to its record": ("app.py:flush",),
    "close windows": ("app.py:close_windows",),
    "send records (aiokafka)": ("sender.py:_sender_routine", "sender.py:_send_to_node", "sender.py:do"),
    "Faust: consumer to agent": ("consumer.py:_fetcher", "agent.py:_execute_actor", "threads.py:_method_queue_do_work"),
    "HTTP answers for the benchmark": ("web_protocol.py:start",),
}
REST = "event loop and the rest"
WAITING = "selectors.py:select"


def part_of(stack: Iterable[str]) -> str:
    by_frame = {frame: part for part, frames in PARTS.items() for frame in frames}
    return next((by_frame[frame] for frame in stack if frame in by_frame), REST)


def table(found: dict[str, Any], events: int) -> list[tuple[str, float]]:
    """Microseconds an event by part, the largest first, then the other threads and the sum."""
    cpu = found["cpu_seconds"]
    seen: Counter[str] = Counter()
    for stack, count in found["stacks"]:
        if stack[0] != WAITING:
            seen[part_of(stack)] += count
    main = 1e6 * cpu.pop("MainThread") / events
    rows = [(part, main * count / seen.total()) for part, count in seen.most_common()]
    rows.append(("fetch and unpack (aiokafka's thread, and others)", 1e6 * sum(cpu.values()) / events))
    rows.append(("all", sum(us for _, us in rows)))
    rows.append(("of it collecting garbage", 1e6 * found["collecting_seconds"] / events))
    return rows


def profile(folder: Path) -> tuple[dict[str, Any], int, float]:
    """What `profiled` has written, of how many events, in how many seconds."""
    with rig.broker() as broker:
        rules, out = two_hundred_rules(folder / "rules.yaml"), folder / "profile"
        agents = Agents(broker, folder, f"bench-{uuid.uuid4().hex[:8]}", rules=rules, lag_interval_seconds=5)
        agents.start = ("-m", "benchmarks.profiled", str(out))
        agents.send(encoded(batch_events(COUNT, TEXTS, first_seconds=time.time() - 60, seconds=60)))
        with agents.running() as child:
            child.wait_until(lambda: agents.today_texts()[0] > 0, 90, "first event", step_seconds=0.02)
            out.with_suffix(".begin").touch()
            first, begun = agents.today_texts()
            ended = agents.wait_texts(child, COUNT * TEXTS)
            out.with_suffix(".end").touch()
            child.wait_until(out.exists, 30, "the profile")
            return json.loads(out.read_text()), COUNT - first // TEXTS, ended - begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        written, counted, seconds = profile(Path(name))
    print(f"{counted} events in {seconds:.1f} s, {counted / seconds:.0f} a second; microseconds of processor an event:")
    for part, microseconds in table(written, counted):
        print(f"{microseconds:8.1f}  {part}")
