"""Wiring: Faust, the runtime and the edges between them. Nothing is computed here.

Settings that look odd and why (measured; see docs/adr/0002-agents-on-faust.md): plain tables in memory (their state is
small and comes back from the changelog), no windowed tables, no exactly_once, one consumer at a time, acknowledgements
by hand, `stream_wait_empty` off because late acknowledgements would hang a rebalance.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import faust
import faust.auth
from faust.types import TP

from embedwatch import kafka
from embedwatch.agents_api import default_url
from embedwatch.clock import Clock, SystemClock
from embedwatch.codec import encode
from embedwatch.errors import ConnectionFailed, InvalidEvent
from embedwatch.events import (
    CorrectionEvent,
    DayEvent,
    ScalingEvent,
    Verdict,
    WindowEvent,
    change_key,
    day_key,
    hour_key,
    window_key,
)
from embedwatch.kafka_auth import tls_context
from embedwatch.rules import Rule
from embedwatch.scaling.aims import aims_of
from embedwatch.settings import Settings
from embedwatch.topics import in_sync
from stream_agents.alerts_reader import follow_alerts, watch_alerting
from stream_agents.compute.history import history_key, is_state, partition_of, state_key
from stream_agents.compute.keeping import hours_kept
from stream_agents.compute.merger import Merger
from stream_agents.compute.partials import Record, marker_record
from stream_agents.compute.scaling import Brain
from stream_agents.compute.world import World
from stream_agents.following import Follower, TokenFile
from stream_agents.probe import LogProbe
from stream_agents.runtime import Runtime
from stream_agents.sampler import LagSampler
from stream_agents.scratch import scratch_folder
from stream_agents.transport import BUFFERED_CHUNKS, Chunks, ReadCommittedTransport
from stream_agents.web.api import add_routes
from stream_agents.web.protect import protect

log = logging.getLogger("agents")

SEND_TIMEOUT_SECONDS = 30.0
MEND_SECONDS = 1.0
TIDY_SECONDS = 5.0
CLOSE_SECONDS = 1.0
#: How often other processes are told, so that a verdict on the whole comes within a second.
TELL_SECONDS = 0.4
#: How long a process that is given partitions waits for what others have counted of them.
CATCH_UP_SECONDS = 30.0
#: A process that stops may take so long to write what it has counted.
STOP_FLUSH_SECONDS = 5.0
#: A partition's state is one record. At the default cap of scopes, each with spend in every quarter of an hour, it was
#: measured at 2.4 MB: 1.2 of today, 1.2 of the two days before. The history that forecasts ask for is a record of its
#: own of up to 0.6 MB.
STATE_MAX_BYTES = 8 * 1024 * 1024


def broker_options(settings: Settings) -> dict[str, Any]:
    """Faust's names for the Kafka settings. Holds the password: never log it."""
    k = settings.kafka
    servers = [f"kafka://{part.strip()}" for part in k.bootstrap_servers.split(",")]
    options: dict[str, Any] = {"broker": ";".join(servers)}
    context = tls_context(k)
    if k.sasl_mechanism == "OAUTHBEARER" and k.sasl_token_file is not None:
        options["broker_credentials"] = faust.auth.OAuthCredentials(
            oauth_cb=TokenFile(k.sasl_token_file), ssl_context=context
        )
    elif k.sasl_mechanism is not None:
        options["broker_credentials"] = faust.SASLCredentials(
            username=k.sasl_username,
            password=k.sasl_password.get_secret_value() if k.sasl_password else None,
            mechanism=k.sasl_mechanism,
            ssl_context=context,
        )
    elif context is not None:
        options["broker_credentials"] = faust.SSLCredentials(context)
    return options


