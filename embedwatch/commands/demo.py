"""`embedwatch demo`: the whole flow on this machine, once, with real parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedwatch.settings import env_name


def _option(*flags: str, help: str, **more: Any) -> Any:
    name = max((flag.split("/")[0] for flag in flags), key=len).removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, envvar=f"EMBEDWATCH_DEMO_{name}", help=help, **more)


def demo(
    texts: Annotated[int, _option("--texts", "-n", min=1, help="How many texts at most.")] = 2000,
    inputs: Annotated[
        list[Path] | None,
        _option("--input", "-i", help="Your own texts: a file or folder, may be given again. Without it: docstrings."),
    ] = None,
    field: Annotated[str | None, _option("--field", help="Field or column with the text, for --input.")] = None,
    id_field: Annotated[str | None, _option("--id-field", help="Field or column with the id, for --input.")] = None,
    rate: Annotated[
        float | None, _option("--rate", min=0.1, help="Texts a second. Without it: such that it takes about a minute.")
    ] = None,
    drill: Annotated[
        bool, _option("--drill/--no-drill", help="Slow the worker down for 10 s, so that an alert fires and clears.")
    ] = True,
    model: Annotated[
        str | None, _option("--model", "-m", help="Folder or name of another model. Without it: all-MiniLM-L6-v2.")
    ] = None,
    gpu_usd_per_hour: Annotated[
        float,
        _option("--gpu-usd-per-hour", min=0, help="Assumed price of this machine, for the cost of a local model."),
    ] = 0.40,
    json_file: Annotated[Path | None, _option("--json", help="Write the outcome to this file, as JSON.")] = None,
    logs: Annotated[
        Path | None, _option("--logs", help="Keep the logs of all parts in this folder. Without it: kept on failure.")
    ] = None,
) -> None:
    """Embed real texts with a real model, watch the numbers live, see an alert reach Slack and clear.

    Starts a broker, a cache and a stand-in for Slack on free ports of this machine, one worker, the stream agents and
    the alerting, and stops them all again. Takes under two minutes on two cores. Needs no network and no Docker.

    Exit codes: 0 every text became a vector or a dead letter, 1 not all did, 2 wrong option, 3 wrong input.

    Examples: embedwatch demo; embedwatch demo --texts 500 --json out.json;
    embedwatch demo --input articles.jsonl --field body
    """
    import os
    import tempfile

    import msgspec

    from embedwatch.errors import ConfigError, EmbedwatchError
    from embedwatch.local import demo as local
    from embedwatch.local.screen import Screen
    from embedwatch.processes import stop_on_signals

    if (field or id_field) and not inputs:
        raise ConfigError("--field and --id-field name parts of your own texts: give --input too")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no folder {json_file.absolute().parent}")
    if json_file is not None and json_file.is_dir():
        raise ConfigError(f"--json {json_file} is a folder: name a file in it")
    worker = {}
    if model is not None:
        worker[env_name("worker", "model")] = os.path.abspath(model) if os.path.isdir(model) else model
    price = env_name("pricing", "gpu_usd_per_hour")
    if price not in os.environ:
        worker[price] = f"{gpu_usd_per_hour:g}"
    order = local.Order(
        texts=texts,
        inputs=tuple(inputs or ()),
        field=field,
        id_field=id_field,
        rate_per_s=rate,
        drill=drill,
        worker=worker,
    )
    folder = logs or Path(tempfile.mkdtemp(prefix="embedwatch-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    keep = logs is not None
    try:
        with stop_on_signals() as stop, Screen() as screen:
            found = local.run(order, folder.absolute(), screen, stop)
            if json_file is not None:
                json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
            _tell(screen, found, json_file, os.environ.get(price, f"{gpu_usd_per_hour:g}"))
    except EmbedwatchError:
        if any(folder.iterdir()):
            keep = True
            typer.echo(f"embedwatch: the logs are in {folder}", err=True)
        raise
    finally:
        if not keep:
            local.forget(folder)
    if not found.complete:
        raise EmbedwatchError(
            f"{found.texts_in:,} texts went in, {found.vectors_out:,} vectors and {found.dead_letters:,} dead letters "
            "came out: this is a bug of embedwatch, please report it"
        )


def _tell(screen: Any, found: Any, json_file: Path | None, price: str) -> None:
    """The end: what came out, and where to go from here."""
    import os

    screen.say("")
    screen.say(
        f"{found.texts_in:,} texts in, {found.vectors_out:,} vectors and {found.dead_letters:,} dead letters out, "
        f"{found.slack_messages:,} Slack messages, {found.duration_s:.0f} s",
        "bold green" if found.complete else "bold red",
    )
    for change in found.alerts:
        value = "unknown" if change.value is None else f"{change.value:,.0f}"
        screen.say(f"  {change.at}  {change.type} {change.state} ({value}, limit {change.threshold:,.0f})")
    screen.say(f"cost: this machine at an assumed ${price} an hour (--gpu-usd-per-hour)")
    if json_file is not None:
        screen.say(f"the outcome is in {json_file}")
    import shutil
    import sys

    # Who came by `make demo` has not activated the virtual environment.
    name = "embedwatch" if shutil.which("embedwatch") else os.path.relpath(Path(sys.executable).parent / "embedwatch")
    screen.say(f"everything is stopped. To keep it running: `{name} up`; then, in another terminal:")
    screen.say(f"  {name} produce --stdlib-docs --limit 2000    send texts")
    screen.say(f"  {name} report                                this report, live")
    screen.say("  http://127.0.0.1:6066/ui                         the same in a browser, over time")
    screen.say("  http://127.0.0.1:6066/metrics                    for Prometheus; /api/v1/summary for programs")
