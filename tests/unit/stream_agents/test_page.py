"""The page in a real browser: what it shows is what the API says, whoever looks and whatever names there are."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr

from alerting.states import Act, Transition, encode
from embedwatch.events import NANO_USD_PER_USD
from embedwatch.settings import AgentSettings
from stream_agents.compute.ledger import BookedDay
from tests.harness.agents_log import NOW, batch_event
from tests.harness.agents_web import alert_states
from tests.harness.browser import PATIENCE_MS, Watched, browser, driven, in_thread, page_of, probe
from tests.harness.page_server import PageServer
from tests.harness.page_world import empty, made

IMAGES = Path(__file__).parents[3] / "docs" / "images"
SCREENSHOTS = "EMBEDWATCH_TEST_SCREENSHOTS"
#: What a browser says of an answer that a test wants: no fault of the page.
REFUSED = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING")

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    opened = browser()
    yield in_thread(opened.__enter__)
    in_thread(opened.__exit__, None, None, None)


@pytest.fixture(scope="module")
def calm() -> Iterator[PageServer]:
    """Nobody may change it."""
    with PageServer(made) as server:
        yield server


def settled(page: Page) -> None:
    """Everything was answered and drawn."""
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("#rules-table tbody tr").first).to_be_visible()
    expect(page.locator("#chart-spend .plot, #chart-spend .nothing").locator("visible=true").first).to_be_visible()
    expect(page.locator("#firing-none, #firing-list li").locator("visible=true").first).not_to_have_text(
        "Not known yet."
    )
    expect(page.locator(".table:empty")).to_have_count(0)


def clean(watched: Watched, server: PageServer, *allowed: str) -> None:
    """No error, no violation of the policy, and no request to anybody else."""
    assert [text for text in watched.problems if not any(words in text for words in allowed)] == []
    assert watched.foreign(server.url.removesuffix("/ui")) == []


def tile(page: Page, name: str) -> str:
    return page.locator(f"[data-tile={name}]").inner_text()


def api(page: Page, server: PageServer, path: str) -> Any:
    return page.request.get(f"{server.url.removesuffix('/ui')}/api/v1/{path}").json()


@driven
def test_what_is_shown_is_what_the_api_says(chromium: Browser, calm: PageServer) -> None:
    with page_of(chromium) as watched:
        page = watched.page
        page.goto(f"{calm.url}?window_seconds=900&past_seconds=1800")
        settled(page)
        numbers = api(page, calm, "summary?window_seconds=900")
        latency, today = numbers["performance"]["latency_ms"], numbers["today"]
        assert f"{latency['p95']:.0f} ms" in tile(page, "latency")
        assert f"p99 {latency['p99']:.0f} ms" in tile(page, "latency")
        assert f"{numbers['performance']['throughput_texts_per_s']:.1f} texts/s" in tile(page, "throughput")
        assert f"{numbers['cache']['hit_rate_pct']:.1f} %" in tile(page, "cache")
        assert f"${today['cost_usd']:.2f}" in tile(page, "spend")
        assert f"{today['budgets'][0]['spent_pct']:.1f} % of $100.00" in tile(page, "spend")
        assert f"${today['forecast_usd']:.2f}" in tile(page, "forecast")
        assert f"${today['saved_usd']:.2f}" in tile(page, "saved")
        assert f"{numbers['queue']['lag_seconds']:.1f} s" in tile(page, "lag")
        assert "3 running" in tile(page, "workers")
        assert f"{numbers['scaling']['desired_workers']} asked for" in tile(page, "workers")

        partitions = api(page, calm, "lag")["partitions"]
        shown = page.locator("#queue-table tbody tr").all_inner_texts()
        assert len(shown) == len(partitions)
        for row in partitions:
            assert any(
                line.split("\t")[:3] == [str(row["partition"]), row["status"], str(row["lag_messages"])]
                for line in shown
            )
        decisions = api(page, calm, "scaling")["decisions"]
        lines = page.locator("#scaling-table tbody tr").all_inner_texts()
        assert [line.split("\t")[-1] for line in lines] == [row["reason"] for row in decisions]
        verdicts = api(page, calm, "verdicts")["verdicts"]
        expect(page.locator("#rules-table tbody tr")).to_have_count(len(verdicts))
        changes = api(page, calm, "alerts")["transitions"]
        expect(page.locator("#alerts-table tbody tr")).to_have_count(len(changes))
        clean(watched, calm)


@driven
def test_the_table_beside_a_chart_has_its_numbers(chromium: Browser, calm: PageServer) -> None:
    with page_of(chromium) as watched:
        page = watched.page
        page.goto(f"{calm.url}?past_seconds=3600")
        settled(page)
        rows = api(page, calm, "history?seconds=3600&step_seconds=60")["rows"]
        page.locator("#chart-latency summary").click()
        expect(page.locator("#chart-latency tbody tr").first).to_be_visible()
        shown = [line.split("\t") for line in page.locator("#chart-latency tbody tr").all_inner_texts()]
        assert len(shown) == len(rows) == 60
        for line, row in zip(shown, reversed(rows), strict=True):
            p95 = row["latency_ms"]["p95"]
            assert line[2] == ("not known" if p95 is None else f"{p95:.0f} ms" if p95 >= 100 else f"{p95:.1f} ms")
        label = page.locator("#chart-latency [role=img]").get_attribute("aria-label") or ""
        assert label.startswith("Latency of a text: p50 last ")
        spend = api(page, calm, "history/spend")
        page.locator("#chart-spend summary").click()
        expect(page.locator("#chart-spend tbody tr").first).to_be_visible()
        texts = page.locator("#chart-spend tbody tr").all_inner_texts()
        assert any(f"${spend['cost_nano_usd'] / NANO_USD_PER_USD:.2f}" in text for text in texts)
        clean(watched, calm)


@driven
def test_one_of_a_thousand_scopes_is_found_by_keyboard_and_stands_in_the_address(chromium: Browser) -> None:
    with PageServer(made) as server, page_of(chromium) as watched:
        days = server.runtime.world.partitions[0].days[server.runtime.world.today(NOW)]
        names = [f"model=model-{n % 50:02},tenant=tenant-{n:04}" for n in range(1000)]
        server.do(lambda: days.update({name: BookedDay(cost_nano_usd=0) for name in names}))
        page = watched.page
        page.goto(server.url)
        settled(page)
        page.wait_for_function(
            "performance.getEntriesByType('resource').some(e => e.name.endsWith('/scopes') && e.responseEnd)"
        )
        page.locator("#scope-button").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#scope-count")).to_contain_text("the first 100 are shown")
        expect(page.locator("#scope-list li")).to_have_count(100)
        page.keyboard.type("tenant-0777")
        expect(page.locator("#scope-list li")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator("#scope-dialog")).to_be_hidden()
        expect(page.locator("#scope-button")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.type("bge model")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("model bge-base-en-v1.5")
        assert "scope=model%3Dbge-base-en-v1.5" in page.url
        one = api(page, server, "summary?scope=model%3Dbge-base-en-v1.5")
        expect(page.locator("[data-tile=latency] .value")).to_have_text(
            f"{one['performance']['latency_ms']['p95']:.0f} ms"
        )
        page.locator("#window").select_option("60")
        page.reload()
        settled(page)
        expect(page.locator("h1")).to_have_text("model bge-base-en-v1.5")
        expect(page.locator("#window")).to_have_value("60")
        page.locator("#scope-button").click()
        page.get_by_label("Model and tenant").check()
        expect(page.locator("#scope-count")).to_contain_text("1,003 of 1,010")
        clean(watched, server)


@driven
def test_names_that_are_markup_stay_text(chromium: Browser) -> None:
    image, script = "<img src=x onerror=alert(1)>", '"><script>alert(2)</script>'
    extra = [batch_event(99, model=image, tenant=script, texts=40, time_seconds=NOW - 5)]
    act = Act(do="acknowledge", by=image, via="slack", at_seconds=NOW - 1, severity="critical", note=script)
    state = alert_states()[0]
    hostile = replace(
        state, act=act, breach=replace(state.verdict, scope={"model": image}),
        verdict=replace(state.verdict, scope={"tenant": script}),
        history=(Transition(NOW - 1, "acknowledged", "acknowledged", act),),
    )  # fmt: skip
    with PageServer(partial(made, extra=extra, states=[hostile])) as server, page_of(chromium) as watched:
        page = watched.page
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{server.url}?scope={quote(f'model={quote(image)}')}")
        settled(page)
        expect(page.locator("h1")).to_have_text(f"model {image}")
        expect(page.locator("#firing-list")).to_contain_text(f"taken on by {image}: {script}")
        expect(page.locator("#alerts-table")).to_contain_text(script)
        page.locator("#scope-button").click()
        expect(page.locator("#scope-list")).to_contain_text(script)
        assert page.locator("img, main script").count() == 0
        assert dialogs == []
        clean(watched, server)


@driven
def test_it_says_that_it_is_disconnected_and_comes_back_by_itself(chromium: Browser) -> None:
    with PageServer(made) as server, page_of(chromium) as watched:
        page = watched.page
        page.goto(server.url)
        settled(page)
        server.close()
        expect(page.locator("#live-text")).to_have_text("Disconnected")
        expect(page.locator("#trouble")).to_contain_text("What is shown is of 08:00:00; trying again.")
        assert "stale" in (page.locator("body").get_attribute("class") or "")
        server.open()
        expect(page.locator("#live-text")).to_have_text("Live")
        expect(page.locator("#trouble")).to_be_hidden()
        clean(watched, server, *REFUSED)


@driven
def test_it_says_that_the_agents_are_not_ready_and_why(chromium: Browser) -> None:
    with PageServer(made) as server, page_of(chromium) as watched:
        server.do(lambda: setattr(server.runtime, "recovered", False))
        watched.page.goto(server.url)
        expect(watched.page.locator("#live-text")).to_have_text("Not ready")
        expect(watched.page.locator("#unready")).to_contain_text("the state is not recovered yet")
        server.do(lambda: setattr(server.runtime, "recovered", True))
        expect(watched.page.locator("#unready")).to_be_hidden()
        clean(watched, server, "503")


@driven
def test_agents_that_ask_for_a_token_are_given_it_by_whoever_looks(chromium: Browser) -> None:
    secret = "a-long-secret-of-the-agents"
    settings = AgentSettings(web_token=SecretStr(secret), web_requests_per_second=1000)
    with PageServer(made, settings) as server, page_of(chromium) as watched:
        page = watched.page
        page.goto(f"{server.url}?scope=model%3Dslow")
        expect(page.locator("#live-text")).to_have_text("Locked")
        field, why = page.locator("#unlock-token"), page.locator("#unlock-why")
        expect(why).to_have_text("These agents answer only who has their token (agents.web_token).")
        expect(field).to_be_focused()
        for given, words in (("wrong", "do not take this token"), ("two words", "no spaces"), ("Ключ", "no spaces")):
            field.fill(given)
            field.press("Enter")
            expect(why).to_contain_text(words)
            expect(field).to_be_focused()
        field.fill(secret)
        page.get_by_role("button", name="Show the numbers").click()
        settled(page)
        expect(page.locator("#unlock")).to_be_hidden()
        assert "model slow" in page.locator("#title").inner_text().lower()
        page.reload()  # this tab has it still
        settled(page)
        assert secret not in page.content() + page.url + page.evaluate("JSON.stringify(localStorage)")
        assert secret not in "".join(watched.requests)
        server.close()
        server.settings = settings.model_copy(update={"web_token": SecretStr(secret[::-1])})
        server.open()
        expect(why).to_contain_text("do not take this token")
        expect(page.locator("body")).to_have_class("stale")
        clean(watched, server, *REFUSED, "401")


@driven
def test_a_scope_that_cannot_be_is_refused_in_words(chromium: Browser, calm: PageServer) -> None:
    with page_of(chromium) as watched:
        watched.page.goto(f"{calm.url}?scope=colour%3Dred")
        expect(watched.page.locator("#trouble")).to_contain_text(
            "The agents refused the question: 'colour=red' is not a scope"
        )
        clean(watched, calm, "400")


@driven
def test_what_is_not_known_is_never_a_zero(chromium: Browser) -> None:
    with PageServer(empty) as server, page_of(chromium) as watched:
        page = watched.page
        page.goto(server.url)
        settled(page)
        for name in ("latency", "wait", "throughput", "errors", "cache", "forecast", "lag", "drain", "workers", "gpus"):
            assert page.locator(f"[data-tile={name}] .value").inner_text() == "not known", name
        expect(page.locator("#firing-none")).to_contain_text("is not known: there is no topic embedwatch.alerts")
        expect(page.locator("#chart-latency .nothing")).to_have_text("Nothing was measured in this time.")
        expect(page.locator("#alerts-table")).to_have_text("Not known.")
        clean(watched, server)


@driven
def test_numbers_go_on_and_a_new_alert_is_announced(chromium: Browser) -> None:
    with PageServer(made) as server, page_of(chromium) as watched:
        page = watched.page
        page.goto(server.url)
        settled(page)
        before = page.locator("[data-tile=spend] .value").inner_text()
        world = server.runtime.world

        def more() -> None:
            event = batch_event(5, time_seconds=NOW, cost_nano_usd=9 * NANO_USD_PER_USD)
            world.apply_batch(event, NOW)
            world.partitions[0].book(event, world.zone, world.max_scopes)

        server.do(more)
        server.tick()
        expect(page.locator("[data-tile=spend] .value")).not_to_have_text(before)
        expect(page.locator("#news")).to_be_empty()
        state = alert_states()[2]
        server.do(lambda: server.runtime.alerts.take(state.alert_id.encode(), encode(state)))
        expect(page.locator("#news")).to_contain_text("Firing: high lag, everything.")
        expect(page.locator("#firing-list li")).to_have_count(1)
        assert page.locator("[aria-live]").count() == 1
        clean(watched, server)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@driven
def test_every_text_can_be_read_in_light_and_dark(chromium: Browser, scheme: str) -> None:
    """Contrast after WCAG 2.2: 4.5 for text, 3 for what is drawn and for the focus."""
    with PageServer(partial(made, trouble=True)) as server, page_of(chromium, color_scheme=scheme) as watched:
        watched.page.goto(server.url)
        settled(watched.page)
        found = watched.page.evaluate(probe("contrast"))
        assert len(found["texts"]) > 100
        assert [row for row in found["texts"] if row["ratio"] < 4.5] == []
        assert [row for row in found["drawn"] if row["ratio"] < 3] == []
        background = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        other = "light" if scheme == "dark" else "dark"
        watched.page.locator("#theme").select_option(other)
        switched = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert switched != background
        watched.page.reload()
        settled(watched.page)
        assert watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == switched
        clean(watched, server)


@driven
def test_it_can_be_used_by_keyboard_and_heard(chromium: Browser) -> None:
    with PageServer(partial(made, trouble=True)) as server, page_of(chromium) as watched:
        page = watched.page
        page.goto(server.url)
        settled(page)
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        found = page.evaluate(probe("heard"))
        assert found["unnamed"] == []
        assert found["headings"][0] == 1
        assert found["headings"].count(1) == 1
        assert all(b - a <= 1 for a, b in zip(found["headings"], found["headings"][1:], strict=False))
        assert found["landmarks"] == {"header": 1, "main": 1, "nav[aria-label]": 1, "footer": 1, "html[lang]": 1}
        assert found["charts"] == 8
        assert found["tables"] >= 5
        seen = set()
        for _ in range(80):
            page.keyboard.press("Tab")
            where = page.evaluate(probe("focus"))
            assert where["outlined"] or where["name"] == "BODY", where
            if where["name"] == "BODY":
                break  # beyond the last: nothing has kept it
            seen.add(where["name"])
        else:
            pytest.fail("the focus does not leave the page")
        assert {"A", "SUMMARY", "DIV"} <= seen
        clean(watched, server)


STATES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "overview-light": (made, {}, "Nothing is firing."),
    "overview-dark": (made, {"color_scheme": "dark"}, "Nothing is firing."),
    "alerts": (partial(made, trouble=True), {}, "taken on by Ada"),
    "no-data": (empty, {}, "not known"),
    "narrow": (made, {"viewport": {"width": 390, "height": 844}}, "Nothing is firing."),
}


@pytest.mark.parametrize("name", STATES)
@driven
def test_the_main_states_fit_and_are_pictured_on_request(chromium: Browser, name: str) -> None:
    make, options, words = STATES[name]
    with PageServer(make) as server, page_of(chromium, **options) as watched:
        page = watched.page
        page.goto(server.url)
        settled(page)
        expect(page.locator("#firing")).to_contain_text(words)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "nothing sticks out sideways"
        if os.environ.get(SCREENSHOTS):
            wide = page.viewport_size and page.viewport_size["width"] > 500
            page.evaluate("document.fonts.ready")
            picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            picture = picture.crop((0, 0, picture.width, min(picture.height, 1560 if wide else 2200)))
            IMAGES.mkdir(exist_ok=True)
            path = IMAGES / f"page-{name}.png"
            picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            assert path.stat().st_size < 200_000
        clean(watched, server)
