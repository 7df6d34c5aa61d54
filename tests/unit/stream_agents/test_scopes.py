"""Scopes have one text form, whatever a model or tenant is called."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_agents.compute.scopes import ALL, OTHER, parse_scope, scope_key, scopes_of

# As they arrive: JSON on the wire holds no lone surrogates.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def test_an_event_counts_for_everything_its_model_its_tenant_and_both() -> None:
    assert scopes_of("m", None) == (ALL, (("model", "m"),))
    assert scopes_of("m", "t") == (ALL, (("model", "m"),), (("tenant", "t"),), (("model", "m"), ("tenant", "t")))


@given(names, names)
def test_a_long_name_is_cut_and_stays_another_than_others(one: str, other: str) -> None:
    from stream_agents.compute.scopes import LONGEST_QUOTED, short_name

    for name in (one, one * 30, "😀" * 200 + one):
        assert len(quote(short_name(name), safe=" ./:@-")) <= LONGEST_QUOTED
        assert short_name(short_name(name)) == short_name(name)
    assert short_name("BAAI/bge-m3") == "BAAI/bge-m3"
    if one != other:
        assert short_name("😀" * 200 + one) != short_name("😀" * 200 + other)


def test_an_empty_tenant_is_none() -> None:
    # Prometheus takes an empty label for an absent one: there would be two series of one name.
    assert scopes_of("m", "") == scopes_of("m", None)


def test_keys_are_readable_for_usual_names() -> None:
    assert [scope_key(scope) for scope in (ALL, OTHER)] == ["all", "scope=other"]
    assert scope_key((("model", "BAAI/bge-m3:v1"), ("tenant", "acme corp"))) == "model=BAAI/bge-m3:v1,tenant=acme corp"
    assert scope_key((("model", "a,b=c%"),)) == "model=a%2Cb%3Dc%25"


@given(model=names, tenant=st.none() | names)
def test_a_key_leads_back_to_its_scope(model: str, tenant: str | None) -> None:
    for scope in scopes_of(model, tenant):
        assert parse_scope(scope_key(scope)) == scope


@given(one=st.tuples(names, st.none() | names), two=st.tuples(names, st.none() | names))
def test_two_scopes_never_share_a_key(one: tuple[str, str | None], two: tuple[str, str | None]) -> None:
    for first in scopes_of(*one):
        for second in scopes_of(*two):
            assert (scope_key(first) == scope_key(second)) == (first == second)


@pytest.mark.parametrize("text", ["", "everything", "model", "=m", "model=m,", ",model=m"])
def test_a_text_that_is_no_scope_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a scope such as all or model=NAME"):
        parse_scope(text)
