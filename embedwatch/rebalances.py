"""Remedies for kafka-python 3.0.12, whose consumer does not finish every rebalance that it begins.

A rebalance takes several answers of the broker, and one `poll` is often over before them: ours look without waiting
while they have work. What was seen in the contract tests, on Apache Kafka 4.1:

* New metadata (a topic seen for the first time, partitions added) makes the group's leader join again, and its reason
  is gone as soon as it has shared out the partitions. The poll after that does not wait for the group's answer any
  more: no partitions, no heartbeats, no error, for ever. Apache Kafka's client had this too (KAFKA-9815).
* An answer that arrives between two polls is thrown away, and the group made to share out anew. Two members can do
  that to each other for ever.
* A partition that a member gives up and is given again keeps its position. What had been read from it and not committed
  is then read by nobody: lost, for whoever drops it at the revocation, as one must. Apache Kafka's client starts anew
  from what is committed.
* A question for committed offsets whose answer no poll has waited for is kept, by the partitions that it names. Who is
  given the same ones again is told what was committed before, and does once more what others did meanwhile.
"""

from __future__ import annotations

import math
from typing import Any

from kafka import KafkaConsumer


def finish_every_rebalance(client: KafkaConsumer) -> None:
    """Mend one consumer of a group, before its first `poll`. Touches what kafka-python does not publish."""
    coordinator = client._coordinator
    _keep_the_reason(coordinator)
    _keep_the_answer(coordinator)
    _go_on_from_what_is_committed(coordinator)


def _keep_the_reason(coordinator: Any) -> None:
    need_rejoin = coordinator.need_rejoin

    def need_rejoin_until_joined() -> bool:
        needed: bool = need_rejoin()
        if needed:
            coordinator.request_rejoin()
        return needed

    coordinator.need_rejoin = need_rejoin_until_joined


def _keep_the_answer(coordinator: Any) -> None:
    join_and_sync, complete = coordinator._do_join_and_sync_async, coordinator._on_join_complete_async
    #: Generation and assignment that no poll has taken up yet; at most one.
    unseen: list[tuple[Any, bytes]] = []

    async def join_unless_answered() -> bytes:
        # Of another generation: the member was sent away since, and has to join again. If it was sent away and does
        # not know yet, its next heartbeat tells it.
        if not (unseen and unseen[0][0] == coordinator._generation):
            answer: bytes = await join_and_sync()
            unseen[:] = [(coordinator._generation, answer)]
        return unseen[0][1]

    async def complete_and_forget(*arguments: Any) -> None:
        unseen.clear()
        await complete(*arguments)

    coordinator._do_join_and_sync_async = join_unless_answered
    coordinator._on_join_complete_async = complete_and_forget


def _go_on_from_what_is_committed(coordinator: Any) -> None:
    prepare = coordinator._on_join_prepare_async

    async def prepare_and_forget(*arguments: Any, **named: Any) -> None:
        try:
            await prepare(*arguments, **named)
        finally:
            coordinator._subscription.assign_from_subscribed([])
            coordinator._offset_fetch_futures.clear()

    coordinator._on_join_prepare_async = prepare_and_forget


def serve_group(client: KafkaConsumer, timeout_seconds: float) -> None:
    """Do a member's duty without taking records: join where a rebalance waits, and count as alive.

    What `pause`, `poll` and `resume` are for. But what kafka-python 3.0.12 had fetched of a partition when it was
    paused it may never hand out after the resume, nor fetch again: a partition that stands still without an error.
    """
    client._coordinator.poll(timeout_ms=timeout_seconds * 1000)


def group_heard(client: KafkaConsumer) -> float | None:
    """When the group's coordinator last answered a heartbeat, in seconds of `time.monotonic`; None: not yet.

    From any thread. kafka-python's own numbers tell only when a heartbeat was sent.
    """
    coordinator = client._coordinator
    at: float = coordinator.heartbeat.last_receive if coordinator is not None else -math.inf
    return at if math.isfinite(at) else None


def rebalance_due(client: KafkaConsumer) -> bool:
    """The group is about to share out its partitions anew: the next `poll` gives up this member's."""
    due: bool = client._coordinator.need_rejoin()
    return due
