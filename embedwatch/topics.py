"""The topics: names, partitions, retention, who writes and who reads. Pure; `kafka.create_topics` acts on it.

Topics are created explicitly, with their partitions, before any stage starts: a broker that auto-creates one does so
with its own partition count, which Faust then refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
#: A text may be up to 4 MiB (`settings.Worker.max_text_bytes`); the broker's own default of 1 MiB would refuse it.
TEXTS_MAX_MESSAGE_BYTES = 8 * 1024 * 1024
#: With so many replicas a message is acknowledged when two have it: one broker can be lost with its disk, and nothing
#: that was acknowledged, and one can be away, and nothing stands still. By Kafka's own default one is enough.
SAFE_REPLICAS, SAFE_IN_SYNC = 3, 2


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic. `partitions=None` means the configured number for texts, vectors and metrics."""

    name: str
    key: str
    value: str
    written_by: str
    cleanup_policy: str
    retention_ms: int | None
    partitions: int | None = None
    max_message_bytes: int | None = None
    segment_ms: int | None = None

    def kept(self) -> str:
        """How long a record is kept, for people."""
        if self.retention_ms is None:
            return "for ever"
        days, hours = self.retention_ms / DAY_MS, self.retention_ms / HOUR_MS
        return f"{days:g} d" if days >= 1 else f"{hours:g} h"

    def config(self, replicas: int = 1) -> dict[str, str]:
        """Topic configuration as Kafka names it, of a topic with so many replicas."""
        out = {"cleanup.policy": self.cleanup_policy, **in_sync(replicas)}
        if self.retention_ms is not None:
            out["retention.ms"] = str(self.retention_ms)
        if self.max_message_bytes is not None:
            out["max.message.bytes"] = str(self.max_message_bytes)
        if self.segment_ms is not None:
            out["segment.ms"] = str(self.segment_ms)
        return out


def in_sync(replicas: int) -> dict[str, str]:
    """What a topic with so many replicas is to have beside them."""
    return {"min.insync.replicas": str(SAFE_IN_SYNC)} if replicas >= SAFE_REPLICAS else {}


def state_topic(app_id: str) -> str:
    """Where the agents of that name keep their state. Faust makes it, and names it so."""
    return f"{app_id}-state-changelog"


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics under one prefix (`embedwatch` by default)."""

    prefix: str = "embedwatch"

    @property
    def texts(self) -> str:
        return f"{self.prefix}.texts"

    @property
    def vectors(self) -> str:
        return f"{self.prefix}.vectors"

    @property
    def metrics(self) -> str:
        return f"{self.prefix}.metrics"

    @property
    def windows(self) -> str:
        return f"{self.prefix}.windows"

    @property
    def partials(self) -> str:
        return f"{self.prefix}.partials"

    @property
    def corrections(self) -> str:
        return f"{self.prefix}.corrections"

    @property
    def days(self) -> str:
        return f"{self.prefix}.days"

    @property
    def verdicts(self) -> str:
        return f"{self.prefix}.verdicts"

    @property
    def alerts(self) -> str:
        return f"{self.prefix}.alerts"

    @property
    def alert_actions(self) -> str:
        return f"{self.prefix}.alert-actions"

    @property
    def silences(self) -> str:
        return f"{self.prefix}.silences"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    def specs(self) -> tuple[TopicSpec, ...]:
        """Every topic, in the order of the flow."""
        return (
            TopicSpec(
                self.texts, "text id", "a text, or a chunk of texts", "producers, anyone", "delete", 7 * DAY_MS,
                max_message_bytes=TEXTS_MAX_MESSAGE_BYTES,
            ),
            TopicSpec(self.vectors, "text id", "a vector, or a chunk of vectors", "workers", "delete", DAY_MS),
            TopicSpec(self.metrics, "scope", "metric events", "workers, SDK, samplers", "delete", 7 * DAY_MS),
            TopicSpec(
                self.windows, "scope, length, start", "a closed window", "stream_agents", "compact,delete", 7 * DAY_MS,
                partitions=1,
            ),
            TopicSpec(
                self.corrections, "event id", "what was booked on a day after its close", "stream_agents",
                "compact,delete", 30 * DAY_MS, partitions=1,
            ),
            # A year and some, so that a month can be compared with the one of the year before.
            TopicSpec(
                self.days, "application|kind|day|...", "a closed day; hours and decisions kept for reports",
                "stream_agents", "compact,delete", 400 * DAY_MS, partitions=1,
            ),
            # As long as the longest window and some. Only a segment that is closed is cleaned up.
            TopicSpec(
                self.partials, "application|partition|pane", "what an agents process has counted", "stream_agents",
                "compact,delete", 2 * HOUR_MS, partitions=1, segment_ms=HOUR_MS // 6,
            ),
            TopicSpec(
                self.verdicts, "alert id", "a rule's judgement", "stream_agents", "delete", 3 * DAY_MS, partitions=1
            ),
            TopicSpec(
                self.alerts, "alert id", "an alert's state and transitions; digests owed", "alerting", "compact", None,
                partitions=1,
            ),
            # One partition each: every alerting process reads all of both, whichever alerts it has.
            TopicSpec(
                self.alert_actions, "alert id", "what a person asked of an alert", "alerting, commands", "delete",
                7 * DAY_MS, partitions=1,
            ),
            TopicSpec(
                self.silences, "silence id", "alerts to be quiet about, and how long", "commands", "compact", None,
                partitions=1,
            ),
            TopicSpec(
                self.dead_letters, "text id", "original bytes", "workers", "delete", 30 * DAY_MS,
                partitions=1, max_message_bytes=TEXTS_MAX_MESSAGE_BYTES,
            ),
        )  # fmt: skip
