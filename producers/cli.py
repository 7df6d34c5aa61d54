"""`embedwatch produce`: its options. What it does is in `producers.service`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from embedwatch import options
from embedwatch.wire import MAX_CHUNK_BYTES, MAX_CHUNK_TEXTS

FormatChoice = Literal["auto", "txt", "jsonl", "csv", "parquet"]
TooLargeChoice = Literal["stop", "skip"]


def _option(*flags: str, help: str, **more: Any) -> Any:
    """An option of this command alone, with its environment variable: the longest flag, in capitals."""
    name = max((flag.split("/")[0] for flag in flags), key=len).removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, envvar=f"EMBEDWATCH_PRODUCE_{name}", help=help, **more)


def app(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            envvar="EMBEDWATCH_PRODUCE_PATHS",
            help="Files (.txt, .md, .jsonl, .ndjson, .csv, .tsv, .parquet), folders of them, or - for standard input.",
        ),
    ] = None,
    stdlib_docs: Annotated[
        bool, _option("--stdlib-docs", help="Send the docstrings of Python's standard library: real texts for a try.")
    ] = False,
    format: Annotated[
        FormatChoice, _option("--format", help="auto goes by the file extension; standard input is then txt.")
    ] = "auto",
    field: Annotated[str, _option("--field", help="Field or column with the text (JSONL, CSV, Parquet).")] = "text",
    id_field: Annotated[
        str | None,
        _option("--id-field", help="Field or column with the id. Without it: SOURCE:LINE, the same in every run."),
    ] = None,
    whole_files: Annotated[bool, _option("--whole-files", help="Each text file is one text, not each line.")] = False,
    delimiter: Annotated[
        str | None, _option("--delimiter", help="Between the cells of a CSV. Without it: comma, tab for .tsv.")
    ] = None,
    encoding: Annotated[
        str, _option("--encoding", help="Of text, JSONL and CSV. Anything but UTF-8 is converted strictly.")
    ] = "utf-8",
    model: Annotated[str | None, _option("--model", help="Ask for this embedding model (header of each text).")] = None,
    tenant: Annotated[str | None, _option("--tenant", help="Book the texts on this tenant (header).")] = None,
    source: Annotated[
        str | None, _option("--source", help="Name of the source (header, begins the ids). Without it: the file name.")
    ] = None,
    rate: Annotated[float | None, _option("--rate", help="Texts a second, evenly. Without it: full speed.")] = None,
    limit: Annotated[int | None, _option("--limit", min=1, help="Stop after so many texts.")] = None,
    skip: Annotated[int, _option("--skip", min=0, help="Leave out the first texts: go on where a run ended.")] = 0,
    chunk_texts: Annotated[
        int, _option("--chunk-texts", min=1, max=MAX_CHUNK_TEXTS, help="Most texts in one message; 1: no chunks.")
    ] = MAX_CHUNK_TEXTS,
    chunk_bytes: Annotated[
        int, _option("--chunk-bytes", min=1024, max=MAX_CHUNK_BYTES, help="Most bytes of texts in one message.")
    ] = MAX_CHUNK_BYTES,
    max_wait_ms: Annotated[
        int, _option("--max-wait-ms", min=1, max=60_000, help="How long a text waits for a chunk to fill.")
    ] = 200,
    on_too_large: Annotated[
        TooLargeChoice, _option("--on-too-large", help="At a text above --max-text-bytes: stop, or skip and list it.")
    ] = "stop",
    on_bad: Annotated[
        TooLargeChoice,
        _option("--on-bad", help="At a record without a usable text or id (null, no JSON): stop, or skip and list it."),
    ] = "stop",
    max_text_bytes: Annotated[int | None, options.setting("worker", "max_text_bytes")] = None,
    timeout_seconds: Annotated[
        float,
        _option(
            "--timeout-seconds", min=1, max=600, help="Give up when the broker does not take a message in this time."
        ),
    ] = 30.0,
    create_topics: Annotated[
        bool, _option("--create-topics/--no-create-topics", help="Create the topic of texts if it is missing.")
    ] = True,
    metrics_port: Annotated[
        int | None,
        _option(
            "--metrics-port",
            min=0,
            max=65535,
            help="Port of /metrics, /livez and /readyz, for a run that goes on; 0: any free one. Without it: none.",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None,
        _option("--metrics-host", help="Address they bind to; 0.0.0.0: every one. Without it: loopback."),
    ] = None,
    metrics_allowed_hosts: Annotated[
        str | None,
        _option("--metrics-allowed-hosts", help="Further names by which they are asked, separated by commas."),
    ] = None,
    as_json: Annotated[bool, _option("--json", help="Print the final counts as one line of JSON.")] = False,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
) -> None:
    """Send texts to Kafka: files, folders, standard input or Python's own documentation.

    Each line of a text file is a text; JSONL, CSV and Parquet have it in a field. Texts are packed into chunks, and
    counted when the broker has them. If something stops the run, it says how many texts arrived and with which --skip
    to go on. Exit codes: 0 done, 2 wrong option, 3 wrong input, 4 no broker, 5 not delivered, 130 and 143 stopped.

    Examples: embedwatch produce articles.jsonl --field body --id-field url --tenant search;
    zcat logs.gz | embedwatch produce - --rate 500; embedwatch produce --stdlib-docs --limit 2000
    """
    from embedwatch import logs
    from embedwatch.settings import load
    from embedwatch.settings_metrics import of_options
    from producers.packing import Limits
    from producers.service import Order, produce

    logs.configure()
    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "worker.max_text_bytes": max_text_bytes,
        },
    )
    order = Order(
        paths=[str(path) for path in paths or ()],
        format=None if format == "auto" else format,
        stdlib_docs=stdlib_docs,
        field=field,
        id_field=id_field,
        whole_files=whole_files,
        delimiter=delimiter,
        encoding=encoding,
        model=model,
        tenant=tenant,
        source=source,
        rate_per_s=rate,
        limit=limit,
        skip=skip,
        limits=Limits(chunk_texts, chunk_bytes, max_wait_ms / 1000),
        on_too_large=on_too_large,
        on_bad=on_bad,
        create_topics=create_topics,
        delivery_timeout_seconds=timeout_seconds,
        metrics=of_options(metrics_port, metrics_host, metrics_allowed_hosts),
    )
    code = produce(order, settings, as_json=as_json)
    if code:
        raise typer.Exit(code)
