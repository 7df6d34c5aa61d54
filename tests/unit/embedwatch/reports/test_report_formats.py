"""The five forms of a report: each says the same, breaks nothing of its reader's, and takes no name for more."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace as copy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from embedwatch.errors import ConfigError, InputError
from embedwatch.reports.build import Known, build
from embedwatch.reports.delimited import COLUMNS, as_csv, neutral
from embedwatch.reports.markdown import as_markdown, escaped
from embedwatch.reports.model import AlertRow, AlertsInfo, Report
from embedwatch.reports.page import as_html
from embedwatch.reports.period import resolve
from embedwatch.reports.sections import warnings
from embedwatch.reports.text import WIDTH, as_text
from embedwatch.reports.writing import FORMATS, check_output, format_of, render, write
from stream_agents.compute.days import day_bounds
from tests.harness.agents_log import batch_event
from tests.harness.reports import NOVEMBER, month, of_events, taken

SCHEMA = json.loads((Path(__file__).parents[4] / "docs/reference/report.schema.json").read_text(encoding="utf-8"))
HOSTILE = (
    '<script src="http://evil.example/x.js">alert(1)</script>',
    '=HYPERLINK("http://evil.example";"x")',
    "@SUM(1+1)|cmd",
    "[a](http://evil.example) *b* `c` | d www.evil.example @all",
    "line\r\nbreak\tand \u202e turned \x1b[31mred",
    "模型" * 30,
    "x" * 200,
)


@pytest.fixture(scope="module")
def world() -> Known:
    return month()


@pytest.fixture(scope="module")
def november(world: Known) -> Report:
    return build(world, NOVEMBER, ["model", "tenant"])


@pytest.fixture(scope="module")
def hostile() -> Report:
    """Names of models and tenants come from whoever sends events."""
    zone, day = ZoneInfo("Europe/Berlin"), "2026-11-25"
    begin, end = day_bounds(day, zone)
    sent = [
        batch_event(n, time_seconds=begin + 60, model=name, tenant=HOSTILE[n - 1]) for n, name in enumerate(HOSTILE)
    ]
    days = taken(of_events([sent], [day], zone), [day], zone.key).closed_days()
    alert = AlertRow("a", HOSTILE[0], HOSTILE[3], "critical", 1, begin, begin, True, HOSTILE[4])
    known = Known(timezone=zone.key, today="2026-11-26", now=end + 60, days=days, alerts=AlertsInfo([alert]))
    return build(known, resolve("day", day, NOVEMBER.last), ["model", "tenant"])


@pytest.fixture(params=["november", "hostile"])
def report(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_text_has_80_columns(report: Report) -> None:
    lines = as_text(report).splitlines()
    assert max(cell_len(line) for line in lines) <= WIDTH
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", as_text(report))
    assert sum(line.startswith("  ---") for line in lines) >= 1


@given(st.text(min_size=1, max_size=60), st.sampled_from(("a", "b")))
def test_text_has_80_columns_of_any_name(name: str, other: str) -> None:
    day, zone = "2026-11-25", ZoneInfo("UTC")
    sent = batch_event(time_seconds=day_bounds(day, zone)[0], model=name, tenant=other)
    days = taken(of_events([[sent]], [day], zone), [day], "UTC").closed_days()
    known = Known(timezone="UTC", today="2026-11-26", now=1.8e9, days=days)
    found = build(known, resolve("day", day, NOVEMBER.last), ["model"], (("model", name),))
    assert max(map(cell_len, as_text(found).splitlines())) <= WIDTH
    for line in as_markdown(found).splitlines():
        assert "<" not in line


def test_markdown_tables_have_as_many_cells_in_every_row(report: Report) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", as_markdown(report), re.MULTILINE)
    assert len(tables) >= 3
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert rows
        assert re.fullmatch(r"\|( -+:? \|)+", rule)
        assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}


def test_markdown_takes_no_name_for_more_than_letters(hostile: Report) -> None:
    text = as_markdown(hostile)
    assert "<script" not in text
    assert not re.search(r"(?<!\\)[\]\[]", text)
    assert "http://" not in text
    assert "@" not in text
    assert not re.search(r"(?<!\\)[*`]b", text)
    assert escaped("a | b") == "a &#124; b"
    assert escaped("text-embedding_3") == "text-embedding_3"


def test_csv_is_rfc_4180_and_computes_nothing(hostile: Report) -> None:
    text = as_csv(hostile)
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    head, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert head == [name for name, _ in COLUMNS]
    assert len(rows) == len(HOSTILE)
    for row in rows:
        assert len(row) == len(head)
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "|", "%"))
    assert any(row[head.index("model")].startswith("'=HYPERLINK") for row in rows)


@given(st.text(max_size=20))
def test_no_name_is_a_formula(name: str) -> None:
    found = neutral(name)
    assert found.strip()[:1] not in {*"=+-@|%\t\r\n＝＋－＠"} - {""} or not found.strip()
    assert "\n" not in found
    assert "\r" not in found


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_asks_for_nothing_and_runs_nothing(report: Report) -> None:
    text = render(report, "html", 20)
    page = Page()
    page.feed(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "foreignobject"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "action", "srcset", "data"), (tag, name)
            if name == "href":
                assert str(value).startswith("#"), (tag, value)
            elif not name.startswith("xmlns"):
                assert "http" not in str(value) or tag == "meta", (tag, name, value)
    assert "url(http" not in text
    assert "@import" not in text
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")
    addresses = set(re.findall(r"https?://[^\s\"'<>&;)]*", re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)))
    assert all(address.startswith("http://evil") for address in addresses)  # letters of a name


def test_html_shows_hostile_names_as_letters(hostile: Report) -> None:
    text = render(hostile, "html", 20)
    assert "<script" not in text
    assert "&lt;script src=&quot;http://evil.example/x.js&quot;&gt;" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_html_is_said_to_be_without_pictures_where_there_is_no_matplotlib(november: Report) -> None:
    text = as_html(november, None)
    assert "embedwatch[plot]" in text
    assert "<svg" not in text
    assert render(november, "html", 20).count("<svg") == 3


def test_pictures_are_the_same_each_time(november: Report) -> None:
    assert render(november, "html", 20) == render(november, "html", 20)


def test_json_is_as_its_schema_says(report: Report) -> None:
    document = json.loads(render(report, "json", 20))
    jsonschema.validate(document, SCHEMA)
    assert document["v"] == 1
    assert document["total"]["texts"] == report.total.texts
    broken = {**document, "total": {**document["total"], "texts": "many"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_json_of_little_is_as_its_schema_says(world: Known) -> None:
    known = copy(world, days={"2026-11-02": world.days["2026-11-02"]}, hours=(), changes=(), budget=None)
    jsonschema.validate(json.loads(render(build(known, NOVEMBER, []), "json", 20)), SCHEMA)


def test_every_form_names_the_same_total(november: Report) -> None:
    cost = november.total.cost_nano_usd
    assert cost is not None
    shown = f"${cost / 1e9:,.2f}"
    for form in ("text", "md", "html"):
        assert shown in render(november, form, 20), form
    assert json.loads(render(november, "json", 20))["total"]["cost_nano_usd"] == cost


@pytest.mark.parametrize("form", ["text", "md", "html"])
def test_what_is_beyond_the_first_rows_is_one_row(november: Report, form: str) -> None:
    text = render(november, form, 4)
    assert "(8 more)" in text
    assert render(november, "csv", 4).count("\r\n") == 1 + len(november.groups)


@pytest.mark.parametrize("form", ["text", "md", "html"])
def test_a_period_that_is_not_whole_is_said_to_be_so(world: Known, form: str) -> None:
    days = {day: kept for day, kept in world.days.items() if "2026-11-03" <= day <= "2026-11-20"}
    days["2026-11-20"] = copy(days["2026-11-20"], running=True)
    days["2026-11-10"] = copy(days["2026-11-10"], lacking=1)
    found = build(copy(world, days=days, today="2026-11-20"), NOVEMBER, ["model"])
    assert not found.complete
    text = " ".join(re.sub(r"<[^>]+>", "", render(found, form, 20)).split())
    for words in (
        "2026-11-20: not over yet, its sums are those so far", "2026-11-21 to 2026-11-30 (10 days): still to come",
        "2026-11-10: known in part only: 1 partition said nothing of it",
        "2026-11-01 to 2026-11-02 (2 days): not known, and not in any sum", "2026-11-20 (so far)",
    ):  # fmt: skip
        assert re.sub(r"\s+", " ", words) in text, words
    assert "Every day of the period is closed and whole" not in text
    assert found.comparison is None
    assert found.forecast is not None
    assert "without 2 days that are not known" in found.forecast.basis
    assert {row["complete"] for row in csv.DictReader(io.StringIO(as_csv(found), newline=""))} == {"false"}


def test_a_forecast_of_a_month_stands_on_its_days(world: Known) -> None:
    days = {day: kept for day, kept in world.days.items() if "2026-11-01" <= day <= "2026-11-10"}
    first = build(copy(world, days=days, today="2026-11-11"), NOVEMBER, [])
    spent = sum(row.cost_nano_usd or 0 for row in first.days)
    assert first.forecast is not None
    assert first.forecast.nano_usd == spent + spent * 20 // 10  # of today nothing is known
    with_today = copy(world, days=days, today="2026-11-10", today_forecast_nano_usd=10**12)
    found = build(with_today, NOVEMBER, []).forecast
    before = sum(row.cost_nano_usd or 0 for row in first.days[:9])
    assert found is not None
    assert found.nano_usd == before + 10**12 + before * 20 // 9
    assert build(world, NOVEMBER, []).forecast is None  # it is over


def test_a_month_is_compared_with_the_whole_one_before(world: Known) -> None:
    found = build(world, NOVEMBER, []).comparison
    october = sum(k.scopes["all"].cost_nano_usd for day, k in world.days.items() if day.startswith("2026-10"))
    assert found is not None
    assert (found.name, found.cost_nano_usd) == ("2026-10", october)
    lacking = {day: kept for day, kept in world.days.items() if day != "2026-10-07"}
    assert build(copy(world, days=lacking), NOVEMBER, []).comparison is None


@pytest.mark.parametrize("form", ["text", "md", "html"])
def test_alerts_that_are_not_known_are_not_none(world: Known, form: str) -> None:
    unknown = build(copy(world, alerts=AlertsInfo(None, "the topic is away")), NOVEMBER, [])
    assert "Not known: the topic is away." in render(unknown, form, 20)
    none = render(build(copy(world, alerts=AlertsInfo([])), NOVEMBER, []), form, 20)
    assert "None fired in this period." in none


def test_cost_without_a_price_is_warned_of_and_never_zero(november: Report) -> None:
    total = replace(november.total, cost_nano_usd=None, unpriced_tokens=5)
    found = replace(november, total=total, forecast=None, budget=None)
    assert any("5 tokens have no price" in line for line in warnings(found))
    assert "no price" in as_text(found)


def test_of_a_period_of_which_nothing_is_known_there_is_no_report(world: Known) -> None:
    known = copy(world, days={}, notes=["Closed days could not be read."])
    with pytest.raises(InputError, match=r"nothing is known of 2026-11 .*no record of it.*could not be read"):
        build(known, NOVEMBER, [])


@pytest.mark.parametrize(
    ("asked", "output", "form"),
    [
        (None, None, "text"),
        ("md", "a.html", "md"),
        (None, "a.HTM", "html"),
        (None, "a.csv", "csv"),
        (None, "a", "text"),
    ],
)
def test_the_form_is_asked_for_or_that_of_the_name(asked: str | None, output: str | None, form: str) -> None:
    assert format_of(asked, None if output is None else Path(output)) == form


def test_json_contradicts_other_forms() -> None:
    assert format_of(None, Path("a.json"), as_json=True) == "json"
    for asked, output in (("md", None), (None, Path("a.html"))):
        with pytest.raises(ConfigError, match="contradict"):
            format_of(asked, output, as_json=True)
    with pytest.raises(ConfigError, match=", ".join(FORMATS)):
        format_of("pdf", None)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    write(file, "old")
    file.chmod(0o640)
    write(file, "new ü \udc80")
    assert file.read_text(encoding="utf-8") == "new ü ?"
    assert file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "gone" / "a.md", "x")
    with pytest.raises(ConfigError):
        check_output(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]
