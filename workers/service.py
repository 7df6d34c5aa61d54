"""The worker process: opens the edges, loads the model, runs cycles until asked to stop, and closes in order."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from embedwatch import kafka
from embedwatch.clock import Clock, SystemClock
from embedwatch.errors import ConnectionFailed, DeliveryError
from embedwatch.logs import keep_kafka_quiet
from embedwatch.pricing import PriceBook
from embedwatch.settings import Settings, redact_url
from embedwatch.stage_endpoint import serving
from workers import loading, own_metrics
from workers.backend import Embedder
from workers.backends.model_files import display_name
from workers.batching import TokenBudget
from workers.broker_watch import BrokerWatch
from workers.cache import RedisStore, StoreError, VectorCache
from workers.decode import Decoder
from workers.drill import SlowPhase
from workers.failures import FailureBudget
from workers.flow import CYCLES_AT_ONCE, Flow
from workers.gpu import probe_for
from workers.intake import Intake
from workers.line import Line
from workers.meter import Identity, Meter
from workers.own_metrics import Counts
from workers.own_view import Parts, view
from workers.pipeline import Abandoned, Pipeline
from workers.poll_size import PollSize
from workers.publisher import KafkaPublisher
from workers.stopping import Stop, StoppedEarly
from workers.telemetry import Status, Telemetry
from workers.transactions import Fenced, TransactionalPublisher, refuse_without_isolation
from workers.tuning import tuned_budget
from workers.work import Work

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
#: A cycle may take minutes on a large model and a slow machine; the group's heartbeats go on in kafka-python's thread.
MAX_POLL_INTERVAL_MS = 600_000
#: A (re)balance of the group takes a few seconds. A worker that waits for its partitions is not idle until then.
JOIN_GRACE_SECONDS = 30.0
CLOSE_SECONDS = 5.0
#: With transactions: how often in a row, without a cycle committed in between, connections are made anew.
MAX_NEW_CONNECTIONS = 3
RECONNECT_SECONDS = 1.0


def run(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, `max_texts` or `idle_exit_seconds`.

    Raises `ConnectionFailed`, `ModelError`, `ConfigError`, `DeliveryError` or `FailureBudgetExceeded`; whatever was
    not acknowledged is not committed.
    """
    keep_kafka_quiet()
    clock = SystemClock()
    stop = Stop(settings.worker.drain_seconds, clock)
    with stop.on_signals(), contextlib.ExitStack() as edges:
        worker = _Worker(settings, clock, stop, edges)
        try:
            worker.run()
        except StoppedEarly:
            log.info("worker: stopped before it began")
        # Only a clean end is announced. After an error the heartbeats just end, and the worker counts as down.
        worker.status.state = "stopping"


