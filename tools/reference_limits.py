"""The page of hard limits: each with the constant or setting it stands in, and the test of what happens at it.

A number comes from the code, and tests/unit/tools/test_limits.py holds every test that is named here to the tests.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedwatch.settings import Settings


@dataclass(frozen=True, slots=True)
class Limit:
    """`where` is `module:CONSTANT` or `setting:section.name` (its default); `test` is `file::test`, and so is `also`,
    where a limit holds in two places."""

    of: str
    where: str
    then: str
    test: str
    bytes: bool = False
    also: str = ""


UNIT = "tests/unit"
LIMITS: tuple[tuple[str, tuple[Limit, ...]], ...] = (
    ("Texts and messages", (
        Limit("bytes of a text", "setting:worker.max_text_bytes", "one above it is a dead letter (`text_too_large`); `produce` stops at it, or leaves it out and lists it", f"{UNIT}/workers/test_decode.py::test_a_single_text_is_judged", True, f"{UNIT}/producers/test_run.py::test_produce_takes_a_text_at_the_limit_and_stops_at_one_byte_more"),
        Limit("bytes of a message of texts", "embedwatch.topics:TEXTS_MAX_MESSAGE_BYTES", "the producer's Kafka client refuses a larger one, key and framing counted, before it is sent", f"{UNIT}/producers/test_publish.py::test_a_message_at_the_limit_is_taken_and_the_client_refuses_one_byte_more", True),
        Limit("bytes of a line of JSON Lines", "producers.readers.jsonl:MAX_LINE_BYTES", "`produce` stops at it, or leaves it out and lists it", f"{UNIT}/producers/test_jsonl.py::test_a_line_at_the_limit_is_read_and_one_byte_more_is_told_as_a_line", True),
        Limit("bytes of a line of CSV", "producers.readers.delimited:MAX_LINE_BYTES", "`produce` ends there, after all before it was sent", f"{UNIT}/producers/test_delimited.py::test_a_line_at_the_limit_is_read_and_one_byte_more_is_refused", True),
        Limit("characters of a cell of CSV", "producers.readers.delimited:MAX_CELL_CHARS", "the same", f"{UNIT}/producers/test_delimited.py::test_a_cell_at_the_limit_is_read_and_one_character_more_is_refused"),
        Limit("texts that a producer packs into a chunk", "embedwatch.wire:MAX_CHUNK_TEXTS", "the next text begins another chunk", f"{UNIT}/producers/test_packing.py::test_a_chunk_of_as_many_texts_as_there_may_be_is_one_message_and_one_more_begins_another"),
        Limit("bytes that a producer packs into a chunk", "embedwatch.wire:MAX_CHUNK_BYTES", "the next text begins another chunk; a larger text goes alone", f"{UNIT}/producers/test_packing.py::test_a_chunk_of_as_many_bytes_as_there_may_be_is_one_message_and_one_more_begins_another", True, f"{UNIT}/producers/test_packing.py::test_a_text_too_large_for_a_chunk_goes_alone_after_what_came_before_it"),
        Limit("texts of a chunk that a worker takes", "workers.decode:MAX_MESSAGE_TEXTS", "a chunk of more is a dead letter, whole", f"{UNIT}/workers/test_decode.py::test_a_chunk_of_too_many_texts_is_refused_whole"),
        Limit("characters of a text's id", "embedwatch.wire:MAX_TEXT_ID_CHARS", "the rest is cut off", f"{UNIT}/embedwatch/test_wire.py::test_an_overlong_id_is_cut"),
        Limit("characters of a label (model, tenant, source) of a text", "workers.decode:MAX_LABEL_CHARS", "the rest is cut off", f"{UNIT}/workers/test_meter.py::test_labels_that_are_too_long_are_clipped_so_that_the_event_can_be_read"),
        Limit("bytes of a message of vectors", "workers.pipeline:MAX_VECTORS_BYTES", "a chunk goes out as several; one larger vector goes alone", f"{UNIT}/workers/test_pipeline.py::test_vectors_of_as_many_bytes_as_a_message_may_have_are_one_and_one_byte_more_are_two", True),
        Limit("bytes of an event", "embedwatch.codec:MAX_EVENT_BYTES", "a larger one is rejected (`too_large`), counted and kept as a dead letter", f"{UNIT}/embedwatch/test_codec.py::test_the_largest_event_is_read_and_one_byte_more_is_refused", True),
        Limit("bytes kept of a dead letter", "workers.dead_letters:MAX_VALUE_BYTES", "a larger one is cut; its source still has all of it", f"{UNIT}/workers/test_decode.py::test_a_dead_letter_never_outgrows_its_topic", True),
    )),
    ("Queues and memory", (
        Limit("messages that a producer has under way", "producers.publish:MAX_IN_FLIGHT_MESSAGES", "it reads no further until one is acknowledged", f"{UNIT}/producers/test_publish.py::test_no_more_than_the_bound_is_under_way"),
        Limit("bytes that a producer has under way", "producers.publish:MAX_IN_FLIGHT_BYTES", "the same; one larger message goes alone", f"{UNIT}/producers/test_publish.py::test_as_many_bytes_as_may_be_are_under_way_and_a_message_of_one_more_waits", True, f"{UNIT}/producers/test_publish.py::test_a_message_above_the_bound_goes_when_nothing_else_is_under_way"),
        Limit("texts that a worker takes together", "setting:worker.max_poll_texts", "it asks for no more", f"{UNIT}/workers/test_intake.py::test_a_full_cycle_does_not_wait"),
        Limit("messages that a worker takes together", "setting:worker.max_poll_messages", "it asks for no more", f"{UNIT}/workers/test_intake.py::test_messages_are_limited_too"),
        Limit("bytes that a worker takes together", "workers.intake:MAX_CYCLE_BYTES", "the rest waits for the next cycle; one larger message goes alone", f"{UNIT}/workers/test_intake.py::test_as_many_bytes_as_may_be_are_one_cycle_and_one_byte_more_waits_for_the_next", True),
        Limit("bytes of the cache in a worker's memory", "setting:cache.local_max_bytes", "what was not used for longest goes", f"{UNIT}/workers/test_cache.py::test_the_lru_keeps_its_bound_and_never_a_wrong_value", True),
        Limit("bytes that a worker reads of an endpoint's answer, for each number of a vector", "workers.backends.openai_wire:MAX_NUMBER_BYTES", "64 KiB come on top; a longer answer is read no further and is a bad one (`bad_response`)", f"{UNIT}/workers/test_openai_compatible.py::test_an_answer_of_as_many_bytes_as_there_may_be_is_read_and_one_byte_more_is_not"),
        Limit("numbers of a vector that an endpoint may give in its first answer", "workers.backends.openai_wire:MAX_DIMENSIONS", "the same", f"{UNIT}/workers/test_openai_compatible.py::test_a_first_answer_of_as_many_bytes_as_there_may_be_is_read_and_one_byte_more_is_not"),
        Limit("records that the agents have counted and not written", "stream_agents.runtime:MAX_PENDING", "reading waits for the flush", f"{UNIT}/stream_agents/test_runtime.py::test_the_stream_waits_while_too_much_is_not_written"),
        Limit("alerts whose states the agents show", "stream_agents.compute.alert_book:MAX_ALERTS", "those that are over go first", f"{UNIT}/stream_agents/test_alert_book.py::test_memory_is_bounded_and_what_is_over_goes_first"),
        Limit("closed windows that are remembered of each length", "stream_agents.compute.closing:MAX_RECENT", "the oldest go; all are on the topic `windows`", f"{UNIT}/stream_agents/test_closing.py::test_as_many_closed_windows_as_may_be_are_remembered_and_with_one_more_the_oldest_goes"),
        Limit("corrections of a partition that wait to be said", "stream_agents.compute.corrections:MAX_UNSAID", "the rest of a day is said as one sum, under `other`; that and the whole, `all`, come on top for each day", f"{UNIT}/stream_agents/test_corrections.py::test_as_many_corrections_as_may_wait_have_their_names_and_one_more_is_in_the_rest"),
    )),
    ("Scopes, labels and rules", (
        Limit("scopes of models and tenants", "setting:agents.max_scopes", "the rest is counted under `other`; sums stay exact", f"{UNIT}/stream_agents/test_ledger.py::test_as_many_scopes_as_there_may_be_have_their_names_and_one_more_is_other", also=f"{UNIT}/stream_agents/test_ledger.py::test_above_the_cap_the_rest_goes_to_other_once_an_event_and_the_whole_stays_exact"),
        Limit("workers that the agents know", "stream_agents.compute.world:MAX_WORKERS", "new ones are not shown; those that are known stay", f"{UNIT}/stream_agents/test_world.py::test_workers_and_caches_are_bounded_and_those_known_stay"),
        Limit("partitions of the queue", "stream_agents.compute.world:MAX_PARTITIONS", "the rest is not looked at", f"{UNIT}/stream_agents/test_world.py::test_partitions_of_the_queue_are_bounded_and_those_known_stay"),
        Limit("models and tenants as Prometheus labels", "stream_agents.web.exposition:MAX_LABELS", "the busiest and dearest are shown", f"{UNIT}/stream_agents/test_series.py::test_names_of_many_models_and_tenants_are_bounded"),
        Limit("series of a counter", "stream_agents.compute.counters:MAX_SERIES", "the rest is counted under `other`", f"{UNIT}/stream_agents/test_views.py::test_counters_are_exact_bounded_and_only_go_up"),
        Limit("rules of a file", "embedwatch.rules:MAX_RULES", "more are refused at the start", f"{UNIT}/embedwatch/test_rules.py::test_the_number_of_rules_is_bounded"),
        Limit("seconds of a rule's window", "embedwatch.rules:MAX_WINDOW_SECONDS", "a longer one is refused at the start", f"{UNIT}/embedwatch/test_rules.py::test_the_longest_window_is_taken_and_a_longer_one_is_not"),
        Limit("bytes of a rules or settings file", "embedwatch.yamlfile:MAX_FILE_BYTES", "a larger one is refused", f"{UNIT}/embedwatch/test_yamlfile.py::test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not", True),
        Limit("entries of such a file, aliases followed", "embedwatch.yamlfile:MAX_ENTRIES", "more are refused before they are made", f"{UNIT}/embedwatch/test_yamlfile.py::test_as_many_entries_as_there_may_be_are_read_and_one_more_is_not", also=f"{UNIT}/embedwatch/test_yamlfile.py::test_a_file_that_unfolds_without_end_is_refused_at_once"),
    )),
    ("Files and prices", (
        Limit("bytes of a baseline file", "embedwatch.baselines:MAX_FILE_BYTES", "a larger one is refused, and not overwritten", f"{UNIT}/embedwatch/test_baselines.py::test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not", True),
        Limit("characters of a line of a saved state", "stream_agents.compute.state_file:MAX_LINE_CHARS", "the file is refused, and not read on", f"{UNIT}/stream_agents/test_state_file.py::test_a_line_of_the_largest_size_is_read_and_a_longer_one_is_not_read_to_its_end"),
        Limit("USD of a price of a million tokens", "embedwatch.pricing:MOST_USD", "a higher one is refused at the start", f"{UNIT}/embedwatch/test_settings.py::test_a_price_of_the_most_and_of_the_most_decimals_is_taken_and_one_more_is_not"),
        Limit("decimals of a price", "embedwatch.pricing:MOST_DECIMALS", "one with more is refused at the start", f"{UNIT}/embedwatch/test_settings.py::test_a_price_of_the_most_and_of_the_most_decimals_is_taken_and_one_more_is_not"),
    )),
    ("The SDK", (
        Limit("calls that wait to be told to the sinks", "embedwatch.sdk.channel:MAX_QUEUED_CALLS", "one more is dropped and counted (`dropped_calls`); the default of `max_queued_calls`", f"{UNIT}/embedwatch/sdk/test_bounds.py::test_as_many_calls_as_may_be_wait_and_one_more_is_dropped_and_counted"),
        Limit("characters of texts that wait for their tokens", "embedwatch.sdk.channel:HELD_CHARS", "the texts of one more call are not held: its tokens are `estimated`; of more than 128 texts a sample tells, and they may be four fifths of what is left", f"{UNIT}/embedwatch/sdk/test_counting_ahead.py::test_no_more_texts_wait_than_may_be_held_and_the_rest_is_estimated"),
        Limit("characters of a label of a series", "embedwatch.sdk.bounds:MAX_LABEL_CHARS", "the rest is cut off", f"{UNIT}/embedwatch/sdk/test_bounds.py::test_a_label_of_the_largest_size_is_kept_and_of_a_longer_one_the_rest_is_cut"),
    )),
    ("Each stage's own endpoint", (
        Limit("connections at once", "embedwatch.stage_endpoint:MAX_CONNECTIONS", "further ones are closed unanswered", f"{UNIT}/embedwatch/test_stage_endpoint.py::test_connections_are_few_and_those_that_only_wait_are_cut"),
        Limit("seconds of a connection", "embedwatch.stage_endpoint:CONNECTION_SECONDS", "it is cut", f"{UNIT}/embedwatch/test_stage_endpoint.py::test_connections_that_only_wait_are_cut_whatever_they_send"),
    )),
    ("HTTP API of the agents", (
        Limit("requests a second of one client", "setting:agents.web_requests_per_second", "429 with `Retry-After`; four times as many at once", f"{UNIT}/stream_agents/test_admission.py::test_of_the_burst_all_are_answered_and_the_next_is_told_when"),
        Limit("clients whose rate is remembered", "stream_agents.web.admission:MAX_CLIENTS", "the one that was silent for longest is forgotten", f"{UNIT}/stream_agents/test_admission.py::test_of_the_clients_only_so_many_are_remembered"),
        Limit("bytes of a body", "stream_agents.web.admission:MAX_BODY_BYTES", "413, and the connection ends; 411 where no length is said", f"{UNIT}/stream_agents/test_admission.py::test_a_body_at_the_limit_is_taken_and_one_above_is_not", True),
        Limit("characters of a scope", "stream_agents.web.routes:MAX_SCOPE_CHARS", "400", f"{UNIT}/stream_agents/test_web.py::test_the_longest_scope_and_the_most_rows_are_taken_and_one_more_is_not"),
        Limit("rows that may be asked for", "stream_agents.web.routes:MAX_LIMIT", "400", f"{UNIT}/stream_agents/test_web.py::test_the_longest_scope_and_the_most_rows_are_taken_and_one_more_is_not"),
        Limit("answers that are made at a time: histories; ledgers and baselines", "stream_agents.web.routes:MAX_WAITING", "503", f"{UNIT}/stream_agents/test_shared_answers.py::test_so_many_answers_are_made_and_one_more_is_refused"),
        Limit("streams at a time", "stream_agents.web.routes:MAX_STREAMS", "503", f"{UNIT}/stream_agents/test_stream.py::test_only_so_many_listen_and_one_that_leaves_makes_room"),
    )),
    ("Secrets", (
        Limit("bytes of a file with a secret", "embedwatch.settings:MAX_SECRET_BYTES", "a larger one is refused at the start", f"{UNIT}/embedwatch/test_secrets.py::test_the_longest_secret_is_taken_and_one_byte_more_is_not", True),
        Limit("bytes of a file with a token", "embedwatch.kafka_auth:MAX_TOKEN_BYTES", "a larger one is refused", f"{UNIT}/embedwatch/test_kafka_auth.py::test_the_longest_token_is_taken_and_one_byte_more_is_not", True),
    )),
)  # fmt: skip


#: What stands under a table: what has no limit of its own.
NOTES = {
    "Queues and memory": """
