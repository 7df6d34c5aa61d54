"""docs/explanation/figures.md, made from what was measured. `make bench` writes both; a test holds them together.

Nothing on that page is typed in by hand but words: each number comes from a file of results, and what was not measured
is said to be not measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity import HEADROOM, WAIT_SECONDS, Measured, Need, need
from benchmarks.claims import Claim

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "explanation" / "data"
RESULTS = DATA / "bench.json"
PAGE = ROOT / "docs" / "explanation" / "figures.md"
SCALES = (1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
#: How workers come by their texts: always more of them there, as they come, as they come and waited for.
WAYS: tuple[dict[str, Any], ...] = ({"backlog": True}, {"backlog": False}, {"backlog": False, "wait_seconds": 1.0})

#: The part of the page, what is in it, and how that is measured.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "The worker",
        "The same real texts through `SentenceTransformer.encode` (the peer, all texts in one call) and through "
        "a worker: "
        "out of Kafka, vectors acknowledged, cache and metrics on. Turns are taken in one process, the number is "
        "the median "
        "of the ratios.",
        (
            "worker_vs_encode_best", "worker_vs_encode_default_float32", "worker_vs_encode_default",
            "worker_default_min_cosine", "worker_vs_bare_forward", "metering_overhead_pct",
            "cache_60_pct_hits_vs_none", "cached_texts_per_s", "worker_memory_growth_pct",
        ),
    ),
    (
        "The agents",
        "A real `embedwatch agents` process on the embedded broker, events sent by a producer of its own; "
        "numbers are read "
        "from its API and from its topics.",
        (
            "agent_events_per_s", "ledger_difference_nano_usd", "verdict_latency_p95_ms",
            "sketch_max_relative_error_pct", "state_recovery_s",
        ),
    ),
    (
        "Alerts",
        "200 breaches, each a batch event of its own, through agents and alerting to a stand-in for Slack; "
        "Prometheus and "
        "Alertmanager (Debian's) scrape the same agents and tell a webhook. `tuned`: everything at 5 s; "
        "`default`: as they "
        "come.",
        ("slack_latency_p95_s", "slack_latency_max_s"),
    ),
    (
        "Queue and scaling",
        "Lag is held against the known moment of sending of each text. KEDA is its rule (lagThreshold, then the "
        "HPA's), "
        "computed, at the best of its settings on each trace: no Kubernetes ran.",
        (
            "lag_error_s", "lag_read_1000_partitions_ms", "autoscale_vs_keda_traces_won", "simulate_day_s",
            "simulate_day_1m_texts_per_s_s", "fleet_event_us", "fleet_judge_ms",
        ),
    ),
    (
        "The SDK",
        "A wrapped client whose call does nothing, against the same client unwrapped, at a steady pace; the time that "
        "passes in the caller's thread.",
        ("sdk_overhead_us", "sdk_overhead_2048_us", "sdk_overhead_kafka_us"),
    ),
)  # fmt: skip

LOSES = """\
- **A job that knows all its texts beforehand.** `encode` in one call can sort all of them by length; a worker sees as
  many as a poll brings. With short texts, or on a GPU that is large enough, that is what it has ahead of us; on a GPU
  nothing of this page was measured.
- **Money for waiting.** On a steady load KEDA's rule at its best setting needs 3 to 19 % fewer worker-hours where 40
  s of waiting do not matter ([the table](../how-to/scale-workers.md#beside-kedas-own-rule)).
- **Everything else that you run.** Prometheus watches it; this watches embedding.
- **Refusing.** LiteLLM refuses a call above a budget; this tells.
- **One call in detail.** Langfuse keeps inputs and answers; this never does.
- **Events a second in Python.** One agents process is bound to one core, and an event costs it what stands in the
  table. A program in another language would do more; a batch event stands for up to a second of a worker's texts,
  which is why it is enough."""


def claims() -> dict[str, Claim]:
    """Every claim that can be measured, by id."""
    from benchmarks.groups import GROUPS

    return {claim.id: claim for group, _ in GROUPS for claim in group}


def load(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Results by id; empty where there are none."""
    return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))} if path.exists() else {}


