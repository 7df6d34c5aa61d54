"""The frame: everything important at 80x24 and nothing cut within a word; something useful at any size."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.frame import KEYS, frame, text
from console.lines import plain, width_of
from console.link import Link
from console.look import ORDERS, WINDOWS, Look, alerts_in_order, next_window, workers_in_order
from console.model import Alert, Gpu, View, Worker
from console.panels import details
from console.spark import ASCII
from tests.harness.agents_log import NOW

LIVE = Link().answered(NOW)
URL = "http://agents:6066"


def alert(number: int, status: str = "firing", severity: str = "warning", **fields: object) -> Alert:
    row = Alert(
        f"id{number}", "high latency", f"model m{number}", status, severity, 2000.0, 500.0, "ms",
        NOW - 60.0 * number, "", 1,
    )  # fmt: skip
    return msgspec.structs.replace(row, **fields)


def shown(view: View | None, width: int = 80, height: int | None = 24, look: Look | None = None, **more: Link) -> str:
    return text(frame(view, URL, more.get("link", LIVE), look or Look(), NOW, width, height))


def test_eighty_by_twenty_four_holds_everything_important(busy_view: View) -> None:
    page = shown(busy_view)
    for part in (
        "agents:6066", "live", "ready", "08:00:00 UTC", "Scope all, last 5 min", "p50", "p95", "p99", "/s", "6.00 %",
        "timeout 6.00 %", "$2.0025", "2 % of $100", "Forecast", "Saved", "29.8 % texts", "20.0 % tokens", "available",
        "STALLED", "no commit", "waits 90 s", "100 texts", "drains in 10 s", "2 now, 4 wanted, 7 without limits",
        "limited by max_workers", "9,000 texts", "running", "50 %", "1.0/16.0 GiB", "250 W", "high error rate",
    ):  # fmt: skip
        assert part in page, part
    for key, word in KEYS:
        assert f"{key} {word}" in page


def test_nothing_is_cut_within_a_word_at_eighty_by_twenty_four(busy_view: View) -> None:
    """Every word at 80 columns is a word of the frame that has all the room there is."""
    roomy = set(shown(busy_view, 400, None, Look(interactive=False)).split())
    narrow = set(shown(busy_view, look=Look(interactive=False)).split())
    pictures = re.compile(r"[▁▂▃▄▅▆▇█░─…–]+")
    lost = {word for word in narrow - roomy if not pictures.fullmatch(word)}
    assert lost <= {"shown"} | {word for word in lost if re.fullmatch(r"\d+-\d+|of", word)}, lost


@given(st.integers(1, 200), st.integers(1, 60), st.booleans(), st.booleans(), st.sampled_from(["alerts", "workers"]))
def test_a_frame_is_exactly_as_large_as_the_terminal(
    busy_view: View, width: int, height: int, lost: bool, ascii_only: bool, focus: str
) -> None:
    link = LIVE.failed(NOW, "connection refused") if lost else LIVE
    look = Look(focus=focus, glyphs=ASCII if ascii_only else Look().glyphs)  # type: ignore[arg-type]
    for view in (busy_view, None):
        rows = frame(view, URL, link, look, NOW + 12, width, height)
        assert len(rows) == height
        assert {width_of(row) for row in rows} == {width}


def test_pictures_in_ascii_are_ascii(busy_view: View) -> None:
    numbers = shown(busy_view, look=Look(glyphs=ASCII))
    assert re.sub("[–…]", "", numbers).isascii()


def test_a_small_terminal_gets_the_short_form_with_what_matters_most(busy_view: View) -> None:
    page = shown(busy_view, 50, 16)
    for part in ("live", "p95 2,0", "texts/s", "Queue STALLED", "Errors 6.0 %", "Spent $2.00", "Alerts:", "? help"):
        assert part in page, part
    assert "too small" in shown(busy_view, 20, 4)
    assert "STALLED" in shown(busy_view, 40, 8)


def test_what_is_not_known_is_said_and_never_zero(busy_view: View) -> None:
    from console.model import Reading, view

    page = shown(view(URL, Reading({"window_seconds": 300}, ready=True)), look=Look(interactive=False))
    assert page.count("unknown") >= 10
    assert "none was heard of" in page
    assert not re.search(r"\b0\b", page.replace("Workers: 0", "").replace("08:00:00", "")), page
    gpu = Gpu("0 H100", None, None, None, None, "the driver is not loaded")
    worker = Worker("w", "m", "running", 1.0, 5, [gpu])
    assert "not known: the driver" in shown(msgspec.structs.replace(busy_view, workers=[worker]))
    assert "not known: the driver is not loaded" in "\n".join(
        details(msgspec.structs.replace(busy_view, workers=[worker]), Look(focus="workers"), NOW)
    )


def test_a_connection_that_is_lost_shows_the_age_of_the_numbers(busy_view: View) -> None:
    link = LIVE.failed(NOW + 1, "connection refused").failed(NOW + 2, "connection refused")
    page = text(frame(busy_view, URL, link, Look(), NOW + 3, 100, 24))
    assert "NO ANSWER" in page
    assert "No answer: the numbers are 3.0 s old, next try in 1 s (connection refused)" in page
    assert "p99" in page, "the numbers stay"
    before = shown(None, link=Link().failed(NOW, "connection refused"))
    assert "there are no numbers yet" in before


def test_agents_that_are_not_ready_say_why(busy_view: View) -> None:
    view = msgspec.structs.replace(busy_view, ready=False, not_ready_reasons=["partition 0 is recovered"])
    page = shown(view)
    assert "NOT READY" in page
    assert "Not ready, numbers may be partial: partition 0 is recovered" in page


def test_a_pause_says_how_old_the_numbers_are(busy_view: View) -> None:
    page = text(frame(busy_view, URL, LIVE, Look(paused=True), NOW + 65, 80, 24))
    assert "PAUSED" in page
    assert "Paused: the numbers are 65 s old. p goes on." in page


def test_numbers_do_not_jump_when_they_get_longer(busy_view: View) -> None:
    def column(value: float) -> int:
        view = msgspec.structs.replace(busy_view, throughput_texts_per_s=value)
        (row,) = [row for row in shown(view).splitlines() if row.startswith("Texts")]
        return row.index("/s")

    assert {column(value) for value in (0.1, 12.0, 123.4, 99_999.0, 1e12)} == {column(1.0)}


def test_the_row_that_is_chosen_is_always_seen(busy_view: View) -> None:
    rows = [alert(number) for number in range(40)]
    view = msgspec.structs.replace(busy_view, alerts=rows)
    look = Look()
    names = [row.alert_id for row in alerts_in_order(rows, look.alerts_order)]
    for step in range(50):
        (chosen,) = [line for line in shown(view, look=look).splitlines() if line.startswith("▸")]
        assert f"model m{names[min(step, 39)].removeprefix('id')}:" in chosen
        look = look.moved(names, 1)
    assert look.moved(names, -100).alert == names[0]
    assert Look().moved([], 1) == Look()


def test_orders_put_first_what_they_are_named_for() -> None:
    rows = [
        alert(1, "resolved"), alert(2, "firing"), alert(3, "firing", "critical"), alert(4, "acknowledged", "critical"),
    ]  # fmt: skip
    assert [row.alert_id for row in alerts_in_order(rows, "worst first")] == ["id3", "id2", "id4", "id1"]
    assert [row.alert_id for row in alerts_in_order(rows, "newest first")] == ["id1", "id2", "id3", "id4"]

    def worker(name: str, use: float | None, silent: float) -> Worker:
        return Worker(name, "m", "running", silent, 1, [Gpu("0", use, None, None, None, "")])

    crew = [worker("b", None, 3.0), worker("a", 10.0, 1.0), worker("c", 90.0, 2.0)]
    orders = {order: [row.name for row in workers_in_order(crew, order)] for order in ORDERS["workers"]}
    assert orders == {
        "by name": ["a", "b", "c"], "busiest GPU first": ["c", "a", "b"], "longest silent first": ["b", "c", "a"],
    }  # fmt: skip


def test_keys_go_through_windows_and_orders_and_come_back() -> None:
    seen = [300]
    for _ in WINDOWS:
        seen.append(next_window(seen[-1]))
    assert seen == [300, 900, 3600, 10, 60, 300]
    assert next_window(120) == 300
    look = Look()
    for _ in ORDERS["alerts"]:
        look = look.next_order()
    assert look == Look()
    assert look.other_list().next_order().workers_order == "busiest GPU first"


@pytest.mark.parametrize("status", ["firing", "acknowledged", "snoozed", "pending", "no_data", "resolved"])
def test_a_status_is_told_by_its_word_and_not_by_colour_alone(busy_view: View, status: str) -> None:
    view = msgspec.structs.replace(busy_view, alerts=[alert(1, status)])
    rows = [plain(row) for row in frame(view, URL, LIVE, Look(), NOW, 80, 24)]
    assert any(status.replace("_", " ") in row.lower() and "model m1" in row for row in rows)


def test_the_details_of_an_alert_tell_what_the_row_has_no_room_for(busy_view: View) -> None:
    row = alert(1, "snoozed", who="Ada", until_seconds=NOW + 3600, summary="P95 latency is 2,000 ms.")
    told = details(msgspec.structs.replace(busy_view, alerts=[row]), Look(), NOW)
    assert told == [
        "P95 latency is 2,000 ms.", "status: snoozed", "severity: warning", "since: 60 s ago", "by: Ada",
        "for another 1 h 0 min", "id: id1",
    ]  # fmt: skip
    assert details(msgspec.structs.replace(busy_view, alerts=[]), Look(), NOW) == ["there is no alert"]
