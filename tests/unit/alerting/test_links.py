from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.links import MAX_URL_CHARS, dashboard, in_text, runbook
from alerting.message import compose
from embedwatch.runbooks import mistake
from tests.harness.verdicts import verdict
from tests.unit.alerting.test_message import owed


def test_a_dashboard_opens_at_what_the_alert_is_about() -> None:
    address = "https://d.example/x?m={model}&t={tenant}&r={rule}&other={other}"
    about = verdict(scope={"model": "a b/c&d"}, rule="p95")
    assert dashboard(address, about) == "https://d.example/x?m=a%20b%2Fc%26d&t=&r=p95&other={other}"
    assert dashboard(address) == "https://d.example/x?m=&t=&r=&other={other}"


@given(st.text(max_size=600))
def test_no_name_leaves_its_place_in_the_address(name: str) -> None:
    found = dashboard("https://d.example/?m={model}&end", verdict(scope={"model": name}))
    assert found.startswith("https://d.example/?m=")
    assert found.endswith("&end")
    assert len(found) <= MAX_URL_CHARS
    assert not set(found.removeprefix("https://d.example/?m=").removesuffix("&end")) & set("&<>|\"' /?#{}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("ask Ada", None),
        ("See https://wiki.example/a?b=c.", "https://wiki.example/a?b=c"),
        ("(https://wiki.example/a), then https://other.example", "https://wiki.example/a"),
        ("javascript:alert(1) ftp://x", None),
    ],
)
def test_the_address_in_a_rules_text_is_its_runbook_where_it_names_none(text: str | None, found: str | None) -> None:
    assert in_text(text) == found
    links = compose(owed("firing", verdict(text=text))).links
    assert [(link.label, link.url) for link in links] == ([("Runbook", found)] if found else [])


def test_the_runbook_that_a_rule_names_goes_before_what_its_text_says() -> None:
    said = verdict(text="see https://wiki.example/text", runbook="https://wiki.example/named")
    assert runbook(said) == "https://wiki.example/named"
    message = compose(owed("firing", said), "https://d.example/")
    assert [(link.label, link.url) for link in message.links] == [
        ("Dashboard", "https://d.example/"), ("Runbook", "https://wiki.example/named"),
    ]  # fmt: skip
    assert message.note == "see https://wiki.example/text"


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: "https://w.example/" + text))
def test_a_verdict_of_anybody_links_no_more_than_a_rule_may(named: str) -> None:
    found = runbook(verdict(runbook=named))
    assert found is None or (found == named and mistake(named) is None)