def page(
    known: Mapping[str, Claim], results: Mapping[str, Mapping[str, Any]], chaos: Any = None, soak: Any = None,
    fuzz: Any = None,
) -> str:  # fmt: skip
    """The whole page as Markdown."""
    failing = [row for row in results.values() if row["holds"] is False]
    missing = [name for name in known if name not in results]
    told = [name for _, _, ids in SECTIONS for name in ids]
    extra = [name for name in known if name not in told]
    parts = [
        "# What was measured",
        "<!-- Made by `make bench` (python -m benchmarks.figures). Do not edit. -->",
        "Each claim, how it is measured, the number, and what was measured beside it in the same run. Measure yours: "
        "`make bench`, or `make bench ONLY=id,id`; it writes this page anew. The machines are small and shared, so "
        "ratios say more than rates; the lowest and highest of the repetitions stand beside each median.",
        f"Of {len(known)} claims {sum(row['holds'] is True for row in results.values())} hold, {len(failing)} do not, "
        f"{sum(row['holds'] is None for row in results.values())} have no target here, {len(missing)} are not measured "
        f"in this "
        "version.",
    ]
    for title, how, ids in SECTIONS:
        parts += [f"## {title}", how, *_claims([name for name in ids if name in known], known, results)]
    if extra:
        parts += ["## More", *_claims(extra, known, results)]
    parts += ["## Faults", _chaos(chaos), "## A long run", _soak(soak), "## Hostile input", _fuzz(fuzz)]
    parts += ["## How far it goes", *_capacity(results)]
    parts += ["## Where we lose", LOSES]
    if failing:
        parts.append("And by our own measure, these do not hold:")
        parts.append("\n".join(f"- `{row['id']}`: {_amount(row['value'], row['unit'])}" for row in failing))
    return "\n\n".join(parts) + "\n"


def _claims(
    names: Sequence[str], known: Mapping[str, Claim], results: Mapping[str, Mapping[str, Any]]
) -> Iterable[str]:
    lines = ["| claim | value | target | holds | lowest to highest |", "|---|---|---|---|---|"]
    beside = []
    for name in names:
        claim, row = known[name], results.get(name)
        target = "" if claim.target is None else f"{'≥' if claim.bound == 'at_least' else '≤'} {claim.target:,g}"
        if row is None:
            lines.append(f"| {claim.claim} (`{name}`) | not measured | {target} | | |")
            continue
        unasked = "" if claim.target is None else "not asked of this machine"
        holds = {True: "yes", False: "**no**", None: unasked}[row["holds"]]
        low, high = row["spread"]
        lines.append(
            f"| {claim.claim} (`{name}`) | {_amount(row['value'], row['unit'])} | {target} | {holds} "
            f"| {_number(low)} to {_number(high)} |"
        )
        if row["peers"]:
            peers = ", ".join(f"{key} {_number(value)}" for key, value in row["peers"].items())
            beside.append(f"- `{name}`: {peers}")
    yield "\n".join(lines)
    machines = sorted({results[name]["on"] for name in names if name in results})
    if machines:
        yield f"On {'; '.join(machines)}."
    if beside:
        yield "Beside it, in the same run:"
        yield "\n".join(beside)


