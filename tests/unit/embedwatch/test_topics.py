from __future__ import annotations

from embedwatch.topics import DAY_MS, HOUR_MS, TEXTS_MAX_MESSAGE_BYTES, Topics, TopicSpec


def specs(prefix: str = "embedwatch") -> dict[str, TopicSpec]:
    return {spec.name.removeprefix(f"{prefix}."): spec for spec in Topics(prefix).specs()}


def test_the_topics_are_those_of_the_design() -> None:
    kept = {name: (spec.cleanup_policy, spec.retention_ms) for name, spec in specs().items()}
    assert kept == {
        "texts": ("delete", 7 * DAY_MS),
        "vectors": ("delete", DAY_MS),
        "metrics": ("delete", 7 * DAY_MS),
        "windows": ("compact,delete", 7 * DAY_MS),
        "corrections": ("compact,delete", 30 * DAY_MS),
        "days": ("compact,delete", 400 * DAY_MS),
        "partials": ("compact,delete", 2 * HOUR_MS),
        "verdicts": ("delete", 3 * DAY_MS),
        "alerts": ("compact", None),
        "alert-actions": ("delete", 7 * DAY_MS),
        "silences": ("compact", None),
        "dead-letters": ("delete", 30 * DAY_MS),
    }


def test_all_topics_stand_under_the_prefix() -> None:
    topics = Topics("team-a.prod")
    assert all(spec.name.startswith("team-a.prod.") for spec in topics.specs())
    assert topics.dead_letters == "team-a.prod.dead-letters"
    assert len({spec.name for spec in topics.specs()}) == len(topics.specs())


def test_what_passes_texts_takes_large_messages() -> None:
    large = {name for name, spec in specs().items() if spec.max_message_bytes == TEXTS_MAX_MESSAGE_BYTES}
    assert large == {"texts", "dead-letters"}


def test_only_texts_vectors_and_metrics_are_split_as_configured() -> None:
    assert {name for name, spec in specs().items() if spec.partitions is None} == {"texts", "vectors", "metrics"}


def test_a_configuration_holds_only_what_was_set() -> None:
    assert specs()["alerts"].config() == {"cleanup.policy": "compact"}
    assert specs()["texts"].config() == {
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
        "max.message.bytes": "8388608",
    }
    assert specs()["partials"].config()["segment.ms"] == "600000"


def test_how_long_a_record_is_kept_is_told_in_words() -> None:
    assert {specs()[name].kept() for name in ("alerts", "partials", "texts")} == {"for ever", "2 h", "7 d"}