class FaustEdges:
    """The runtime's way to Faust and Kafka."""

    def __init__(self, app: Any, table: Any, settings: Settings, topics: Mapping[str, Any]) -> None:
        self.app = app
        self.table = table
        self.settings = settings
        self.topics = topics
        self.probe = LogProbe(settings.kafka, settings.topics.metrics)
        self._asking = asyncio.Lock()
        self._app_id = settings.agents.app_id
        self._desired: int | None = None

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        await self._write(partition, state_key(partition), record)

    async def write_history(self, partition: int, record: Mapping[str, Any]) -> None:
        await self._write(partition, history_key(partition, record["version"]), record)

    async def _write(self, partition: int, key: str, record: Mapping[str, Any]) -> None:
        # Straight to the changelog and awaited: `table[key] = ...` would only buffer, and a commit could pass it.
        self.table.data[key] = dict(record)
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await self.table.send_changelog(partition, key, dict(record))

    async def seek(self, partition: int, offset: int) -> None:
        # Not `seek`: it takes what was fetched away in our thread, from under the consumer's, and a KeyError there ends
        # the process. This one is done in the consumer's thread, between two of its fetches.
        where = {TP(self.settings.topics.metrics, partition): offset}
        await asyncio.wait_for(self.app.consumer.seek_wait(where), SEND_TIMEOUT_SECONDS)

    async def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        async with self._asking:
            return await asyncio.to_thread(self.probe.existing_offsets, partition, offset)

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        source = self.settings.topics.metrics
        headers = {
            "error_class": b"malformed_message",
            "stage": b"agents.decode",
            "message": str(error).encode()[:1000],
            "source_topic": source.encode(),
            "source_partition": str(partition).encode(),
            "source_offset": str(offset).encode(),
        }
        key = f"{source}-{partition}-{offset}".encode()
        await self._send("dead_letters", [(key, value or b"")], headers=headers)

    async def publish(self, verdicts: list[Verdict]) -> None:
        await self._send("verdicts", [(v.alert_id.encode(), encode(v)) for v in verdicts])

    async def publish_windows(self, windows: list[WindowEvent]) -> None:
        await self._send("windows", [(window_key(w).encode(), encode(w)) for w in windows])
        kept = hours_kept(windows)
        await self._send("days", [(hour_key(self._app_id, w).encode(), encode(w)) for w in kept])

    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        await self._send("corrections", [(c.event_id.encode(), encode(c)) for c in corrections])

    async def publish_days(self, days: list[DayEvent]) -> None:
        await self._send("days", [(day_key(d).encode(), encode(d)) for d in days])

    async def publish_scaling(self, event: ScalingEvent) -> None:
        key = f"scaling:{event.group}:{event.topic}".encode()
        await self._send("metrics", [(key, encode(event))])
        if event.desired_workers != self._desired:
            await self._send("days", [(change_key(self._app_id, event).encode(), encode(event))])
            self._desired = event.desired_workers

    async def send_partials(self, records: Sequence[Record]) -> None:
        await self._send("partials", records, partition=0)

    async def _send(self, name: str, records: Iterable[tuple[bytes, bytes | None]], **more: Any) -> None:
        """Return when the broker has acknowledged all of them. Raises `TimeoutError`: a send waits, too, for a batch
        that does not go out, and what waits without an end is said by nobody."""
        topic = self.topics[name]
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            for future in [await topic.send(key=key, value=value, **more) for key, value in records]:
                await future

    def rebalancing(self) -> bool:
        return bool(self.app.rebalancing)


def brain_of(settings: Settings) -> Brain | None:
    """What decides about workers; None where nothing is to. Raises `ConfigError` for limits that cannot be held."""
    if not settings.scaling.enabled:
        return None
    return Brain(
        aims_of(settings),
        silent_seconds=settings.scaling.silent_seconds,
        worker_texts_per_s=settings.scaling.worker_texts_per_s,
    )


