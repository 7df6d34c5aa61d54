"""What the SDK costs the thread that embeds: a wrapped `embed_batch` that does nothing against the same unwrapped.

Calls come at a steady pace, so that none is dropped (a dropped call would be a cheap one) and the monitor's own thread
works beside them; the time of a call is what passes on the clock in the caller's thread, waits for the interpreter's
lock included, and of a run the mean over its calls. Between calls the thread works, so that the two threads want the
interpreter at the same time; `after_idle_us` is the same where it sleeps, and comes to each call with the processor's
caches cold: then even the unwrapped call takes ten times as long. What the other threads burn is told apart, as CPU
time a call.

To count the tokens of 2,048 texts takes the monitor's thread some 20 ms, so that at the pace of the small calls it
would never be done. These come in bursts at that pace, and it counts after each. Beside it stands what they cost one at
a time, ten a second, and what a call of 16 texts costs at that pace: there the caches are cold, whatever the texts.

`least_us` is what a function costs that reads the clock before and after the call and does nothing else: less no
wrapper written in Python can, at that moment on that machine. `waiting_calls` is what had not been counted when the
last call of a run ended.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections import deque
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
MANY_TEXTS = 2048
#: Over before the monitor's thread, which lets calls come together for a quarter of a second, begins to count.
BURST_CALLS = 45
BURSTS = 5
SLOW_CALLS = 40
SLOW_CALLS_PER_S = 10


class Client:
    """Embeds nothing: what is left is the wrapper."""

    model = "text-embedding-3-small"

    def embed_batch(self, texts: Sequence[str]) -> None: ...


class Least:
    """The least that a wrapper can be that measures anything."""

    def __init__(self, client: Client) -> None:
        inner, clock, seen = client.embed_batch, time.perf_counter, deque[tuple[float, float]](maxlen=1)

        def embed_batch(*args: Any, **kwargs: Any) -> None:
            begun = clock()
            inner(*args, **kwargs)
            seen.append((begun, clock()))

        self.embed_batch = embed_batch


def measure(ids: frozenset[str]) -> Iterator[Result]:
    if ids & {ALONE.id, KAFKA.id}:
        yield from _few(ids)
    if MANY.id in ids:
        yield _many()


def _many() -> Result:
    """The median call: of some hundred the mean is that of the few in which the system did something else."""
    texts, plain = rig.real_texts(BURST_CALLS + SLOW_CALLS + MANY_TEXTS), Client()
    with Monitor() as monitor:
        ways: dict[str, Any] = {"plain": plain, "least": Least(plain), "wrapped": monitor.wrap(plain)}
        slow: dict[tuple[str, int], list[float]] = {(name, each): [] for name in ways for each in (TEXTS, MANY_TEXTS)}

        def counted() -> None:
            if not monitor.flush(60.0) or monitor.dropped_calls or monitor.sink_errors:
                raise SystemExit("not every call was counted")

        def run(name: str) -> Callable[[], float]:
            def once() -> float:
                for each in (TEXTS, MANY_TEXTS):
                    some = texts[: SLOW_CALLS + each]
                    times, _ = _calls(ways[name], some, asleep=False, each=each, per_s=SLOW_CALLS_PER_S)
                    slow[name, each].append(statistics.median(times) * 1e6)
                    counted()
                quick: list[float] = []
                for _ in range(BURSTS):
                    quick += _calls(ways[name], texts[: BURST_CALLS + MANY_TEXTS], asleep=False, each=MANY_TEXTS)[0]
                    counted()
                return statistics.median(quick) * 1e6

            return once

        found = rig.alternate({name: run(name) for name in ways}, REPETITIONS)
    more = [wrapped - bare for wrapped, bare in zip(found["wrapped"], found["plain"], strict=True)]
    beside = {(name, each): statistics.median(slow[name, each]) - statistics.median(slow["plain", each])
              for name in ("least", "wrapped") for each in (TEXTS, MANY_TEXTS)}  # fmt: skip
    return Result.of(
        MANY, more, unwrapped_us=statistics.median(found["plain"]),
        least_us=statistics.median(found["least"]) - statistics.median(found["plain"]), calls_per_s=float(CALLS_PER_S),
        at_10_calls_per_s_us=beside["wrapped", MANY_TEXTS], at_10_calls_per_s_16_texts_us=beside["wrapped", TEXTS],
        at_10_calls_per_s_least_us=beside["least", MANY_TEXTS],
        at_10_calls_per_s_unwrapped_us=statistics.median(slow["plain", MANY_TEXTS]),
    )  # fmt: skip


def _few(ids: frozenset[str]) -> Iterator[Result]:
    texts = rig.real_texts(CALLS + TEXTS)
    plain = Client()
    with rig.broker() as service:
        sink = KafkaSink(service.bootstrap_servers, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}")
        with Monitor() as alone, Monitor(sinks=[sink]) as sending:
            ways: dict[str, tuple[Any, Monitor | None]] = {
                "plain": (plain, None),
                "least": (Least(plain), None),
                "alone": (alone.wrap(plain), alone),
                "sending": (sending.wrap(plain), sending),
            }
            burnt: dict[str, list[float]] = {name: [] for name in ways}
            typical: dict[str, list[float]] = {name: [] for name in ways}
            idle: dict[str, list[float]] = {name: [] for name in ways}
            waiting: dict[str, list[float]] = {name: [] for name in ways}

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
                        waiting[name].append(float(len(monitor._channel._queue)))
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
                least_us=statistics.median(found["least"]) - statistics.median(found["plain"]),
                after_idle_us=statistics.median(idle[name]) - statistics.median(idle["plain"]),
                waiting_calls=statistics.median(waiting[name]),
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
