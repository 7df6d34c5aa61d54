"""A report in its five forms: the same numbers, sums that add up, and names that do nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from embedwatch.errors import ConfigError, InputError
from embedwatch.reports import plots
from embedwatch.reports.build import DailyBudget, Known, build
from embedwatch.reports.delimited import COLUMNS
from embedwatch.reports.markdown import escaped
from embedwatch.reports.model import AlertRow, AlertsInfo, Report
from embedwatch.reports.page import as_html
from embedwatch.reports.period import Period
from embedwatch.reports.sections import sections
from embedwatch.reports.text import WIDTH
from embedwatch.reports.writing import FORMATS, format_of, render, write
from embedwatch.scopes import parse_scope
from tests.harness import json_schema
from tests.harness.agents_log import NOW, batch_event
from tests.harness.reports import NOVEMBER, month, of_events, taken

ROOT = Path(__file__).parents[4]
DAYS = ["2027-01-13", "2027-01-14"]
HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', '=HYPERLINK("http://evil")', "+1", "-1",
    "@SUM(A1)", "\t=1", "a|b", "**bold**", "[x](http://evil)", "www.evil.example", "`code`", "$x$ $y$", "line\nbreak",
    "\x1b[31mred", "\u202eabc", "名前" * 40, "e\u0301" * 50, "__a__", "#1", "x" * 256, "'", ",", '"', "&lt;",
    "</style>", "--x", "\r\n=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def november() -> Report:
    return build(month(), NOVEMBER, ["model", "tenant"])


def small(names: list[tuple[str, str | None]], costs: list[int] | None = None, **more: Any) -> Report:
    events = [
        batch_event(n, time_seconds=NOW - 86_400 * (1 + n % 2), model=model, tenant=tenant,
                    cost_nano_usd=10**9 + n if costs is None else costs[n], saved_nano_usd=7 * n, **more)
        for n, (model, tenant) in enumerate(names)
    ]  # fmt: skip
    kept = taken(of_events([events], DAYS, ZoneInfo("UTC")), DAYS, "UTC")
    alerts = AlertsInfo([AlertRow("x", "high latency", f"model={names[0][0]}", "warning", 1, NOW, NOW, True, "")])
    known = Known("UTC", "2027-01-15", NOW, kept.closed_days(), alerts=alerts, notes=[f"a note on {names[0][0]}"])
    return build(known, Period("week", "w", date(2027, 1, 13), date(2027, 1, 14)), ["model", "tenant"])


def money(text: str) -> Decimal:
    return Decimal(text.strip().lstrip("$").replace(",", ""))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=40), st.integers(1, 45))
def test_printed_rows_and_what_is_more_add_up_to_the_total(costs: list[int], top: int) -> None:
    report = small([(f"m{n % 7}", f"t{n % 5}" if n % 3 else None) for n in range(len(costs))], costs)
    assert sum(row.cost_nano_usd or 0 for row in report.groups) == report.total.cost_nano_usd == sum(costs)
    assert sum(row.cost_nano_usd or 0 for row in report.days) == sum(costs)
    assert sum(row.texts for row in report.groups) == report.total.texts == 10 * len(costs)
    tables = [s.table for s in sections(report, top) if s.table is not None and s.table.totals]
    assert len(tables) == 2
    for table in tables:
        for column in (table.head.index("Cost"), table.head.index("Saved")):
            cells = [money(row[column]) for row in table.rows]
            assert sum(cells[:-1]) == cells[-1]


def test_every_form_has_the_total_and_the_rows(november: Report) -> None:
    for form in ("text", "md", "html"):
        text = render(november, form, 20)
        assert "4,028.74" in text
        assert "text-embedding-3-large / search" in text
        assert "2026-10" in text
    rows = list(csv.DictReader(io.StringIO(render(november, "csv", 20))))
    document = json.loads(render(november, "json", 20))
    assert sum(int(row["cost_nano_usd"]) for row in rows) == document["total"]["cost_nano_usd"]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(document["total"]["cost_nano_usd"]).scaleb(-9)
    assert sum(row["cost_nano_usd"] for row in document["groups"]) == document["total"]["cost_nano_usd"]
    assert len(rows) == len(document["groups"]) == 12


def test_the_document_is_what_its_schema_says(november: Report) -> None:
    schema = json.loads((ROOT / "docs/reference/report.schema.json").read_text(encoding="utf-8"))
    document = json.loads(render(november, "json", 20))
    assert json_schema.misfit(document, json_schema.closed(schema), json_schema.closed(schema["$defs"])) is None
    broken = json.loads(render(november, "json", 20))
    broken["total"]["texts"] = "many"
    assert "total.texts" in (json_schema.misfit(broken, schema, schema["$defs"]) or "")


def test_text_keeps_to_its_width_and_names_that_are_long_or_wide_give_way(november: Report) -> None:
    for report in (november, small([(name, name) for name in HOSTILE])):
        assert max(cell_len(line) for line in render(report, "text", 20).splitlines()) <= WIDTH


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name_in_every_form(name: str) -> None:
    report = small([(name, name), ("plain", None)])
    for form in FORMATS:
        text = render(report, form, 20)
        hidden = {letter for letter in text if not letter.isprintable()}
        # JSON is for programs: it has the name as it is, with control characters written out.
        assert hidden <= ({"\n", "\u202e"} if form == "json" else {"\n", "\r"}), form
    text = render(report, "html", 20)
    page = Page(text)
    assert not page.tags & {"script", "img", "iframe", "object", "link", "a", "form", "base", "foreignobject"}
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    row = next(iter(csv.reader(io.StringIO(render(report, "csv", 20)).readlines()[1:])))
    assert row[7][:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert json.loads(render(report, "json", 20))["groups"][0]["model"] in (name, "plain")


def test_a_page_asks_for_nothing_from_anywhere(november: Report) -> None:
    text = render(november, "html", 20)
    assert text.count("<svg") == 3
    assert not re.search(r"https?://(?!www\.w3\.org/)", text), "names of vocabularies are no addresses"
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert used <= set(ids)


def test_without_matplotlib_a_page_says_so_and_has_everything_else(
    november: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    text = render(november, "html", 20)
    assert "<svg" not in text
    assert "matplotlib is not installed" in text
    assert "4,028.74" in text
    assert "matplotlib is not installed" not in as_html(november, {})


def test_a_picture_says_the_same_twice(november: Report) -> None:
    assert plots.pictures(november) == plots.pictures(november)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a&#124;b"), ("a_b", "a_b"), ("_a_", "\\_a\\_"), ("[x](y)", "\\[x\\](y)"), ("http://x", "http&#58;//x"),
        ("$5", "$5"), ("$a$", "\\$a\\$"), ("me@x", "me&#64;x"), ("a\nb", "a b"), ("<b>", "&lt;b&gt;"),
    ],
)  # fmt: skip
def test_markdown_sees_letters_only(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_table_of_markdown_has_as_many_cells_in_every_row() -> None:
    for line in render(small([(name, name) for name in HOSTILE]), "md", 99).splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 7, 9), line


def test_csv_has_the_columns_of_the_docs_and_lines_that_end_as_they_should(november: Report) -> None:
    text = render(november, "csv", 20)
    assert text.splitlines()[0] == ",".join(name for name, _ in COLUMNS)
    assert text.count("\r\n") == text.count("\n") == 13
    page = (ROOT / "docs/how-to/send-a-report.md").read_text(encoding="utf-8")
    assert [name for name, _ in COLUMNS if f"| `{name}` |" not in page] == []


def test_money_that_is_not_known_is_said_so_and_never_zero() -> None:
    report = small([("free", None)], [0], unpriced_tokens=80)
    assert report.total.cost_nano_usd is None
    assert "no price" in render(report, "text", 20)
    row = next(csv.DictReader(io.StringIO(render(report, "csv", 20))))
    assert (row["cost_nano_usd"], row["cost_usd"], row["unpriced_tokens"]) == ("", "", "80")
    assert json.loads(render(report, "json", 20))["total"]["cost_nano_usd"] is None


def test_a_period_that_is_not_whole_is_said_so() -> None:
    known = month()
    days = dict(known.days)
    del days["2026-11-03"]
    days["2026-11-04"].lacking = 2
    days["2026-11-26"].running = True
    known.days = {day: kept for day, kept in days.items() if day <= "2026-11-26"}
    known.today = "2026-11-26"
    report = build(known, NOVEMBER, ["model"])
    states = {one.day: one.state for one in report.missing}
    assert states == {
        "2026-11-03": "unknown", "2026-11-04": "partly_known", "2026-11-26": "running",
        **dict.fromkeys(("2026-11-27", "2026-11-28", "2026-11-29", "2026-11-30"), "to_come"),
    }  # fmt: skip
    assert not report.complete
    assert report.comparison is None
    assert report.forecast is not None
    assert report.forecast.nano_usd is not None
    assert report.forecast.nano_usd > (report.total.cost_nano_usd or 0)
    for form in ("text", "md", "html"):
        text = " ".join(render(report, form, 20).split())
        for told in ("2026-11-03: not known, and not in any sum", "2 partitions said nothing of it", "not over yet"):
            assert told in text, form
    assert "false" in render(report, "csv", 20)


def test_nothing_known_of_a_period_is_no_report_of_zeros() -> None:
    known = month()
    with pytest.raises(InputError, match="nothing is known of 2026-11"):
        build(Known(known.timezone, known.today, known.now, {}), NOVEMBER, [])


def test_a_budget_is_the_daily_limit_times_the_days_and_days_above_it_are_named(november: Report) -> None:
    budget = november.budget
    assert budget is not None
    assert budget.period_nano_usd == 30 * 200 * 10**9
    assert budget.remaining_nano_usd == budget.period_nano_usd - (november.total.cost_nano_usd or 0)
    assert budget.days_over == [r.day for r in november.days if (r.cost_nano_usd or 0) > 200 * 10**9]
    known = month()
    known.budget = DailyBudget("daily_cost_usd", 100 * 10**9, built_in=True)
    text = render(build(known, NOVEMBER, []), "text", 20)
    assert "OVER" in text
    assert "built-in limit" in text


def test_a_scope_has_its_own_report() -> None:
    report = build(month(), NOVEMBER, ["model"], parse_scope("tenant=search"))
    assert [row.model for row in report.groups] == [
        "text-embedding-3-large", "text-embedding-3-small", "all-MiniLM-L6-v2",
    ]  # fmt: skip
    assert sum(row.cost_nano_usd or 0 for row in report.groups) == report.total.cost_nano_usd
    assert "of tenant=search" in render(report, "text", 20)
    assert report.measured is None


def test_by_day_and_model_the_rows_are_in_order_and_add_up() -> None:
    report = build(month(), NOVEMBER, ["day", "model"])
    assert len(report.groups) == 90
    assert [row.day for row in report.groups] == sorted(row.day or "" for row in report.groups)
    assert sum(row.cost_nano_usd or 0 for row in report.groups) == report.total.cost_nano_usd


@pytest.mark.parametrize(
    ("asked", "output", "form"),
    [
        (None, None, "text"), (None, "a.html", "html"), (None, "a.HTM", "html"), (None, "a.md", "md"),
        ("csv", "a.md", "csv"), (None, "a", "text"), (None, "a.csv", "csv"), (None, "a.json", "json"),
    ],
)  # fmt: skip
def test_the_form_is_asked_for_or_the_ending_of_the_file(asked: str | None, output: str | None, form: str) -> None:
    assert format_of(asked, None if output is None else Path(output)) == form


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="text, md, html, csv, json"):
        format_of("pdf", None)


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    target.chmod(0o640)
    write(target, "new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        write(target, "newer")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target], "no part of it is left behind"


def names_in(text: str) -> Iterator[str]:
    yield from re.findall(r"<text[^>]*>([^<]*)</text>", text)


def test_names_in_pictures_are_letters(november: Report) -> None:
    report = small([(name, None) for name in HOSTILE], [10**9 - n for n in range(len(HOSTILE))])
    text = plots.pictures(report)["groups"]
    assert "<script" not in text
    assert any("script" in name for name in names_in(text))
    assert "var(--bar)" in text
    assert not re.search(r"fill: #0[147ad]0[258be]0[369cf]", text)
