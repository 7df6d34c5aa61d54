"""`embedwatch produce` without its options: wires sources, packing and Kafka together and says what happened."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from embedwatch.clock import Clock, SystemClock
from embedwatch.errors import ConfigError, ConnectionFailed, EmbedwatchError, InputError
from embedwatch.logs import keep_kafka_quiet
from embedwatch.settings import Settings
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.stage_endpoint import serving
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES
from producers import own_metrics
from producers.inputs import MAX_LABEL_CHARS, Found, find
from producers.own_view import Watch
from producers.pacing import Pacer
from producers.packing import Labels, Limits, Packer
from producers.patience import patiently
from producers.progress import progress
from producers.publish import Publisher
from producers.run import MAX_LISTED, Plan, Run, counted
from producers.sources import read_all
from producers.stopping import Stop, stop_on_signals
from producers.text import Format, Input, Item, ReadOptions, Tally
from producers.transcode import codec_name

#: Room for key, headers and framing in a message that holds one text of the largest size.
_MESSAGE_OVERHEAD_BYTES = 16 * 1024
_REQUEST_TIMEOUT_MS = 15_000
#: Several chunks in one request where they queue up: one round trip for each would hold a fast source back.
_BATCH_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for; checked by `produce`."""

    paths: Sequence[str]
    format: Format | None = None
    stdlib_docs: bool = False
    field: str = "text"
    id_field: str | None = None
    whole_files: bool = False
    delimiter: str | None = None
    encoding: str = "utf-8"
    model: str | None = None
    tenant: str | None = None
    source: str | None = None
    rate_per_s: float | None = None
    limit: int | None = None
    skip: int = 0
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    on_too_large: Literal["stop", "skip"] = "stop"
    on_bad: Literal["stop", "skip"] = "stop"
    create_topics: bool = True
    delivery_timeout_seconds: float = 30.0
    metrics: MetricsSettings = MetricsSettings()  # noqa: RUF009 (frozen)


class Result(msgspec.Struct, frozen=True):
    """The counts of a run: what `--json` prints. `resume_skip` is the `--skip` with which to go on."""

    outcome: Literal["done", "stopped", "failed"]
    topic: str
    texts_acknowledged: int
    texts_unknown: int
    texts_read: int
    texts_skipped: int
    texts_too_large: int
    too_large: list[str]
    records_bad: int
    bad: list[str]
    invalid_utf8: int
    empty_texts: int
    blank_lines: int
    messages: int
    value_bytes: int
    inputs: int
    empty_inputs: list[str]
    ignored_files: int
    resume_skip: int
    duration_seconds: float
    texts_per_s: float
    error: str | None = None


def produce(order: Order, settings: Settings, *, as_json: bool, clock: Clock | None = None) -> int:
    """Runs to its end and prints the counts. Returns the exit code for a run that a signal ended, else 0.

    Raises `ConfigError` and `InputError` before anything is sent, `ConnectionFailed` when there is no broker,
    `InputError` and `DeliveryError` in the middle, `InputError` at the end when there were no texts or some were
    too large.
    """
    clock = clock or SystemClock()
    order, options = _checked(order, settings)
    found = find(
        order.paths, order.format, encoding=options.encoding, source=order.source, stdlib_docs=order.stdlib_docs
    )
    with stop_on_signals() as stop:
        watch = Watch(clock, stop)
        try:
            with serving(order.metrics, "produce", own_metrics.FAMILIES, lambda: own_metrics.look(watch.view())):
                return _connected(order, options, found, settings, stop, clock, as_json, watch)
        except KeyboardInterrupt:
            when = (
                "at once; what was under way may or may not have arrived" if stop.polite else "before anything was sent"
            )
            print(f"embedwatch: {stop.name} {when}", file=sys.stderr)
            return stop.exit_code


