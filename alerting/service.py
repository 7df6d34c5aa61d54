"""The service: verdicts in, states to the `alerts` topic, messages to the receivers.

What is decided is decided in `engine`, in one thread. A cycle is: read verdicts, decide, **store** (with what is owed),
then commit offsets and hand messages to the senders; what a sender reports is stored again. So a crash loses nothing:
what was not stored is decided again from the same verdicts, what was stored and not acknowledged is sent again (at most
one message more than needed for each receiver, none where the message can be edited in place).
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import errors as kafka_errors

from alerting import store
from alerting.actions import Actions
from alerting.calm import Calm
from alerting.digest_time import Schedule
from alerting.engine import Engine, Move
from alerting.heartbeat import Pulse
from alerting.lifecycle import Heard
from alerting.membership import KAFKA_TIMEOUT_MS, Membership, NoMember
from alerting.own_metrics import STUCK_SECONDS, Counts, Told, View
from alerting.ownership import Ownership
from alerting.parcels import Result
from alerting.policy import Policy
from alerting.receivers import Receiver
from alerting.self_watch import SelfWatch
from alerting.sending import Sender
from alerting.silences import Silences
from alerting.still_open import StillOpen
from alerting.store import DeadLetter, dead_letter
from alerting.wording import clean
from embedwatch.clock import Clock
from embedwatch.codec import decode_verdict
from embedwatch.errors import ConnectionFailed, InvalidEvent
from embedwatch.kafka import consumer, describe_error, true_end_offsets
from embedwatch.rebalances import group_heard
from embedwatch.settings import Settings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
POLL_SECONDS = 0.1
#: While a message is being sent its result is waited for, so that the next one goes out soon.
POLL_SENDING_SECONDS = 0.02
COMMIT_SECONDS = 1.0
CATCH_UP_SECONDS = 30.0
RETRY_SECONDS = 1.0


class AlertingService:
    """`run` until `stop` is set. Receivers are used from threads of their own, all else from the one that runs."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        receivers: Iterable[Receiver],
        clock: Clock,
        rng: random.Random,
        calm: Calm | None = None,
        pulse: Pulse | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._pulse = pulse or Pulse(math.inf, 0.0)
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._member = Membership(clock, settings.kafka.session_timeout_seconds)
        term_seconds = self._member.patience.over_after_seconds
        self._senders = {each.name: Sender(each, self._results, rng, clock, term_seconds) for each in receivers}
        traits = {name: sender.receiver.traits for name, sender in self._senders.items()}
        self._engine = Engine(policy, traits, settings.alerts.dashboard_url, calm, schedule)
        self._still_open = StillOpen(sender.receiver for sender in self._senders.values())
        self._store = store.Store(settings)
        self._ownership = Ownership()
        self._watch = SelfWatch(settings.alerts.agents_silent_seconds, clock.monotonic())
        self._actions = Actions(settings)
        self._silences = Silences(settings)
        self._catching_up: dict[Any, int] | None = None
        self._catch_up_deadline = 0.0
        self._listening_since = 0.0
        self._invalid: Counter[str] = Counter()
        self._letters: list[DeadLetter] = []
        self._next_tick = self._next_commit = self._next_save = 0.0
        self._to_commit = False
        self._paused = False
        self._consumer: Any = None
        self._counts = Counts()
        self._stopping = False

    def run(self, stop: threading.Event) -> None:
        """Raises `ConnectionFailed` when the broker is not there at the start, or refuses for good."""
        settings = self._settings
        store.require_topics(settings)
        store.make_topics(settings)
        self._consumer = consumer(
            settings.kafka, "embedwatch-alerts", group=settings.alerts.group, fetch_max_wait_ms=100
        )
        try:
            self._consumer.subscribe([settings.topics.verdicts], listener=self._ownership)
            self._lose()
            while not stop.is_set():
                self._cycle()
            self._stopping = True
            self._drain()
        finally:
            self._close()

    def _cycle(self) -> None:
        records = self._poll()
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._counts.progress = monotonic
        still_seconds = self._member.stood_still_seconds()
        if still_seconds is not None and self._engine.owned:
            line = (
                "alerting: this process stood still for %.0f s: its alerts may be another's by now, they are read again"
            )
            log.warning(line, still_seconds)
            self._ownership.again()
        if self._ownership.changed():
            # What was just read is read again from the committed offset, by whoever has the partition now.
            records = {}
            self._take_over(now, monotonic)
        if self._engine.owned is None:
            return
        if not self._engine.owned:
            self._pulse.stands_by(monotonic)
        self._collect(monotonic)
        self._hear(records, now, monotonic)
        self._watch_ourselves(now, monotonic)
        self._silences.apply(self._engine)
        if not self._paused:
            self._actions.apply(self._engine, now, monotonic)
        if self._catching_up is not None:
            self._catch_up(monotonic, now)
        if self._catching_up is None and monotonic >= self._next_tick:
            self._next_tick = monotonic + TICK_SECONDS
            for move in self._engine.tick(now, monotonic, self._listening_since):
                _tell(move)
        if self._save(monotonic):
            self._pulse.stored(monotonic)
            self._counts.stored = monotonic
            self._commit(monotonic)
            if self._catching_up is None and self._engine.owned is not None:
                self._still_open.tick(self._engine, monotonic, self._settings.alerts.dashboard_url)
                # A digest is stored before anything that comes after it.
                if not self._engine.close_books(now, monotonic) or self._save(monotonic):
                    self._dispatch(monotonic)

    # --- verdicts and time ---

    def _poll(self) -> Mapping[Any, list[Any]]:
        sending = any(sender.in_flight for sender in self._senders.values())
        wait = POLL_SENDING_SECONDS if sending else POLL_SECONDS
        if self._catching_up is not None:
            wait = POLL_SENDING_SECONDS
        try:
            records: Mapping[Any, list[Any]] = self._consumer.poll(timeout_ms=int(wait * 1000))
        except kafka_errors.KafkaError as error:
            if not getattr(error, "retriable", False):
                raise ConnectionFailed(
                    f"Kafka at {self._settings.kafka.bootstrap_servers}: verdicts could not be read: "
                    f"{describe_error(error)}"
                ) from None
            log.warning("alerting: verdicts could not be read: %s; trying again", describe_error(error))
            return {}
        return records

    def _hear(self, records: Mapping[Any, list[Any]], now: float, monotonic: float) -> None:
        for partition, batch in records.items():
            for record in batch:
                self._to_commit = True
                try:
                    verdict = decode_verdict(record.value)
                except InvalidEvent as error:
                    self._keep(record, error)
                    continue
                for listener in (self._pulse, self._watch, self._counts):
                    listener.heard(monotonic, now - record.timestamp / 1000.0)
                move = self._engine.hear(Heard(verdict, partition.partition, record.offset), now, monotonic)
                if move is not None:
                    _tell(move)

    def _watch_ourselves(self, now: float, monotonic: float) -> None:
        """What is wrong with our own way of an alert is an alert, too."""
        owned = self._engine.owned or frozenset()
        if self._catching_up is not None:
            self._watch.begin(monotonic)  # what waited for us is old, and says nothing of how long we take
            return
        failing = {name: sender.trouble(monotonic) for name, sender in self._senders.items()}
        untried = [name for name, sender in self._senders.items() if not sender.tried]
        for heard in self._watch.due(self._engine.states, owned, failing, now, monotonic, untried):
            move = self._engine.hear(heard, now, monotonic)
            if move is not None:
                _tell(move)

    def _keep(self, record: Any, error: InvalidEvent) -> None:
        """A verdict that does not decode is counted, told and kept; it stops nothing."""
        self._invalid[error.reason] += 1
        count = self._invalid[error.reason]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, ...: a flood of them must not become a flood of lines
            place = f"{record.topic}-{record.partition}-{record.offset}"
            line = "alerting: no verdict at %s: %s (kept in dead letters; %d of this kind so far)"
            about = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.error(line, place, clean(str(error), 300), count, extra={**about, "reason": error.reason})
        self._letters.append(dead_letter(record, error, self._clock.now()))

    # --- ownership ---

    def _take_over(self, now: float, monotonic: float) -> None:
        """The group gave us partitions: whoever had them before may have changed their alerts.

        Reading goes on at the committed offsets; verdicts that are seen twice change nothing.
        """
        self._lose()
        if not self._ownership.take():
            return
        assigned = frozenset(self._consumer.assignment())
        try:
            stored = store.load_all(self._settings) if assigned else store.Stored({}, {})
            if assigned:
                self._actions.rewind()
                self._silences.rewind()
            ends = dict(true_end_offsets(self._settings.kafka, assigned))
            self._member.take(self._consumer, assigned)
        except NoMember:
            log.info("alerting: the group gave these alerts to another meanwhile; joining again")
            self._ownership.again()
            return
        except (ConnectionFailed, kafka_errors.KafkaError, ValueError) as error:  # ValueError: taken away meanwhile
            what = str(error) if isinstance(error, ConnectionFailed) else describe_error(error)
            log.error("alerting: alerts could not be taken over: %s; trying again", what)  # noqa: TRY400
            self._ownership.again()
            return
        owned = frozenset(tp.partition for tp in assigned)
        self._store.begin_term(stored.next_term(now))
        dropped = self._engine.load(stored.states, owned, stored.books.values(), now)
        self._engine.recall(self._clock.now(), self._clock.monotonic())
        self._letters.clear()
        self._pause(False)
        if not assigned:
            log.info("alerting: ready, standing by: another process has all alerts")
            return
        self._catching_up = ends
        self._catch_up_deadline = monotonic + CATCH_UP_SECONDS
        self._listening_since = now
        for name, count in dropped.items():
            log.warning("alerting: %d messages owed to %s are dropped: it is not configured any more", count, name)

    def _lose(self) -> None:
        """Nothing is ours until it is taken over."""
        self._engine.release()
        self._member.leave()

    def _ours(self) -> bool:
        """Whether what we have may be stored and sent: so says the group, now or a moment ago."""
        if self._ownership.changed():
            return False
        try:
            self._member.prove(self._consumer)
        except NoMember:
            self._sent_away()
            return False
        except kafka_errors.KafkaError as error:
            self._next_save = self._clock.monotonic() + RETRY_SECONDS
            self._pause(bool(self._engine.unsaved() or self._letters))
            line = "alerting: the group does not say if these alerts are ours: %s; until then nothing is stored or sent"
            log.warning(line, describe_error(error))
            return False
        return True

    def _sent_away(self) -> None:
        log.warning("alerting: the group has given our alerts to another; joining again")
        self._lose()
        self._ownership.again()

    def _catch_up(self, monotonic: float, now: float) -> None:
        """Verdicts that waited for us are read before anything is sent: what is over by now is said in one message."""
        late = monotonic >= self._catch_up_deadline
        try:
            behind = [tp for tp, end in (self._catching_up or {}).items() if self._consumer.position(tp) < end]
        except kafka_errors.KafkaError:
            behind = list(self._catching_up or {})
        read = self._actions.caught_up() and self._silences.caught_up()
        if (behind or not read) and not late:
            return
        if behind:
            log.warning("alerting: still behind after %.0f s; going on while reading the rest", CATCH_UP_SECONDS)
        self._catching_up = None
        self._listening_since = now
        self._next_tick = 0.0  # before anything is sent: what a silence takes back is not
        known = self._engine.known()
        told = ", ".join(f"{name} ({sender.receiver.address})" for name, sender in self._senders.items())
        line = "alerting: ready, %d alerts known (%d firing), %d messages owed, told: %s"
        log.info(line, known.alerts, known.active, known.owed, told)

    # --- storing ---

    def _save(self, monotonic: float) -> bool:
        """False while something is not stored: then nothing is committed and nothing sent."""
        unsaved, books = self._engine.unsaved(), self._engine.unsaved_books()
        if not unsaved and not books and not self._letters:
            return True
        if monotonic < self._next_save or not self._ours():
            return False
        try:
            self._store.save(unsaved, self._letters, books)
        except ConnectionFailed as error:
            self._next_save = self._clock.monotonic() + RETRY_SECONDS
            self._pause(True)
            log.error("alerting: %s; nothing is sent until it is, trying again", error)  # noqa: TRY400
            return False
        self._pause(False)
        self._engine.saved(monotonic)
        self._letters = []
        return True

    def _pause(self, wanted: bool) -> None:
        """No more verdicts are taken while the last ones cannot be stored: memory stays bounded."""
        if wanted != self._paused:
            act = self._consumer.pause if wanted else self._consumer.resume
            for tp in self._consumer.assignment():
                with contextlib.suppress(KeyError):  # taken away meanwhile
                    act(tp)
            self._paused = wanted

    def _commit(self, monotonic: float) -> None:
        if not self._to_commit or monotonic < self._next_commit:
            return
        self._next_commit = monotonic + COMMIT_SECONDS
        try:
            self._member.commit(self._consumer)
            self._counts.commits += 1
            self._to_commit = False
        except NoMember:
            self._sent_away()
        except kafka_errors.KafkaError as error:
            # Verdicts that are read again change nothing: each alert knows the last one it has seen.
            log.warning("alerting: offsets not committed: %s; trying again", describe_error(error))

    # --- sending ---

    def _collect(self, monotonic: float) -> None:
        while True:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return
            job = result.job
            wait = self._senders[job.receiver].settle(result, monotonic)
            if self._engine.settle(result, monotonic, wait) and result.failure is None:
                what = job.parcel.message.kind
                for alert_id, _ in job.entries[1:]:  # of several in one message, a line each for who looks one up
                    log.debug("%s: told of %s", job.receiver, clean(alert_id, 200), extra={"alert_id": alert_id})
                about = {"alert_id": job.entries[0][0]}
                log.info("%s: told of %s (%s)", job.receiver, clean(job.about, 200), what, extra=about)

    def _dispatch(self, monotonic: float) -> None:
        ready = {name: sender for name, sender in self._senders.items() if sender.ready(monotonic)}
        if not ready or not self._engine.owed() or monotonic < self._next_save or not self._ours():
            return
        for name, sender in ready.items():
            if (job := self._engine.next_job(name, monotonic)) is not None:
                sender.offer(job, self._member.term)

    # --- the end ---

    def _drain(self) -> None:
        """Finish what is being sent, and send what is owed and may go out, within the deadline."""
        deadline = self._clock.monotonic() + self._settings.alerts.drain_seconds
        while self._engine.owned is not None and self._catching_up is None:
            monotonic = self._clock.monotonic()
            self._collect(monotonic)
            if self._save(monotonic):
                self._dispatch(monotonic)
            # What is not stored yet may be a bundle that can go out then.
            unsaved = self._engine.unsaved() or self._engine.unsaved_books()
            if monotonic >= deadline or not (unsaved or self._busy(monotonic)):
                break
            self._poll_group()
        if self._engine.owned is not None and self._save(self._clock.monotonic()):
            self._next_commit = 0.0
            self._commit(self._clock.monotonic())
        owed = self._engine.owed()
        log.info("alerting: stopping, %d messages owed%s", owed, ": the next start sends them" if owed else "")

    def _busy(self, monotonic: float) -> bool:
        senders = self._senders.values()
        waiting = self._engine.owed() > 0 and any(sender.waits_its_turn(monotonic) for sender in senders)
        return waiting or any(sender.in_flight for sender in senders)

    def _poll_group(self) -> None:
        """Stay in the group while waiting, without taking more verdicts."""
        self._pause(True)
        self._poll()

    # --- for whoever asks how it is ---

    def view(self) -> View:
        """From any thread: each value is read once, and a collection is copied in one step."""
        monotonic, counts, client, term = self._clock.monotonic(), self._counts, self._consumer, self._member.term
        heard = (counts.last_verdict, term.monotonic if term else None, group_heard(client) if client else None)
        owned = self._engine.owned
        return View(
            owned=owned,
            reads_backlog=self._catching_up is not None,
            stopping=self._stopping,
            verdicts=counts.verdicts,
            commits=counts.commits,
            invalid=dict(self._invalid),
            states=list(self._engine.states.values()) if owned else (),
            receivers=[_told(sender, monotonic) for sender in self._senders.values()],
            verdict_seconds_ago=None if counts.last_verdict is None else monotonic - counts.last_verdict,
            behind_seconds=counts.behind_seconds,
            # While nothing is its own there is nothing to store.
            unsaved_seconds=monotonic - counts.stored if owned and counts.stored is not None else 0.0,
            broker_heard_seconds_ago=min((monotonic - at for at in heard if at is not None), default=None),
            progress_seconds_ago=None if counts.progress is None else monotonic - counts.progress,
            stuck_after_seconds=STUCK_SECONDS + self._settings.alerts.drain_seconds,
        )

    def _close(self) -> None:
        for sender in self._senders.values():
            sender.close(0.2)
        try:
            self._consumer.close(autocommit=False, timeout_ms=KAFKA_TIMEOUT_MS)
        except kafka_errors.KafkaError as error:
            log.warning("alerting: the group could not be left: %s", describe_error(error))
        self._actions.close()
        self._silences.close()
        self._store.close()


def _told(sender: Sender, monotonic: float) -> Told:
    trouble = sender.trouble(monotonic)
    return Told(sender.name, sender.sent, sender.failures, trouble.seconds if trouble else None, sender.last_sent)


def _tell(move: Move) -> None:
    about = {"alert_id": move.alert_id, "reason": move.reason}
    log.info("alert %s: %s -> %s (%s)", clean(move.alert_id, 200), move.was, move.status, move.reason, extra=about)