def _capacity(results: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    measured = measured_of(results)
    if measured is None:
        yield (
            "Not computed: it stands on `worker_vs_encode_best`, `agent_events_per_s`, `lag_read_1000_partitions_ms` "
            "and `fleet_event_us`, and not all of them are measured in this version."
        )
        return
    yield (
        f"Arithmetic ([benchmarks/capacity.py](../../benchmarks/capacity.py)) on the figures above: a worker does "
        f"{_number(measured.worker_texts_per_s)} texts/s (all-MiniLM-L6-v2, two cores), an agents process "
        f"{_number(measured.agent_events_per_s)} batch events/s and is planned to be busy for {HEADROOM:.0%} of "
        f"its time; "
        f"a heartbeat costs it {measured.heartbeat_share:.1%} of a batch event, a lag sample "
        f"{measured.lag_share:.1%}; the time of one reading of the lag is on the bill of the process that reads it. "
        "What agents take in of each other's numbers is not in it: of more than two it was not measured. With "
        "another model or a GPU put your own texts/s in. A worker publishes an event for each cycle, and in it for "
        "each tenant and source; the table is for one. With a backlog a cycle is 256 texts. Without one it ends "
        f"after {WAIT_SECONDS * 1000:g} ms, up to {1 / WAIT_SECONDS:g} times a second: `--max-wait-ms 1000` makes "
        "that one, and a text waits for up to a second."
    )
    rows = [tuple(need(scale, measured, **way) for way in WAYS) for scale in SCALES]
    yield "\n".join([
        "| texts/s | workers, partitions | batch events/s: backlog, none, none and 1 s of wait | agents processes for "
        "each | metrics | heartbeats/s | lag samples/s (interval) | one reading of the lag | texts | vectors |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_need(row) for row in rows),
    ])  # fmt: skip
    yield (
        "What was run at that size: the scaling policy with 10,000 partitions and workers "
        "(`simulate_day_1m_texts_per_s_s`), "
        "and an agents process's own work on events of 10,000 workers (`fleet_event_us`, `fleet_judge_ms`). "
        "**What was not: "
        "a Kafka cluster of that size.** 10,000 partitions and the bytes above want brokers that we did not "
        "have; limits "
        "of ours on the way there are 20,000 workers and 20,000 partitions of the queue known to an agents process, of "
        "which the page charts and `/metrics` lists 1,000 partitions one by one."
    )


def measured_of(results: Mapping[str, Mapping[str, Any]]) -> Measured | None:
    """What the model stands on; None where something of it was not measured."""
    try:
        event = results["fleet_event_us"]
        return Measured(
            worker_texts_per_s=results["worker_vs_encode_best"]["peers"]["worker_float32_texts_per_s"],
            agent_events_per_s=results["agent_events_per_s"]["value"],
            heartbeat_share=event["peers"]["heartbeat_us"] / event["value"],
            lag_share=event["peers"]["lag_us"] / event["value"],
            lag_read_1000_partitions_ms=results["lag_read_1000_partitions_ms"]["value"],
        )
    except KeyError:
        return None


def _need(ways: Sequence[Need]) -> str:
    row = ways[0]
    events = ", ".join(f"{way.batch_events_per_s:,.0f}" for way in ways)
    agents = ", ".join(f"{way.agents_processes:,}" for way in ways)
    metrics = ", ".join(f"{way.metrics_mb_per_s:,.1f}" for way in ways)
    return (
        f"| {row.texts_per_s:,.0f} | {row.workers:,} | {events} | {agents} | {metrics} MB/s "
        f"| {row.heartbeats_per_s:,.0f} | {row.lag_samples_per_s:,.0f} ({row.lag_interval_seconds:.2g} s) "
        f"| {row.lag_read_seconds:.2g} s | {row.texts_mb_per_s:,.1f} MB/s | {row.vectors_mb_per_s:,.1f} MB/s |"
    )


def _chaos(found: Any) -> str:
    if not found:
        return "`make chaos` breaks every part of the flow at random and counts. Its table is not in this version."
    lines = [
        "`make chaos` runs the whole flow and breaks one part of it after another, by a seed. After each round "
        "everything "
        "that was sent is counted: texts without a vector or with two, money against the truth, alerts told twice or "
        "never. Topics have three replicas on three brokers, which have `min.insync.replicas=2`, as the how-to for "
        "production says. A process that gives up by itself is started again, as a service manager does, and counted.",
        "| on | seed | faults | texts | lost | doubled | nano-USD off | alerts | lost | doubled "
        "| gave up, started again | seconds |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| {run['on']} | {run['seed']} | {run['faults']} | {run['texts']:,} | {run['lost']} | {run['doubled']} "
            f"| {run['difference_nano_usd']} | {run['alerts']} | {run['alerts_lost']} | {run['alerts_doubled']} "
            f"| {run['ended_alone']} | {run['seconds']:,} |"
            for run in found["runs"]
        ),
        "Seconds until everything that had been sent was done and counted again:",
        "| on | fault | of | times | median | worst |\n|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| {row['on']} | {row['kind']} | {row['victim']} | {row['faults']} "
            f"| {_number(row['median_recovery_seconds'])} s | {_number(row['worst_recovery_seconds'])} s |"
            for row in found["rows"]
        ),
    ]
    return "\n\n".join(lines)


def _soak(found: Any) -> str:
    if not found:
        return "`make soak` runs two million texts through the whole flow. Its curve is not in this version."
    rows = [
        f"| {row['name']} | {row['start'] / 1e6:,.0f} MB | {row['end'] / 1e6:,.0f} MB | {row['pct']:+.1f} % |"
        for row in found["memory"]
    ]
    wrong = "; ".join(map(str, found["wrong"])) or "all totals were exact, memory and handles flat"
    return (
        f"`make soak`: {found['texts']:,} texts of the hashing backend through the whole flow in "
        f"{found['seconds']:,.0f} s ({found['texts_per_s']:,.0f} texts/s); at most {found['most_behind_texts']:,} "
        f"texts "
        f"behind, which the feeder sees to: it waits at 60,000 that are not counted. {wrong[0].upper()}{wrong[1:]}. A "
        "worker's own cache is held to 4 MiB here, so that it is full long before the half. Memory over the second "
        "half, by its trend:\n\n"
        "| process | from | to | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n![Memory, handles and lag](soak.svg)"
    )


def _fuzz(found: Any) -> str:
    if not found:
        return "`make fuzz` feeds every decoder what it does not expect. Its counts are not in this version."
    rows = [
        f"| `{row['target']}` | {row['executions']:,} | {row['seconds']:,.0f} | {row['branches']:,} "
        f"| {row['new_findings']} | {row['cases']} |"
        for row in found["targets"]
    ]
    return (
        "`make fuzz` feeds every decoder what it does not expect, led by which branches of the code an input "
        "reaches. What "
        f"it finds becomes a case that the tests run again. On {found['on']}, {found['day']}:\n\n"
        "| target | inputs | seconds | branches | new findings | cases kept |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
    )


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _read(name: str) -> Any:
    path = DATA / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def made() -> str:
    """The page from the files of results."""
    return page(claims(), load(), _read("chaos.json"), _read("soak.json"), _read("fuzz.json"))


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
