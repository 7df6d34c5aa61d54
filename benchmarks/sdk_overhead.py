"""What the SDK costs the thread that embeds: a wrapped `embed_batch` that does nothing against the same unwrapped.

Calls come at a steady pace, so that none is dropped (a dropped call would be a cheap one) and the monitor's own thread
works beside them; the time of a call is what passes on the clock in the caller's thread, waits for the interpreter's
lock included, and of a run the mean over its calls. Between calls the thread works, so that the two threads want the
interpreter at the same time; `after_idle_us` is the same where it sleeps, and comes to each call with the processor's
caches cold: then even the unwrapped call takes ten times as long. What the other threads burn is told apart, as CPU
time a call.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import rig
from benchmarks.claims import Claim, Result
from embedwatch import Monitor
from embedwatch.sdk import KafkaSink

ALONE = Claim(
    "sdk_overhead_us", "what a wrapped call costs the calling thread, 16 texts, tokens counted, numbers in memory",
    "µs", 20.0, "at_most",
)  # fmt: skip
KAFKA = Claim(
    "sdk_overhead_kafka_us", "the same with events going out to Kafka meanwhile", "µs", 50.0, "at_most"
)  # fmt: skip
MANY = Claim(
    "sdk_overhead_2048_us", "what a wrapped call of 2,048 texts costs the calling thread, tokens counted", "µs", 20.0,
    "at_most",
)  # fmt: skip
CLAIMS = (ALONE, KAFKA, MANY)

TEXTS = 16
CALLS = 800
CALLS_PER_S = 500
REPETITIONS = 7
#: Counting the tokens of so many takes the monitor's thread some 20 ms: at this pace it is done before the next call.
MANY_TEXTS = 2048
MANY_CALLS = 40
MANY_CALLS_PER_S = 10


class Client:
    """Embeds nothing: what is left is the wrapper."""

    model = "text-embedding-3-small"

    def embed_batch(self, texts: Sequence[str]) -> None: ...


def measure(ids: frozenset[str]) -> Iterator[Result]:
    if ids & {ALONE.id, KAFKA.id}:
        yield from _few(ids)
    if MANY.id in ids:
        yield _many()


def _many() -> Result:
    """The median call: of 40 the mean is that of the one in which the system did something else."""
    texts, plain = rig.real_texts(MANY_CALLS + MANY_TEXTS), Client()
    with Monitor() as monitor:
        ways: dict[str, Any] = {"plain": plain, "wrapped": monitor.wrap(plain)}
        means: dict[str, list[float]] = {name: [] for name in ways}

        def run(name: str) -> Callable[[], float]:
            def once() -> float:
                times, _ = _calls(ways[name], texts, asleep=False, each=MANY_TEXTS, per_s=MANY_CALLS_PER_S)
                if not monitor.flush(60.0) or monitor.dropped_calls or monitor.sink_errors:
                    raise SystemExit(f"{name}: not every call was counted")
                means[name].append(statistics.fmean(times) * 1e6)
                return statistics.median(times) * 1e6

            return once

        found = rig.alternate({name: run(name) for name in ways}, REPETITIONS)
    more = [wrapped - bare for wrapped, bare in zip(found["wrapped"], found["plain"], strict=True)]
    return Result.of(
        MANY, more, mean_call_us=statistics.median(means["wrapped"]) - statistics.median(means["plain"]),
        unwrapped_us=statistics.median(found["plain"]), calls_per_s=float(MANY_CALLS_PER_S),
    )  # fmt: skip


def _few(ids: frozenset[str]) -> Iterator[Result]:
    texts = rig.real_texts(CALLS + TEXTS)
    plain = Client()
    with rig.broker() as service:
        sink = KafkaSink(service.bootstrap_servers, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}")
        with Monitor() as alone, Monitor(sinks=[sink]) as sending:
            ways: dict[str, tuple[Any, Monitor | None]] = {
                "plain": (plain, None),
                "alone": (alone.wrap(plain), alone),
                "sending": (sending.wrap(plain), sending),
            }
            burnt: dict[str, list[float]] = {name: [] for name in ways}
            typical: dict[str, list[float]] = {name: [] for name in ways}
            idle: dict[str, list[float]] = {name: [] for name in ways}

            def run(name: str) -> Callable[[], float]:
                client, monitor = ways[name]

                def once() -> float:
                    idle[name].append(
                        statistics.fmean(_calls(client, texts[: CALLS // 4 + TEXTS], asleep=True)[0]) * 1e6
                    )
                    if monitor is not None:
                        monitor.flush(60.0)
                    times, cpu = _calls(client, texts, asleep=False)
                    if monitor is not None:
                        if not monitor.flush(60.0) or monitor.dropped_calls or monitor.sink_errors:
                            raise SystemExit(f"{name}: not every call was counted")
                        if sink.dropped_events:
                            raise SystemExit(f"{sink.dropped_events} events were not delivered")
                    burnt[name].append(cpu)
                    typical[name].append(statistics.median(times) * 1e6)
                    return statistics.fmean(times) * 1e6

                return once

            found = rig.alternate({name: run(name) for name in ways}, REPETITIONS)
    for claim, name in ((ALONE, "alone"), (KAFKA, "sending")):
        if claim.id in ids:
            more = [wrapped - bare for wrapped, bare in zip(found[name], found["plain"], strict=True)]
            yield Result.of(
                claim, more,
                median_call_us=statistics.median(typical[name]) - statistics.median(typical["plain"]),
                unwrapped_us=statistics.median(found["plain"]),
                after_idle_us=statistics.median(idle[name]) - statistics.median(idle["plain"]),
                other_threads_cpu_us=statistics.median(burnt[name]) - statistics.median(burnt["plain"]),
                calls_per_s=float(CALLS_PER_S),
            )  # fmt: skip


def _calls(
    client: Any, texts: Sequence[str], *, asleep: bool, each: int = TEXTS, per_s: int = CALLS_PER_S
) -> tuple[list[float], float]:
    """Seconds of each call, and the CPU time in µs that other threads took for one."""
    times: list[float] = []
    calls = len(texts) - each
    clock, others = time.perf_counter, -(time.process_time() - time.thread_time())
    begun = clock()
    for number in range(calls):
        batch = list(texts[number : number + each])
        due = begun + number / per_s
        if asleep:
            time.sleep(max(due - clock(), 0.0))
        while clock() < due:
            pass
        before = clock()
        client.embed_batch(batch)
        times.append(clock() - before)
    others += time.process_time() - time.thread_time()
    return times, others / calls * 1e6
