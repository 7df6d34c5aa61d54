"""`embedwatch checklist`: the guide's checklist, ticked against what runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import options
from embedwatch.settings import load

if TYPE_CHECKING:
    from embedwatch.checklist import Checklist

_BOX = {"ticked": ("[x]", "green"), "not": ("[ ]", "bold red"), "unknown": ("[?]", "yellow")}
_KEPT = {"yes": "yes", "no": "no", "unknown": "not known"}


def _option(name: str, help: str, **more: Any) -> Any:
    variable = f"EMBEDWATCH_CHECKLIST_{name.removeprefix('--').upper().replace('-', '_')}"
    return typer.Option(name, envvar=variable, help=help, **more)


def checklist(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    agents_url: Annotated[
        str | None,
        _option("--agents-url", "Where the stream agents serve. Without it: from agents.web_host and agents.web_port."),
    ] = None,
    window_seconds: Annotated[
        int, _option("--window-seconds", "How far back it looks for texts: a multiple of 10 from 10 to 3600.")
    ] = 3600,
    folder: Annotated[Path, _option("--dir", "Folder of the baselines.")] = Path("baselines"),
    as_json: options.AsJson = False,
) -> None:
    """Go through the monitoring checklist of the guide, and say what is ticked, what is not, and what makes it so.

    The evidence is what the agents, the broker and the receivers say now; nothing is changed or sent. [?] means that it
    cannot be told from here, or not yet, and is no tick. The guide's targets stand below, as information.

    Exit codes: 0 all is ticked, 1 something is not, 2 wrong option, 4 no agents.

    Examples: embedwatch checklist; embedwatch checklist --json | jq '.points[] | select(.state != "ticked")'
    """
    import msgspec

    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.checklist import evaluate
    from embedwatch.checklist_facts import gather
    from embedwatch.logs import quieten_kafka
    from embedwatch.rules import check_window
    from embedwatch.waiting_line import waiting

    check_window(window_seconds)
    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    quieten_kafka()
    url, token = agents_url or default_url(settings), settings.agents.web_token
    with (
        AgentsApi(url, token=token) as api,
        waiting("asking agents, broker and receivers", as_json) as tell,
    ):
        facts = gather(
            settings, api, window_seconds=window_seconds, baselines=folder,
            told=lambda done_pct: tell(done_pct=done_pct),
        )  # fmt: skip
        found = evaluate(facts)
    if as_json:
        typer.echo(
            msgspec.json.encode(
                {"ticked": found.ticked, "of": len(found.points), "points": found.points, "targets": found.targets}
            ).decode()
        )
    else:
        _print(found)
    if not found.complete:
        raise typer.Exit(1)


def _print(found: Checklist) -> None:
    from rich.console import Console
    from rich.text import Text

    from embedwatch.checklist import amount

    console = Console(soft_wrap=True)
    group = ""
    for point in found.points:
        if point.group != group:
            group = point.group
            console.print(Text(group, "bold"))
        box, style = _BOX[point.state]
        console.print(Text.assemble("  ", (box, style), f" {point.name}: {point.evidence}"))
        if point.fix:
            console.print(Text(f"      -> {point.fix}"))
    console.print(Text(f"{found.ticked} of {len(found.points)} ticked", "bold"))
    console.print(Text("Targets of the guide (information)", "bold"))
    for target in found.targets:
        value = target.absent if target.value is None else f"{amount(target.value)} {target.unit}"
        wanted = f"target {target.target} {target.unit}"
        if target.value is not None:
            wanted += f": {_KEPT[target.kept]}"
        console.print(Text(f"  {target.name}: {value}, {wanted} ({target.where})"))