def _checked(order: Order, settings: Settings) -> tuple[Order, ReadOptions]:
    if not order.paths and not order.stdlib_docs:
        raise ConfigError("nothing to send: name files or folders, - for standard input, or --stdlib-docs")
    if order.rate_per_s is not None and not 0 < order.rate_per_s < float("inf"):
        raise ConfigError(f"option --rate: {order.rate_per_s:g} is not above 0; leave it out to send at full speed")
    for name, value in (("model", order.model), ("tenant", order.tenant), ("source", order.source)):
        if value is not None and not (0 < len(value) <= MAX_LABEL_CHARS and value.isprintable()):
            raise ConfigError(f"option --{name}: 1 to {MAX_LABEL_CHARS} printable characters are needed")
    if order.delimiter is not None and (len(order.delimiter) != 1 or order.delimiter in '"\r\n'):
        raise ConfigError(f"option --delimiter: one character is needed, such as ';', not {order.delimiter!r}")
    if order.whole_files and order.format not in (None, "txt"):
        raise ConfigError(f"option --whole-files is for text files, not for --format {order.format}")
    options = ReadOptions(
        max_text_bytes=min(settings.worker.max_text_bytes, TEXTS_MAX_MESSAGE_BYTES - _MESSAGE_OVERHEAD_BYTES),
        field=order.field,
        id_field=order.id_field,
        whole_files=order.whole_files,
        delimiter=order.delimiter,
        encoding=codec_name(order.encoding),
        skip_bad=order.on_bad == "skip",
    )
    return order, options


def _connected(
    order: Order, options: ReadOptions, found: Found, settings: Settings, stop: Stop, clock: Clock, as_json: bool,
    watch: Watch,
) -> int:  # fmt: skip
    from embedwatch.kafka import close_producer  # slow to import: not before the options are known to be right

    topic = settings.topics.texts
    producer = _connect(order, settings, topic)
    tally = Tally()
    publisher = Publisher(
        producer, topic, clock, delivery_timeout_seconds=order.delivery_timeout_seconds, settled=order.skip
    )
    sizes = [spec.size_bytes for spec in found.inputs]
    plan = Plan(
        Labels(order.model, order.tenant),
        order.skip,
        order.limit,
        order.on_too_large,
        total_bytes=None if None in sizes else sum(size or 0 for size in sizes),
    )
    started = clock.monotonic()
    pacer = None if order.rate_per_s is None else Pacer(order.rate_per_s, started)
    failure: EmbedwatchError | None = None
    try:
        with progress(clock) as bar:
            run = Run(plan, Packer(order.limits), pacer, publisher, clock, tally, stop, bar)
            watch.run, watch.publisher = run, publisher
            stop.polite = True
            try:
                run.send(_items(found.inputs, options, tally, order.limits.wait_seconds))
            except EmbedwatchError as error:
                failure = error
    finally:
        with contextlib.suppress(Exception):  # everything that can be known is counted; closing must not hide it
            close_producer(producer, 0.5 if publisher.in_flight_texts else 5)
    seconds = max(clock.monotonic() - started, 1e-9)
    counts = run.counts
    result = Result(
        outcome="failed" if failure else "stopped" if stop.signum is not None else "done",
        topic=topic,
        texts_acknowledged=publisher.acknowledged_texts,
        texts_unknown=publisher.sent_texts - publisher.acknowledged_texts,
        texts_read=counts.read,
        texts_skipped=counts.skipped,
        texts_too_large=counts.too_large,
        too_large=counts.too_large_listed,
        records_bad=counts.bad,
        bad=counts.bad_listed,
        invalid_utf8=counts.invalid_utf8,
        empty_texts=counts.empty_texts,
        blank_lines=tally.blank_lines,
        messages=publisher.acknowledged_messages,
        value_bytes=publisher.acknowledged_bytes,
        inputs=tally.inputs,
        empty_inputs=tally.empty_inputs,
        ignored_files=found.ignored_files,
        resume_skip=publisher.settled,
        duration_seconds=round(seconds, 3),
        texts_per_s=round(publisher.acknowledged_texts / seconds, 1),
        error=str(failure) if failure else None,
    )
    failure = failure or _verdict(result)
    if as_json:
        print(msgspec.json.encode(msgspec.structs.replace(result, error=str(failure) if failure else None)).decode())
    else:
        _summary(result, run.how_to_go_on(), stop)
    if failure is not None:
        raise failure
    if result.outcome == "stopped":
        if as_json:
            print(f"embedwatch: {stop.name}: {run.how_to_go_on()}", file=sys.stderr)
        return stop.exit_code
    return 0