def build(
    settings: Settings, rules: tuple[Rule, ...], ending: contextlib.ExitStack, clock: Clock | None = None
) -> tuple[Any, Runtime, LagSampler]:
    """The Faust app with its agent, timers and routes; `ending` gets what must not outlive the process.

    Raises `ConnectionFailed` when broker or topics are missing, `ConfigError` for settings that contradict each other.
    """
    clock = clock or SystemClock()
    topics = settings.topics
    brain = brain_of(settings)
    try:
        partitions = len(kafka.partitions_of(settings.kafka, topics.metrics))
        replicas = kafka.replicas_to_make(settings.kafka)
    except kafka.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: the topics could not be seen: {kafka.describe_error(error)}"
        ) from None
    if not partitions:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: topic {topics.metrics} does not exist, or this user may not "
            "see it; create the topics with `embedwatch topics create`"
        )
    # Installations older than these topics do not have them.
    newer = (topics.partials, topics.corrections, topics.days)
    kafka.create_topics(settings.kafka, [spec for spec in topics.specs() if spec.name in newer])
    data_dir = ending.enter_context(scratch_folder(settings.agents.data_dir))
    app: Any = faust.App(
        settings.agents.app_id,
        **broker_options(settings),
        store="memory://",
        datadir=str(data_dir),
        topic_partitions=partitions,
        topic_replication_factor=replicas,
        topic_disable_leader=True,
        topic_allow_declare=True,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED_CHUNKS,
        broker_session_timeout=settings.kafka.session_timeout_seconds,
        broker_heartbeat_interval=max(settings.kafka.session_timeout_seconds / 5, 1.0),
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        # Faust's 20 minutes: so long a batch would be tried again, and whoever has more for its partition would wait.
        producer_request_timeout=SEND_TIMEOUT_SECONDS / 2,
        producer_max_request_size=STATE_MAX_BYTES,
        producer_compression_type="lz4",  # a pane in JSON shrinks to a seventh
        timezone=UTC,
        worker_redirect_stdouts=False,
        web_bind=settings.agents.web_host,
        web_host=settings.agents.web_host,
        web_port=settings.agents.web_port,
        web_tables_enabled=False,
    )
    app.transport = ReadCommittedTransport(app.conf.broker, app, loop=app.loop)
    app.transport.source = topics.metrics
    table = app.Table(
        "state", partitions=partitions,
        extra_topic_configs={"max.message.bytes": str(STATE_MAX_BYTES), **in_sync(replicas)},
    )  # fmt: skip
    source = app.topic(topics.metrics, schema=Chunks(), internal=False)
    raw = {"key_type": bytes, "value_type": bytes, "value_serializer": "raw", "key_serializer": "raw"}
    edges = FaustEdges(
        app, table, settings,
        {
            name: app.topic(getattr(topics, name), **raw)
            for name in ("metrics", "verdicts", "windows", "dead_letters", "partials", "corrections", "days")
        },
    )  # fmt: skip
    world = World(
        zone=ZoneInfo(settings.budget.timezone),
        max_scopes=settings.agents.max_scopes,
        lag_group=settings.worker.group,
        lag_topic=topics.texts,
        window_lengths=settings.agents.window_lengths,
        late_grace_seconds=settings.agents.late_grace_seconds,
        gpu_usd_per_hour=settings.pricing.gpu_usd_per_hour,
    )
    world.closer.all_partitions = partitions
    merger = Merger(world, settings.agents.app_id, partitions)
    runtime = Runtime(world, rules, edges, clock, merger, brain)
    partials = Follower(settings.kafka, topics.partials, [0], lambda _, key, value: runtime.take_partial(key, value))
    sampler = LagSampler(settings, clock)

    def owned() -> set[int]:
        return {tp.partition for tp in app.consumer.assignment() if tp.topic == topics.metrics}

    async def catch_up(patience_seconds: float) -> None:
        """Until all is read that other processes, or this one before a restart, have said up to now."""
        marker = uuid.uuid4().hex
        merger.expect(marker)
        deadline = clock.monotonic() + patience_seconds
        try:
            await edges.send_partials([marker_record(settings.agents.app_id, marker)])
            while not merger.reached(marker) and clock.monotonic() < deadline and not app.should_stop:
                await asyncio.sleep(0.02)
        except Exception as error:
            log.warning("topic %s cannot be written: %s", topics.partials, kafka.describe_error(error))
            return
        finally:
            read = merger.reached(marker)
            merger.give_up(marker)
        while read and merger.unpack(clock.now()):
            await asyncio.sleep(0)
        if not read and not app.should_stop:
            log.warning("topic %s was not read in %.0f s; windows may lack the past", topics.partials, patience_seconds)

    followed: list[Any] = []

    @table.on_recover
    async def recovered() -> None:
        if not followed:
            followed.append(app.add_future(partials.run(lambda: bool(app.should_stop))))  # tasks start only later
        # Before anything is counted: the panes of a partition go on where whoever had it before has left off.
        await catch_up(CATCH_UP_SECONDS)
        mine = owned()
        states: dict[int, Mapping[str, Any]] = {}
        histories: dict[int, list[Mapping[str, Any]]] = {}
        try:
            for key, record in table.data.items():
                if is_state(key):
                    states[partition_of(key)] = record
                else:
                    histories.setdefault(partition_of(key), []).append(record)
            runtime.recover(states, mine, histories)
        except ValueError as error:
            runtime.fail(f"the state in topic {table.changelog_topic.get_topic_name()} cannot be used: {error}")
            signal.raise_signal(signal.SIGTERM)  # Faust's own way to stop; `serve` then says why
            return
        if len(mine) < partitions:
            log.info("agents: %d of %d partitions are held here, the rest by other processes", len(mine), partitions)

    @app.agent(source, name="metrics")
    async def count(stream: Any) -> None:
        async for event in stream.noack().events():
            await runtime.consume(event.message.partition, event.value, event)
            await asyncio.sleep(0)  # a queue that is full would be counted without a break

    @app.timer(settings.agents.flush_seconds)
    async def flush() -> None:
        try:
            await runtime.flush()
        except Exception as error:
            log.warning("the state could not be written, trying again: %s", kafka.describe_error(error))

    @app.on_before_shutdown.connect
    async def write_the_rest(*_: Any, **__: Any) -> None:
        # Not needed to be exact: what is not written is replayed. But the next process has the numbers at once.
        try:
            await asyncio.wait_for(runtime.flush(), STOP_FLUSH_SECONDS)
        except Exception as error:
            log.warning("the last state could not be written; its events are replayed: %s", kafka.describe_error(error))

    @app.task
    async def follow_states() -> None:
        while not app.should_stop and not (runtime.recovered and merger.foreign()):
            await asyncio.sleep(0.1)  # alone, nobody else's state is needed; and the topic is made at the recovery
        states = Follower(
            settings.kafka,
            table.changelog_topic.get_topic_name(),
            range(partitions),
            merger.take_state,
            merger.states_ended,
        )
        await states.run(lambda: bool(app.should_stop))

    @app.task
    async def follow() -> None:
        await follow_alerts(settings, runtime.alerts, clock, lambda: bool(app.should_stop))

    @app.task
    async def watch() -> None:
        await watch_alerting(settings, runtime.alerts, clock, lambda: bool(app.should_stop))

    @app.task
    async def tell() -> None:
        while not app.should_stop:
            await asyncio.sleep(TELL_SECONDS)
            if not merger.foreign():
                continue  # nobody listens: with each flush is often enough
            try:
                await runtime.tell()
            except Exception as error:
                log.warning("other processes could not be told, trying again: %s", kafka.describe_error(error))

    @app.task
    async def mend() -> None:
        while not app.should_stop:
            await runtime.wait_for_gap(MEND_SECONDS)
            try:
                await runtime.mend()
            except Exception as error:
                log.warning("a gap could not be closed, trying again: %s", kafka.describe_error(error))
            await asyncio.sleep(0.1)  # with transactions gaps come all the time: one question explains several

    @app.task
    async def evaluate() -> None:
        told = False
        while not app.should_stop:
            if not told and not runtime.unready():
                told = True
                log.info(
                    "agents: ready, %s/ui (/api/v1/summary, /metrics), %d rules, %d partitions",
                    default_url(settings), len(rules), len(runtime.owned),
                )  # fmt: skip
            await runtime.wait_for_news(settings.agents.tick_seconds)
            try:
                await runtime.evaluate()
            except Exception as error:
                log.warning("verdicts could not be published, trying again: %s", kafka.describe_error(error))
            # A burst of events is judged some ten times a second, not once an event; and where there are thousands of
            # verdicts, judging leaves three quarters of the time to counting.
            await asyncio.sleep(min(max(0.05, 3 * runtime.judging_seconds), settings.agents.tick_seconds))

    @app.timer(settings.scaling.interval_seconds)
    async def scale() -> None:
        try:
            await runtime.scale()
        except Exception as error:
            log.warning("a decision could not be published, trying again: %s", kafka.describe_error(error))

    @app.timer(CLOSE_SECONDS)
    async def close_windows() -> None:
        try:
            await runtime.publish_windows()
        except Exception as error:
            log.warning("closed windows could not be published, trying again: %s", kafka.describe_error(error))

    @app.timer(TIDY_SECONDS)
    async def tidy() -> None:
        runtime.tidy()
        # One process samples the queue: the one that holds the first partition.
        sampler.active = 0 in owned()
        if runtime.recovered and not merger.partials_read:
            await catch_up(TIDY_SECONDS / 2)

    add_routes(app.web.web_app.router, runtime, clock, lambda: bool(app.should_stop))
    protect(app.web.web_app, settings.agents, clock)
    return app, runtime, sampler
