"""What becomes of an event that Kafka refused, and what to do about it, in words. Pure; errors are known by name.

An event is kept where somebody can mend what it was refused for (a right, a topic), and dropped where it would be
refused for ever, or where it may have arrived: sent once more it could count money twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Why an event is not where it should be: what `KafkaSink.dropped` counts by.
Reason = Literal["away", "not_allowed", "no_topic", "refused", "too_large", "invalid", "uncertain", "queue_full"]

_TOO_LARGE = frozenset({"MessageSizeTooLargeError", "RecordListTooLargeError"})
_INVALID = frozenset({"InvalidRecordError", "InvalidTimestampError", "UnsupportedForMessageFormatError"})
_UNCERTAIN = frozenset({"KafkaTimeoutError", "IllegalStateError"})
_NO_TOPIC = frozenset({"UnknownTopicOrPartitionError", "InvalidTopicError"})
#: By the error's name; for the others of `AuthorizationError` the first.
_RIGHTS = {
    "TopicAuthorizationFailedError": "this user may not write to topic {topic}: grant it the right WRITE on it",
    "ClusterAuthorizationFailedError": (
        "this user may not write as an idempotent producer: brokers before 2.8 want the right IDEMPOTENT_WRITE on the "
        "cluster, newer ones the right WRITE on topic {topic}"
    ),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`keep`: the event waits, and is sent again."""

    reason: Reason
    keep: bool
    words: str


def refusal_of(error: BaseException, topic: str) -> Refusal:
    """Of what a producer's record failed with."""
    names = [kind.__name__ for kind in type(error).__mro__]
    name = names[0]
    if name in _UNCERTAIN:
        return Refusal("uncertain", False, "no answer came in time; what was sent may have arrived")
    if name in _TOO_LARGE:
        return Refusal(
            "too_large", False,
            f"an event is larger than topic {topic} allows: raise its max.message.bytes (an event has a few KiB)",
        )  # fmt: skip
    if "AuthorizationError" in names:
        words = _RIGHTS.get(name, _RIGHTS["TopicAuthorizationFailedError"])
        return Refusal("not_allowed", True, words.format(topic=topic))
    if name in _NO_TOPIC:
        return Refusal("no_topic", True, no_topic(topic))
    if name in _INVALID or "KafkaError" not in names:
        return Refusal("invalid", False, f"an event cannot be written to topic {topic} ({name})")
    return Refusal("refused", True, f"the broker refused to write to topic {topic} ({name})")


def no_topic(topic: str) -> str:
    """For who has no right to create it."""
    return (
        f"there is no topic {topic} that this user may see, and it may not create it: run `embedwatch topics create` "
        "as a user that may, or grant this one the right CREATE, or WRITE if the topic is there"
    )
