"""One cycle: decoded messages in, acknowledged vectors, dead letters and events out. The edges are given to it.

Three steps, which may run in three threads, each on another cycle: `prepare` (lookup, tokenise), `embed` (in batches)
and `deliver` (publish, cache write, events). Nothing here commits: a cycle that was delivered is safe to commit, one
that raised must not be.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from embedwatch import codec, wire
from embedwatch.clock import Clock
from embedwatch.errors import EmbedwatchError
from embedwatch.topics import Topics
from workers.backend import Embedder
from workers.batching import TokenBudget, head_that_fits, longest_first
from workers.cache import VectorCache
from workers.cache_entry import cache_key, normalised
from workers.dead_letters import dead_letter
from workers.decode import Message
from workers.failures import SENDERS_MISTAKES, EmbedError, Failure, FailureBudget, classify, failure_of
from workers.meter import Meter
from workers.poll_size import PollSize
from workers.work import HIT, MISS, PENDING, Work

log = logging.getLogger(__name__)

#: Of a key that vectors are keyed with like their texts; beyond it the text's id, which is clipped, is the key.
MAX_KEY_BYTES = 4096
#: A topic takes 1 MiB a message unless told otherwise; a chunk of vectors beyond this goes out as several.
MAX_VECTORS_BYTES = 900_000
#: In such a message beside rows and ids: how long the ids are, and their brackets; the last id has no comma.
_VECTORS_FRAME_BYTES = 4 + 2 - 1


class Publisher(Protocol):
    """Messages out. `send` may buffer; `flush` returns when all since the last one are acknowledged, or raises."""

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> None: ...

    def flush(self) -> None: ...

    def finish(self, offsets: Mapping[tuple[str, int], int], membership: Any) -> bool:
        """After the last message of a cycle: flush, and commit with the offsets where the delivery is exactly once.

        False when the partitions belong to another worker now and nothing of the cycle became visible.
        """


class Abandoned(Exception):
    """A cycle was given up because its time ran out. Nothing of it may be committed; it will be done again."""


class Pipeline:
    """`out_of_time` is asked between batches; once it says so the cycle is abandoned."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        cache: VectorCache,
        publisher: Publisher,
        meter: Meter,
        topics: Topics,
        budget: TokenBudget,
        failures: FailureBudget,
        clock: Clock,
        vector_dtype: str = "float32",
        metrics_key: bytes | None = None,
        out_of_time: Callable[[], bool] = lambda: False,
        poll_size: PollSize | None = None,
    ) -> None:
        self._embedder = embedder
        self._cache = cache
        self._publisher = publisher
        self._meter = meter
        self._topics = topics
        self.budget = budget
        self._failures = failures
        self._clock = clock
        self._dtype = vector_dtype
        self._metrics_key = metrics_key
        self._out_of_time = out_of_time
        #: Told what of each cycle the model has to see.
        self.poll_size = poll_size or PollSize()
        self._fingerprint = embedder.fingerprint.encode()
        #: Seconds, and entries that were not taken, of what was written to the cache last and not told of.
        self._last_write = (0.0, 0)

    def deliver_to(self, publisher: Publisher) -> None:
        """Another way out. No cycle may be inside.

        Cycles whose events did not come out are done again: served from memory, their cost would be told nowhere.
        """
        self._cache.forget()
        self._publisher = publisher

    def begin(self, messages: Sequence[Message], membership: Any = None) -> Work:
        """The cycle of these messages, nothing done yet. `membership` is the group's generation they were read in."""
        work = Work(messages, self._embedder.dims, started=self._clock.monotonic(), started_at=self._clock.now())
        work.membership = membership
        return work

    def run(self, messages: Sequence[Message]) -> Work:
        """All three steps, one after the other."""
        work = self.begin(messages)
        for step in (self.prepare, self.embed, self.deliver):
            step(work)
        return work

    def prepare(self, work: Work) -> None:
        """Look up every text, and tokenise those that the model has to see."""
        if work.cancelled:
            return
        self._look_up(work)
        unique = work.original == np.arange(len(work))
        todo = np.flatnonzero((work.outcome == PENDING) & unique).tolist()
        if todo:
            begun = self._clock.monotonic()
            self._tokenise(work, todo)
            work.tokenise_seconds = self._clock.monotonic() - begun
        self.poll_size.saw(len(work), len(work.payloads))

    def deliver(self, work: Work) -> None:
        """Everything out and acknowledged.

        Raises `FailureBudgetExceeded` before anything of the cycle is published, `DeliveryError` when the broker did
        not acknowledge.
        """
        if work.cancelled:
            return
        self._check_numbers(work)
        work.settle_duplicates()
        ours = Counter(f.error_class for f in work.failures.values() if f.error_class not in SENDERS_MISTAKES)
        worst = ours.most_common(1)[0][0] if ours else ""
        self._failures.add(len(work) - (len(work.failures) - ours.total()), ours.total(), worst)
        self._publish(work)
        self._tell_of_last_write(work)
        for event in self._meter.events(work, self._clock.now()):
            self._publisher.send(self._topics.metrics, key=self._metrics_key, value=codec.encode(event), headers=[])
        if self._publisher.finish(work.offsets(), work.membership):
            work.delivered = True
            self._write_cache(work)
        else:
            work.cancelled = True
            self._cache.forget()  # as above: these texts may come back, here

    def _look_up(self, work: Work) -> None:
        """Find copies within the cycle, then ask the cache once."""
        begun = self._clock.monotonic()
        keys, texts = work.keys, work.texts
        first: dict[bytes, int] = {}
        for index, item in enumerate(work.items):
            if work.outcome[index] != PENDING or item.text is None:
                continue
            texts[index] = normalised(item.text)
            keys[index] = cache_key(self._fingerprint, texts[index])
            work.original[index] = first.setdefault(keys[index], index)
        unique = np.array(list(first.values()), np.intp)
        found = self._cache.lookup(list(first))
        hits = unique[found.entries.index]
        work.outcome[hits] = HIT
        work.vectors[hits] = found.entries.matrix
        work.tokens[hits] = found.entries.tokens
        work.full_tokens[hits] = found.entries.full_tokens
        # Which texts could not be asked for is not told apart: the first ones that missed stand for them.
        work.cache_errors[unique[work.outcome[unique] != HIT][: found.errors]] += 1
        work.cache_lookup_seconds = self._clock.monotonic() - begun

    def embed(self, work: Work) -> None:
        """Batch by batch, longest first. Raises `Abandoned` when out of time."""
        payloads = work.payloads
        if not payloads:
            return
        loop_begun = self._clock.monotonic()
        work.waited_seconds = max(0.0, loop_begun - work.started - work.cache_lookup_seconds - work.tokenise_seconds)
        ready = self._without_those_embedded_meanwhile(work, np.array(sorted(payloads), np.intp))
        groups = deque([ready[longest_first(work.tokens[ready])].tolist()] if ready.size else [])
        while groups:
            if work.cancelled:
                return
            if self._out_of_time():
                raise Abandoned
            group = groups.popleft()
            size = head_that_fits(work.tokens, group, self.budget.tokens)
            batch, rest = group[:size], group[size:]
            if rest:
                groups.appendleft(rest)
            groups.extendleft(reversed(self._embed_batch(work, batch, [payloads[index] for index in batch])))
        payloads.clear()  # the next step has no use for them, and tokens of long texts are large
        fresh = np.flatnonzero(work.outcome == MISS)
        work.entries = self._cache.remember(
            [work.keys[i] for i in fresh.tolist()], work.vectors[fresh], work.tokens[fresh], work.full_tokens[fresh]
        )
        work.embed_loop_seconds = self._clock.monotonic() - loop_begun

    def _without_those_embedded_meanwhile(self, work: Work, ready: Any) -> Any:
        """A text of the cycles before was not in the cache yet when this one was looked up."""
        found = self._cache.recall([work.keys[index] for index in ready.tolist()])
        hits = ready[found.index]
        work.outcome[hits] = HIT
        work.vectors[hits] = found.matrix
        work.tokens[hits] = found.tokens
        work.full_tokens[hits] = found.full_tokens
        return np.delete(ready, found.index)

    def _tokenise(self, work: Work, group: list[int]) -> None:
        """All in one call; when that fails, in halves, until the text that fails alone is found."""
        try:
            encoded = self._embedder.tokenise([work.texts[index] for index in group])
        except Exception as error:
            if len(group) == 1:
                work.fail(group[0], failure_of(error, "tokenise"))
                return
            middle = len(group) // 2
            self._tokenise(work, group[:middle])
            self._tokenise(work, group[middle:])
            return
        work.tokens[group] = encoded.counts
        work.full_tokens[group] = encoded.full_counts
        work.payloads.update(zip(group, encoded.payloads, strict=True))

    def _embed_batch(self, work: Work, batch: list[int], payloads: Sequence[object]) -> list[list[int]]:
        """One forward pass. Returns what is to be tried again, in smaller parts; a text that fails alone is failed."""
        begun = self._clock.monotonic()
        error: Exception | None = None
        try:
            vectors = self._embedder.embed(payloads)
            if vectors.shape != (len(batch), self._embedder.dims):
                raise EmbedError(  # noqa: TRY301  the same way out as any other failure of the batch
                    "bad_response",
                    f"the model gave shape {vectors.shape} for {len(batch)} texts of {self._embedder.dims} dimensions",
                )
        except EmbedwatchError:
            raise  # not the texts' fault: nothing of them may become a dead letter
        except Exception as raised:
            error = raised
        seconds = self._clock.monotonic() - begun
        tokens = work.tokens[batch]
        longest = int(tokens.max())
        weight = np.maximum(tokens, 1)
        work.batch_started[batch] = np.where(work.embed_seconds[batch] > 0, work.batch_started[batch], begun)
        work.embed_seconds[batch] += seconds
        work.embed_share_seconds[batch] += seconds * weight / weight.sum()
        if error is not None:
            return self._failed_batch(work, batch, error, longest * len(batch))
        self.budget.fitted()
        billed = self._embedder.billed_tokens()
        if billed is not None:
            cut = work.full_tokens[batch] - tokens
            work.tokens[batch] = billed
            work.full_tokens[batch] = work.tokens[batch] + cut
        finite: list[bool] = np.logical_and.reduce(np.isfinite(vectors), axis=1).tolist()
        good = [index for index, ok in zip(batch, finite, strict=True) if ok]
        work.vectors[good] = vectors[np.array(finite)]
        work.outcome[good] = MISS
        work.batch[good] = work.batches
        work.padding[good] = longest - tokens[np.array(finite)] if self._embedder.pads else 0
        work.batches += 1
        bad = [index for index, ok in zip(batch, finite, strict=True) if not ok]
        if len(batch) == 1 and bad:
            work.fail(bad[0], Failure("not_finite", "embed", "the model gave NaN or infinity for this text"))
            return []
        # A neighbour's overflow can spoil a row in low precision: each is tried alone before it is given up.
        return [[index] for index in bad]

    def _failed_batch(self, work: Work, batch: list[int], error: Exception, padded: int) -> list[list[int]]:
        if len(batch) == 1:
            work.fail(batch[0], failure_of(error, "embed"))
            return []
        if classify(error) == "out_of_memory":
            self.budget.out_of_memory(padded)
            log.warning("worker: out of memory at %d padded tokens; batches now hold %d", padded, self.budget.tokens)
            return [batch]
        log.warning(
            "worker: a batch of %d texts failed (%s); it is tried again in halves",
            len(batch), failure_of(error, "embed").reason,
        )  # fmt: skip
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]

    def _check_numbers(self, work: Work) -> None:
        """Bring vectors into the form that goes out; what does not fit into it has failed."""
        if self._dtype == "float32":
            return
        with np.errstate(over="ignore"):
            work.vectors = work.vectors.astype(self._dtype)
        for index in np.flatnonzero(~np.isfinite(work.vectors).all(axis=1)).tolist():
            work.fail(index, Failure("not_finite", "embed", f"a number of the vector is too large for {self._dtype}"))

    def _publish(self, work: Work) -> None:
        """Vectors and dead letters out, acknowledged."""
        begun = self._clock.monotonic()
        done = work.embedded()
        for number, message in enumerate(work.messages):
            first, end = int(work.first_of_message[number]), int(work.first_of_message[number + 1])
            indices = first + np.flatnonzero(done[first:end])
            if indices.size:
                self._send_vectors(message, [work.items[i].id for i in indices.tolist()], work.vectors[indices])
        now = self._clock.now()
        for index, failure in work.failures.items():
            message, place = work.place(index)
            event_id = self._meter.event_id_of(work, index)
            letter = dead_letter(
                message, place, failure, worker_model=self._embedder.name, now=now, event_id=event_id
            )  # fmt: skip
            log.warning(
                "worker: text %r gets no vector and becomes a dead letter: %s (%s)",
                work.items[index].id[:200], failure.error_class, failure.stage,
                extra={
                    "event_id": event_id, "topic": message.topic, "partition": message.partition,
                    "offset": message.offset, "reason": failure.error_class,
                },
            )  # fmt: skip
            self._publisher.send(self._topics.dead_letters, key=letter.key, value=letter.value, headers=letter.headers)
        self._publisher.flush()
        work.publish_seconds = self._clock.monotonic() - begun

    def _send_vectors(self, message: Message, ids: list[str], matrix: wire.Vector) -> None:
        """A single text gives a single vector, a chunk a chunk; keyed like the input, so that order is kept."""
        headers = wire.vector_headers(
            dtype=self._dtype, dims=matrix.shape[1], model=self._embedder.name,
            fingerprint=self._embedder.fingerprint, chunk=message.is_chunk,
        )  # fmt: skip
        key = message.key if message.key and len(message.key) <= MAX_KEY_BYTES else _utf8(ids[0])
        if not message.is_chunk:
            self._publisher.send(self._topics.vectors, key=key, value=wire.encode_vector(matrix[0]), headers=headers)
            return
        row_bytes = matrix.shape[1] * matrix.dtype.itemsize
        sizes = [row_bytes + wire.encoded_id_bytes(text_id) for text_id in ids]
        for part in _parts(sizes, MAX_VECTORS_BYTES - _VECTORS_FRAME_BYTES):
            value = wire.encode_vectors(ids[part], matrix[part])
            self._publisher.send(self._topics.vectors, key=key, value=value, headers=headers)

    def _write_cache(self, work: Work) -> None:
        """After what it cost is told: whoever did these texts again would find them there, and pay nothing."""
        begun = self._clock.monotonic()
        refused = self._cache.write(work.entries)
        self._last_write = (self._clock.monotonic() - begun, refused)

    def _tell_of_last_write(self, work: Work) -> None:
        """The events of a cycle are out before its vectors are in the cache: the next one tells how that went."""
        (work.cache_write_seconds, refused), self._last_write = self._last_write, (0.0, 0)
        told = min(refused, len(work))
        work.cache_errors[:told] += 1
        if refused > told and told:
            work.cache_errors[0] += refused - told


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _parts(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Consecutive runs whose sizes add up to at most `most`; one that is larger is alone."""
    first = total = 0
    for index, size in enumerate(sizes):
        if index > first and total + size > most:
            yield slice(first, index)
            first, total = index, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))