Alerts that alerting keeps in memory have no limit of their own. There is one for each rule and scope that was breached
(for each day as well where a rule is of days, and for each step of a budget): of what is judged now at most rules times
scopes. Where names of models and tenants come and go, older ones come on top: one that is over is forgotten
`alerts.forget_after_seconds` later, and one of a scope of which nothing is heard any more stays open, unless
`alerts.no_data_resolve_seconds` closes it.
""",
}


def value(limit: Limit) -> int | float:
    place, _, name = limit.where.partition(":")
    if place == "setting":
        section, _, field = name.partition(".")
        found = getattr(getattr(Settings(), section), field)
    else:
        found = getattr(importlib.import_module(place), name)
    if not isinstance(found, int | float):
        raise TypeError(f"{limit.where} is no number")
    return found


def every() -> list[Limit]:
    return [limit for _, limits in LIMITS for limit in limits]


def shown_by(limit: Limit) -> list[str]:
    return [limit.test, limit.also] if limit.also else [limit.test]


def page(note: str, table: Callable[[Sequence[str], Sequence[Sequence[str]]], str]) -> str:
    parts = [f"""{note}

# Hard limits

What there is no more of, whatever comes: each limit with where it stands, what happens above it, and the test that shows
it. A limit in a setting may be moved ([settings](settings.md)); the number is its default. Others are constants of the
code.
"""]  # fmt: skip
    for title, limits in LIMITS:
        rows = []
        for limit in limits:
            place, _, constant = limit.where.partition(":")
            where = f"`{constant}`" if place == "setting" else f"`{place}.{constant}`"
            rows.append((limit.of, _number(limit), where, limit.then, ", ".join(map(_link, shown_by(limit)))))
        parts.append(
            f"## {title}\n\n{table(('limit of', 'is', 'stands in', 'above it', 'shown by'), rows)}{NOTES.get(title, '')}"
        )
    return "\n".join(parts)


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../../{file})"


def _number(limit: Limit) -> str:
    found = value(limit)
    if limit.bytes:
        for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
            if found % size == 0:
                return f"{found // size:,} {unit}"
    return f"{found:,.0f}"
