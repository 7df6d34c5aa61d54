"""A stage's own endpoint, of a real process on a real broker."""

from __future__ import annotations

import signal
from pathlib import Path

from embedwatch.processes import free_port
from embedwatch.settings import KafkaSettings
from tests.harness.own_endpoint import ask, numbers, probe
from tests.harness.workers import DIMS, HASHING, Flow, until


def test_a_worker_says_when_it_is_ready_what_it_did_and_when_it_goes(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    flow, port = Flow(embedded_settings, tmp_path), free_port()
    flow.send_chunks(3, 50)
    flow.send([(b"blank", b" \n", [])])
    with flow.worker(*HASHING, "--metrics-port", port) as child:
        found: list[tuple[int, list[str]]] = []

        def answers() -> bool:
            assert child.running(), child.last_words()
            found.extend(filter(None, [probe(port, "/readyz")]))
            return bool(found)

        until(answers)
        status, reasons = found[0]
        assert status == 503
        assert "the group has not given it partitions, nor told it to stand by" in reasons
        assert probe(port, "/livez") == (200, []), "it lives: it only is not ready yet"
        until(lambda: probe(port, "/readyz") == (200, []))
        until(lambda: numbers(port)["embedwatch_worker_finished_texts_total"] == 151)
        until(lambda: numbers(port)["embedwatch_worker_in_flight_texts"] == 0)
        seen = numbers(port)
        assert seen["embedwatch_worker_taken_texts_total"] == 151
        assert seen["embedwatch_worker_finished_messages_total"] == seen["embedwatch_worker_taken_messages_total"] == 4
        assert seen["embedwatch_worker_dead_letters_total"] == 1 == len(flow.dead())
        assert seen["embedwatch_worker_errors_total empty_text"] == 1
        assert seen["embedwatch_worker_tokens_embedded_total"] == 450
        assert seen["embedwatch_worker_ready"] == 1
        assert seen["embedwatch_worker_commits_total"] > 0
        assert seen["embedwatch_worker_delivered_messages_total"] >= 4
        assert ask(port, "/metrics", Host="evil.example")[0] == 403
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(30) == 0, child.last_words()
    assert probe(port, "/livez") is None
    assert len(flow.vectors()) == 150
    assert {vector.shape for _, vector in flow.vectors()} == {(DIMS,)}
