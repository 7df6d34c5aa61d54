"""`embedwatch simulate`: an arrival trace through our scaling policy and through KEDA's rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import completing, options

if TYPE_CHECKING:
    from embedwatch.scaling.policy import Aims
    from embedwatch.scaling.recorded import Recorder
    from embedwatch.scaling.simulator import Outcome, Plant
    from embedwatch.scaling.traces import Array
    from embedwatch.scaling.versus import Versus
    from embedwatch.settings import Settings

EXAMPLE = (
    "Examples: embedwatch simulate --trace burst --plot burst.png; embedwatch simulate --trace all --usd-per-hour 0.8; "
    "embedwatch simulate --recorded arrivals.csv --capacity 250; embedwatch simulate --from-topic --json"
)


PICTURES = (".png", ".svg", ".pdf")


def _option(name: str, help: str, **more: Any) -> Any:
    variable = f"EMBEDWATCH_SIMULATE_{name.strip('-').upper().replace('-', '_')}"
    return typer.Option(name, envvar=variable, help=help, **more)


def simulate(
    trace: Annotated[
        str,
        _option(
            "--trace",
            "What arrives: constant, ramp, wave, burst, day-100m, or all of them.",
            autocompletion=completing.traces,
        ),
    ] = "burst",
    recorded: Annotated[
        Path | None, _option("--recorded", "Instead: a CSV file with the columns seconds and texts.")
    ] = None,
    from_topic: Annotated[
        bool, _option("--from-topic", "Instead: what arrived, by the lag samples on the metrics topic.")
    ] = False,
    texts_per_s: Annotated[
        float, _option("--texts-per-s", "Mean of a trace; day-100m has its own.", min=0.01, max=1e7)
    ] = 600.0,
    hours: Annotated[float, _option("--hours", "Length of a trace.", min=0.1, max=744)] = 24.0,
    partitions: Annotated[
        int | None,
        _option("--partitions", "Of the topic. Without it: those that --from-topic sees, else 120.", min=1, max=10_000),
    ] = None,
    capacity: Annotated[
        float | None,
        _option(
            "--capacity",
            "Texts a second that one worker does. Without it: as --from-topic sees it measured, else 100.",
            min=0.001,
            max=1e7,
        ),
    ] = None,
    warm_up: Annotated[
        float, _option("--warm-up", "Seconds from the start of a worker until it works.", min=0, max=3600)
    ] = 30.0,
    rebalance: Annotated[
        float, _option("--rebalance", "Seconds in which nobody reads when one joins or leaves.", min=0, max=600)
    ] = 3.0,
    target: Annotated[
        float, _option("--target", "Wait that the policy aims at, in seconds.", min=0.1, max=86_400)
    ] = 30.0,
    min_workers: Annotated[int, _option("--min-workers", "Never fewer.", min=0, max=10_000)] = 1,
    max_workers: Annotated[
        int | None, _option("--max-workers", "Never more; the number of partitions without it.", min=1, max=10_000)
    ] = None,
    usd_per_hour: Annotated[
        float | None, _option("--usd-per-hour", "Price of a worker's hour, to show what it costs.", min=0)
    ] = None,
    thresholds: Annotated[
        int, _option("--thresholds", "So many lag thresholds of KEDA are tried; 0: KEDA is left out.", min=0, max=100)
    ] = 10,
    seed: Annotated[int, _option("--seed", "The same seed gives the same arrivals.", min=0)] = 1,
    plot: Annotated[
        Path | None, _option("--plot", "Draw it: a file such as out.png or out.svg. Needs the extra `plot`.")
    ] = None,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    as_json: options.AsJson = False,
) -> None:
    """Try how many workers a queue would get, how long texts would wait and what it would cost.

    KEDA's Kafka trigger and the autoscaler behind it are tried on the same arrivals, in many settings of lagThreshold
    and of the stabilisation window. Shown are its cheapest setting that waits no longer, and of those that cost no more
    the one that waits least: the best that KEDA could do if one knew the day beforehand.

    Exit codes: 0 done, 2 wrong option, 3 a file that cannot be read or written, 4 no broker (`--from-topic`).
    """
    from embedwatch.errors import ConfigError
    from embedwatch.scaling.policy import Aims
    from embedwatch.scaling.simulator import Plant
    from embedwatch.scaling.traces import SHAPES
    from embedwatch.settings import load

    if recorded is not None and from_topic:
        raise ConfigError("--recorded and --from-topic: arrivals come from one of them")
    if trace != "all" and trace not in SHAPES:
        raise ConfigError(f"--trace {trace!r}: there are {', '.join(SHAPES)} and all")
    if max_workers is not None and max_workers < min_workers:
        raise ConfigError(f"--max-workers {max_workers} is below --min-workers {min_workers}")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise ConfigError(f"--plot {str(plot)!r}: its ending says what to draw: {', '.join(PICTURES)}")
    if plot is not None and (plot.is_dir() or not plot.parent.is_dir()):
        raise ConfigError(f"--plot: {plot} is a folder, or there is no folder {plot.parent}")
    if recorded is not None and not recorded.is_file():
        raise ConfigError(f"--recorded {str(recorded)!r}: there is no such file")
    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    step = 5.0
    if from_topic:
        recorder = _topic(settings, as_json)
        arrivals, partitions = {"topic": recorder.arrivals(step)}, partitions or recorder.partitions
        capacity = capacity or recorder.capacity_texts_per_s
    elif recorded is not None:
        arrivals = {recorded.stem: _file(recorded, step)}
    else:
        arrivals = _traces(SHAPES if trace == "all" else [trace], texts_per_s, hours, step, seed)
    partitions, capacity = partitions or 120, capacity or 100.0
    plant = Plant(
        partitions=partitions, capacity_texts_per_s=capacity, warm_up_seconds=warm_up, rebalance_seconds=rebalance,
        start_workers=max(min_workers, 1),
    )  # fmt: skip
    aims = Aims(
        target_seconds=target, min_workers=min_workers, max_workers=max_workers or partitions,
        worker_usd_per_hour=usd_per_hour,
    )  # fmt: skip
    found = {name: _run(name, texts, step, plant, aims, thresholds, as_json) for name, texts in arrivals.items()}
    if as_json:
        _print_json(found, plant, aims)
    else:
        _print(found, usd_per_hour)
    if plot is not None:
        for name, each in found.items():
            path = plot if len(found) == 1 else plot.with_name(f"{plot.stem}-{name}{plot.suffix}")
            _draw(path, name, step, each)


def _traces(names: Any, texts_per_s: float, hours: float, step: float, seed: int) -> dict[str, Array]:
    from embedwatch.scaling.traces import trace

    seconds = round(hours * 3600)
    return {
        name: trace(
            name, texts_per_s=1e8 / 86_400 if name == "day-100m" else texts_per_s, seconds=seconds, step_seconds=step,
            seed=seed,
        )
        for name in names
    }  # fmt: skip


def _file(path: Path, step: float) -> Array:
    import csv

    from embedwatch.errors import InputError
    from embedwatch.scaling.recorded import from_rows

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return from_rows(csv.DictReader(file), step, str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _topic(settings: Settings, as_json: bool) -> Recorder:
    from embedwatch.codec import decode_metric
    from embedwatch.errors import InvalidEvent
    from embedwatch.events import LagEvent, ScalingEvent
    from embedwatch.reading import TopicReader
    from embedwatch.scaling.recorded import Recorder
    from embedwatch.waiting_line import waiting

    recorder = Recorder(settings.worker.group, settings.topics.texts)
    with (
        TopicReader(settings.kafka, settings.topics.metrics) as reader,
        waiting(f"reading {settings.topics.metrics}", as_json) as tell,
    ):
        for batch in reader.batches():
            tell(f"reading {settings.topics.metrics}", reader.done_pct)
            for record in batch:
                try:
                    event = decode_metric(record.value)
                except InvalidEvent:
                    continue
                if isinstance(event, LagEvent | ScalingEvent):
                    recorder.add(event)
    return recorder


def _run(name: str, arrivals: Array, step: float, plant: Plant, aims: Aims, thresholds: int, quiet: bool) -> Versus:
    from rich.console import Console
    from rich.progress import Progress

    from embedwatch.scaling.versus import STABILIZATIONS_SECONDS, settings_of, versus
    from embedwatch.waiting_line import shows_progress

    settings = settings_of(plant.capacity_texts_per_s, thresholds, STABILIZATIONS_SECONDS) if thresholds else []
    shown = shows_progress(quiet)
    with Progress(console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(name, total=1 + len(settings))
        return versus(arrivals, step, plant, aims, settings, lambda done: progress.update(task, completed=done))


def _print(found: dict[str, Versus], usd_per_hour: float | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    for name, each in found.items():
        table = Table()
        table.add_column(Text(name), min_width=20)
        for heading in ("wait p50", "p95", "max", "worker-hours", "USD", "changes", "turns"):
            table.add_column(heading, justify="right")
        rows: list[tuple[str, Outcome]] = [("embedwatch", each.ours)]
        for what, best in (("KEDA, same wait", each.same_wait), ("KEDA, no more hours", each.same_hours)):
            if best is not None:
                setting, outcome = best
                at = f"{setting.lag_threshold_texts:,.0f} texts, {setting.down_stabilization_seconds:g} s"
                rows.append((f"{what} ({at})", outcome))
        for what, run in rows:
            cost = "" if usd_per_hour is None else f"{run.worker_hours * usd_per_hour:,.2f}"
            waits = (run.wait_p50_seconds, run.wait_p95_seconds, run.wait_max_seconds)
            table.add_row(
                Text(what), *(f"{one:,.1f} s" for one in waits), f"{run.worker_hours:,.1f}", cost,
                f"{run.scale_events:,}", f"{run.turns:,}",
            )  # fmt: skip
        console.print(table)
        for line in _words(each):
            console.print(Text(line))


def _words(each: Versus) -> list[str]:
    """What the table comes to, in words; also where we lost."""
    lines = []
    if each.ours.left_texts >= 1:
        lines.append(f"{each.ours.left_texts:,.0f} texts wait at the end: it takes more workers, or partitions")
    if not each.keda:
        return lines
    fewer, lower = each.fewer_hours_pct, each.lower_wait_pct
    lines.append(
        "no setting of KEDA that was tried waits as little" if fewer is None else f"at the same wait {_by(fewer)} hours"
    )
    lines.append(
        "no setting of KEDA that was tried costs as little" if lower is None else f"at no more hours {_by(lower)} wait"
    )
    return lines


def _by(pct: float) -> str:
    return f"{pct:.0f} % less" if pct >= 0 else f"{-pct:.0f} % more"


def _print_json(found: dict[str, Versus], plant: Plant, aims: Aims) -> None:
    import msgspec

    from embedwatch.scaling.versus import Setting

    def run(outcome: Outcome, setting: Setting | None = None) -> dict[str, Any]:
        names = (
            "texts", "worker_hours", "scale_events", "turns", "left_texts", "wait_p50_seconds", "wait_p95_seconds",
            "wait_max_seconds",
        )  # fmt: skip
        told = {name: getattr(outcome, name) for name in names}
        if aims.worker_usd_per_hour is not None:
            told["cost_usd"] = outcome.worker_hours * aims.worker_usd_per_hour
        if setting is not None:
            told |= {
                "lag_threshold_texts": setting.lag_threshold_texts,
                "down_stabilization_seconds": setting.down_stabilization_seconds,
            }
        return told

    def best(pair: tuple[Setting, Outcome] | None) -> dict[str, Any] | None:
        return None if pair is None else run(pair[1], pair[0])

    traces = {
        name: {
            "embedwatch": run(each.ours),
            "keda_same_wait": best(each.same_wait),
            "keda_same_hours": best(each.same_hours),
            "fewer_worker_hours_pct": each.fewer_hours_pct,
            "lower_wait_pct": each.lower_wait_pct,
            "keda": [run(outcome, setting) for setting, outcome in each.keda],
        }
        for name, each in found.items()
    }
    queue = {name: getattr(plant, name) for name in ("partitions", "capacity_texts_per_s", "warm_up_seconds")}
    typer.echo(msgspec.json.encode({"queue": queue, "traces": traces}).decode())


def _draw(path: Path, name: str, step: float, each: Versus) -> None:
    from embedwatch.scaling.plot import draw

    runs = {"embedwatch": each.ours}
    if each.same_hours is not None:
        runs["KEDA, no more hours"] = each.same_hours[1]
    draw(path, name, step, runs)
    typer.echo(f"drawn: {path}", err=True)