def _connect(order: Order, settings: Settings, topic: str) -> Any:
    from embedwatch.kafka import create_topics, producer

    keep_kafka_quiet()
    if order.create_topics:
        # Only our own: a producer need not be allowed to make the others.
        create_topics(settings.kafka, [spec for spec in settings.topics.specs() if spec.name == topic])
    else:
        _require_topic(settings, topic)
    timeout_ms = int(order.delivery_timeout_seconds * 1000)
    return producer(
        settings.kafka,
        "embedwatch-producer",
        allow_auto_create_topics=False,  # it would have the broker's partitions, not ours
        batch_size=_BATCH_BYTES,
        delivery_timeout_ms=timeout_ms,
        request_timeout_ms=min(_REQUEST_TIMEOUT_MS, timeout_ms // 2),
    )


def _require_topic(settings: Settings, topic: str) -> None:
    """Asked of the list of topics: asking for one topic makes some brokers create it."""
    from embedwatch.kafka import KafkaError, admin_client, describe_error

    where = f"Kafka at {settings.kafka.bootstrap_servers}"
    admin = admin_client(settings.kafka)
    try:
        found = topic in admin.list_topics()
    except KafkaError as error:
        raise ConnectionFailed(f"{where}: the topics cannot be listed: {describe_error(error)}") from None
    finally:
        admin.close()
    if not found:
        raise ConnectionFailed(
            f"{where}: there is no topic {topic}; make it with `embedwatch topics create`, or leave out "
            "--no-create-topics"
        )


def _items(
    inputs: Sequence[Input], options: ReadOptions, tally: Tally, wait_seconds: float
) -> Iterator[Item] | Iterator[Item | None]:
    items = read_all(inputs, options, tally)
    if not any(spec.waits for spec in inputs):
        return items
    if any(spec.kind == "stdin" for spec in inputs) and sys.stdin is not None and sys.stdin.isatty():
        print("embedwatch: reading from the terminal; end with Ctrl-D", file=sys.stderr)
    return patiently(items, min(0.1, max(0.005, wait_seconds / 4)))


def _verdict(result: Result) -> InputError | None:
    """A run that went through and yet is no success."""
    if result.outcome != "done":
        return None
    left_out = [
        f"{counted(number, what)}{how} and not sent: {'; '.join(listed)}"
        + (f"; and {number - len(listed):,} more (the first {MAX_LISTED} are listed)" if number > len(listed) else "")
        for number, what, how, listed in (
            (result.texts_too_large, "text", " too large", result.too_large),
            (result.records_bad, "record", " without a usable text or id", result.bad),
        )
        if number
    ]
    if left_out:
        return InputError(". ".join(left_out))
    if not result.texts_read:
        names = ", ".join(result.empty_inputs[:5]) or "the input"
        blank = f" ({counted(result.blank_lines, 'blank line')})" if result.blank_lines else ""
        return InputError(f"no texts to send: {names} {'is' if len(result.empty_inputs) < 2 else 'are'} empty{blank}")
    if result.texts_read < result.resume_skip:
        return InputError(
            f"nothing sent: the inputs hold {counted(result.texts_read, 'text')}, --skip is {result.resume_skip:,}"
        )
    return None


def _summary(result: Result, how_to_go_on: str, stop: Stop) -> None:
    """For people: what arrived on standard output, what is worth knowing on standard error."""
    if result.outcome == "done":
        print(
            f"{counted(result.texts_acknowledged, 'text')} in {counted(result.messages, 'message')} arrived at "
            f"{result.topic} "
            f"in {result.duration_seconds:.1f} s ({result.texts_per_s:,.0f} texts/s)"
        )
    elif result.outcome == "stopped":
        unknown = f"; {result.texts_unknown:,} more were on the way" if result.texts_unknown else ""
        print(f"embedwatch: {stop.name}: {how_to_go_on}{unknown}", file=sys.stderr)
    notes = (
        (result.invalid_utf8, "text", "not valid UTF-8: sent as they are, they become dead letters"),
        (result.empty_texts, "text", "empty: sent, they become dead letters"),
        (result.blank_lines, "blank line", "skipped"),
        (result.ignored_files, "file", "passed over: of another type, or hidden"),
    )
    for number, what, fate in notes:
        if number:
            print(f"embedwatch: note: {counted(number, what)} {fate}", file=sys.stderr)
    if result.empty_inputs and result.texts_read:
        names = ", ".join(result.empty_inputs[:5]) + (" …" if len(result.empty_inputs) > 5 else "")
        print(f"embedwatch: note: no texts in {names}", file=sys.stderr)