class _Worker:
    """One run. `edges` closes what was opened, last first."""

    def __init__(self, settings: Settings, clock: Clock, stop: Stop, edges: contextlib.ExitStack) -> None:
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._edges = edges
        #: Publisher and consumer: closed before the rest, and also where they are made anew.
        self._connections = contextlib.ExitStack()
        self._where = settings.kafka.bootstrap_servers
        self._identity = Identity(settings.worker.name or f"{socket.gethostname()}-{os.getpid()}")
        self.status = Status()
        self._given_up = False
        self._counts = Counts()
        self._line_ended = True
        self._attempts_left = MAX_NEW_CONNECTIONS
        self._failing_since: float | None = None
        self._poll_size = PollSize()
        self._broker = BrokerWatch(
            where=self._where,
            heartbeat_seconds=settings.worker.heartbeat_seconds,
            retry_seconds=settings.worker.broker_retry_seconds,
            clock=clock,
        )
        self._parts = Parts(settings.worker, clock, stop, self.status, self._broker, self._counts)

    def run(self) -> None:
        settings, worker = self._settings, self._settings.worker
        # Before all else, and so closed after it: whether it starts, and whether it stops, is asked, too.
        self._edges.enter_context(
            serving(worker, "worker", own_metrics.FAMILIES, lambda: own_metrics.look(view(self._parts)))
        )
        created = [topic for topic, state in self._create_topics().items() if state == "created"]
        if created:
            log.info("worker: created topics %s", ", ".join(created))
        if worker.delivery == "exactly_once":
            refuse_without_isolation(settings.kafka)
        self._edges.callback(self._connections.close)
        publisher = self._open_publisher()
        telemetry = self._start_telemetry()
        embedder = self._load_model()
        telemetry.probe = probe_for(embedder.device, embedder.gpu_uuids)
        store = self._open_cache(telemetry)
        book = PriceBook(settings.pricing.usd_per_million_tokens, settings.pricing.gpu_usd_per_hour)
        price = book.quote(embedder.name, local=embedder.local)
        self._parts.embedder = embedder
        drill = self._drill(embedder)
        meter = Meter(
            self._identity, model=embedder.name, token_method=embedder.token_method, price=price, local=embedder.local
        )
        telemetry.meter = self._parts.meter = meter
        pipeline = Pipeline(
            embedder=drill or embedder,
            cache=VectorCache(
                store,
                local_max_bytes=settings.cache.local_max_bytes,
                dims=embedder.dims,
                clock=self._clock,
            ),
            publisher=publisher,
            meter=meter,
            topics=settings.topics,
            budget=TokenBudget(worker.token_budget or tuned_budget(embedder, self._clock.monotonic)),
            failures=FailureBudget(worker.failure_budget_pct, worker.failure_budget_min_texts),
            clock=self._clock,
            vector_dtype=worker.vector_dtype,
            metrics_key=self._identity.worker.encode(),
            out_of_time=lambda: self._given_up or self._stop.out_of_time(),
            poll_size=self._poll_size,
        )
        # From here on a signal lets the cycle finish instead of breaking off.
        self._stop.in_flight = True
        if self._stop.requested:
            return
        self._edges.callback(self._connections.close)  # before all else: others take over what is left
        intake = self._open_intake({embedder.name, worker.model})
        self.status.state, self.status.batch_budget_tokens = "running", pipeline.budget.tokens
        log.info(
            "worker: ready, model %s, device %s, %d dims, price %s",
            embedder.name, embedder.device, embedder.dims, price.describe(),
        )  # fmt: skip
        try:
            while True:
                try:
                    self._loop(intake, pipeline, meter, drill.tick if drill else lambda: False)
                    break
                except DeliveryError as error:
                    if not self._may_connect_anew(error):
                        raise
                    log.warning("worker: %s; trying that with new connections", error)
                intake = self._connect_anew(pipeline, {embedder.name, worker.model})
        finally:
            log.info(
                "worker: stops after %d texts (%d from cache, %d copies, %d failed), %d tokens embedded",
                meter.texts, meter.cache_hits, meter.duplicates, meter.errors.total(), meter.tokens_embedded,
            )  # fmt: skip

    def _may_connect_anew(self, error: DeliveryError) -> bool:
        """Whether these texts can be done again in this process, as a new start would.

        With transactions alone: after a broker was lost kafka-python's producer was seen to hear no answer any more,
        and what is open ends where a new one takes its id, so nothing comes twice. As often as there is time for it,
        for a broker may be lost for longer than a transaction lasts.
        """
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        again = (
            self._settings.worker.delivery == "exactly_once"
            and not isinstance(error, Fenced)
            and self._line_ended
            and not self._stop.requested
            and (self._attempts_left > 0 or not self._out_of_patience())
        )
        self._attempts_left -= again
        self._counts.reconnections += again
        return again

    def _out_of_patience(self) -> bool:
        patience_seconds = self._settings.worker.broker_retry_seconds
        return self._failing_since is not None and self._clock.monotonic() - self._failing_since >= patience_seconds

    def _connect_anew(self, pipeline: Pipeline, models: set[str]) -> Intake:
        """Raises `ConnectionFailed` when the broker stays away."""
        while True:
            self._connections.close()
            self._given_up = False
            try:
                pipeline.deliver_to(self._open_publisher())  # ends the transaction that is open
                return self._open_intake(models)
            except ConnectionFailed as error:
                if self._stop.requested or self._out_of_patience():
                    raise
                log.warning("worker: %s; trying again", error)
                self._stop.sleep(RECONNECT_SECONDS)

    def _loop(self, intake: Intake, pipeline: Pipeline, meter: Meter, tick: Callable[[], bool]) -> None:
        worker, stop, status = self._settings.worker, self._stop, self.status
        line = Line(
            (("prepare", pipeline.prepare), ("embed", pipeline.embed), ("deliver", pipeline.deliver)),
            limit=CYCLES_AT_ONCE,
        )
        tell, counts = _Progress(meter, self._clock), self._counts
        before = counts.finished_texts

        def finished(work: Work) -> None:
            self._broker.seen()
            counts.finished_cycles += 1
            counts.finished_messages += len(work.messages)
            counts.finished_texts += len(work)
            counts.dead_letters += len(work.failures)
            counts.last_finished = self._clock.now()
            self._attempts_left, self._failing_since = MAX_NEW_CONNECTIONS, None
            tell()

        flow = Flow(
            intake, line, begin=pipeline.begin, finished=finished, clock=self._clock,
            commits=worker.delivery == "at_least_once",
            # What is taken after the first cycle depends on how much of it was known.
            ready=lambda: self._poll_size.model_share is not None,
            counts=counts,
        )  # fmt: skip
        idle = _Idle(worker.idle_exit_seconds, intake, flow, self._broker, self._clock)
        try:
            while not stop.requested:
                status.progress = self._clock.monotonic()
                self._broker.check()
                tick()
                flow.step()
                status.queued_texts, status.in_flight_texts = intake.pending_texts, flow.inside_texts
                status.batch_budget_tokens = pipeline.budget.tokens
                if worker.max_texts is not None and before + flow.taken_texts >= worker.max_texts:
                    log.info("worker: %d texts taken, as asked", before + flow.taken_texts)
                    break
                if idle():
                    log.info("worker: no new text for %g s", worker.idle_exit_seconds)
                    break
            flow.drain(stop.out_of_time)
        except Abandoned:
            pass  # said below, like a step that did not end in time
        finally:
            if stop.out_of_time() and flow.inside_texts:
                log.warning(
                    "worker: %d texts in flight given up after %g s; they will be done again",
                    flow.inside_texts, worker.drain_seconds,
                )  # fmt: skip
            status.in_flight_texts, status.progress = 0, None
            self._given_up = True  # what is in a step still, after an error say, ends at its next batch
            self._line_ended = line.close(CLOSE_SECONDS)

    def _create_topics(self) -> dict[str, str]:
        return kafka.create_topics(self._settings.kafka, self._settings.topics.specs())

    def _producer(self, client_id: str, **more: Any) -> Any:
        seconds = self._settings.worker.broker_retry_seconds
        return kafka.producer(
            self._settings.kafka,
            client_id,
            delivery_timeout_ms=int(seconds * 1000),
            request_timeout_ms=int(min(15.0, seconds / 2) * 1000),
            **more,
        )

    def _open_publisher(self) -> KafkaPublisher:
        worker, client_id = self._settings.worker, f"{self._identity.worker}-vectors"
        timeout_seconds = worker.broker_retry_seconds + 1.0
        # The first message to a topic waits for its partitions: as long as any other may wait for a lost broker.
        patience_seconds = worker.broker_retry_seconds
        if self._failing_since is not None:  # a new try comes after it, and may find who leads by then
            patience_seconds = min(patience_seconds, worker.transaction_timeout_seconds)
        patience: dict[str, Any] = {"max_block_ms": int(patience_seconds * 1000)}
        if worker.delivery == "exactly_once":
            producer = self._producer(
                client_id,
                transactional_id=f"{self._settings.kafka.topic_prefix}.{worker.group}.{self._identity.worker}",
                transaction_timeout_ms=int(worker.transaction_timeout_seconds * 1000),
                **patience,
            )
            # The broker has ended a transaction by then: no answer can come that is worth waiting for.
            timeout_seconds = min(timeout_seconds, worker.transaction_timeout_seconds)
            self._close_at_end(lambda seconds: kafka.close_producer(producer, seconds), self._connections)
            publisher: KafkaPublisher = TransactionalPublisher(
                producer, where=self._where, timeout_seconds=timeout_seconds,
                transaction_seconds=worker.transaction_timeout_seconds, monotonic=self._clock.monotonic,
            )  # fmt: skip
        else:
            publisher = KafkaPublisher(
                self._producer(client_id, **patience), where=self._where, timeout_seconds=timeout_seconds
            )
        self._close_at_end(publisher.close, self._connections)
        self._parts.publish_with(publisher)
        return publisher

    def _start_telemetry(self) -> Telemetry:
        producer = self._producer(f"{self._identity.worker}-telemetry")
        self._close_at_end(lambda seconds: kafka.close_producer(producer, seconds))
        topic, key = self._settings.topics.metrics, self._identity.worker.encode()

        telemetry = Telemetry(
            identity=self._identity,
            model=display_name(self._settings.worker.model),
            status=self.status,
            send=lambda event: producer.send(topic, key=key, value=event).add_callback(lambda _: self._broker.seen()),
            heartbeat_seconds=self._settings.worker.heartbeat_seconds,
            cache_seconds=self._settings.cache.sample_seconds,
            clock=self._clock,
        )
        telemetry.start()
        self._edges.callback(telemetry.stop)
        return telemetry

    def _load_model(self) -> Embedder:
        worker = self._settings.worker
        log.info("loading model %s ...", worker.model)
        begun = self._clock.monotonic()
        embedder = loading.load(worker)
        self._edges.callback(embedder.close)
        self.status.model_load_seconds = self._clock.monotonic() - begun
        log.info("model ready in %.1f s", self.status.model_load_seconds)
        return embedder

    def _open_cache(self, telemetry: Telemetry) -> RedisStore | None:
        url = self._settings.cache.url
        if url is None:
            return None
        store = RedisStore(self._settings.cache)
        self._edges.callback(store.close)
        try:
            store.stats()
            log.info("cache: %s", redact_url(url.get_secret_value()))
        except StoreError as error:
            log.warning("cache: %s; texts are embedded without it until it answers", error)
        telemetry.store = store
        return store

    def _drill(self, embedder: Embedder) -> SlowPhase | None:
        worker = self._settings.worker
        if worker.drill_slow_after_seconds is None:
            return None
        return SlowPhase(
            embedder,
            after_seconds=worker.drill_slow_after_seconds,
            for_seconds=worker.drill_slow_for_seconds,
            delay_seconds=worker.drill_slow_delay_ms / 1000,
            clock=self._clock,
            sleep=self._stop.sleep,
        )

    def _open_intake(self, models: set[str]) -> Intake:
        worker = self._settings.worker
        consumer = kafka.consumer(
            self._settings.kafka,
            self._identity.worker,
            group=worker.group,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        )
        intake = Intake(
            consumer,
            self._settings.topics.texts,
            Decoder(models, worker.max_text_bytes, self._clock.monotonic),
            max_texts=worker.max_poll_texts,
            max_messages=worker.max_poll_messages,
            max_wait_seconds=worker.max_wait_ms / 1000,
            commit_timeout_seconds=worker.broker_retry_seconds,
            clock=self._clock,
            where=self._where,
            growth=lambda: self._poll_size.factor,
        )
        self._close_at_end(intake.close, self._connections)
        self._parts.intake = intake
        return intake

    def _close_at_end(self, close: Callable[[float], None], edges: contextlib.ExitStack | None = None) -> None:
        """Closing is bounded, and a failure to close hides neither the error before it nor a clean end."""

        def closing() -> None:
            try:
                close(CLOSE_SECONDS)
            except Exception as error:
                log.warning("worker: while closing: %s", kafka.describe_error(error))

        (self._edges if edges is None else edges).callback(closing)


class _Progress:
    """A line of progress now and then."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._last = clock.monotonic()
        self._texts = 0

    def __call__(self) -> None:
        meter, now = self._meter, self._clock.monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return
        log.info(
            "worker: %d texts, %.0f texts/s, %d from cache, %d failed",
            meter.texts, (meter.texts - self._texts) / (now - self._last), meter.cache_hits, meter.errors.total(),
        )  # fmt: skip
        self._last, self._texts = now, meter.texts


class _Idle:
    """Whether there has been nothing to do for so long. A worker that waits for its partitions is not idle yet."""

    def __init__(self, seconds: float | None, intake: Intake, flow: Flow, broker: BrokerWatch, clock: Clock) -> None:
        self._seconds = seconds
        self._intake = intake
        self._flow = flow
        self._broker = broker
        self._clock = clock
        self._held = self._since = clock.monotonic()

    def __call__(self) -> bool:
        now = self._clock.monotonic()
        if not self._broker.answers:
            self._since = now  # whether there are new texts is not known
        if self._intake.holds_partitions():
            self._held = now
        elif now - self._held < JOIN_GRACE_SECONDS:
            self._since = now
        return self._seconds is not None and now - max(self._since, self._flow.last_busy) >= self._seconds
