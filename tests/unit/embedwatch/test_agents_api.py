"""The client of the agents' API: what is wrong is said in words."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from embedwatch.agents_api import AgentsApi, default_url
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.settings import AgentSettings, Settings

Answer = Callable[[httpx.Request], httpx.Response]


def api(answer: Answer) -> AgentsApi:
    return AgentsApi("http://agents:6066/", transport=httpx.MockTransport(answer))


def test_a_summary_is_asked_for_its_window_and_scope() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"scope": "model=a"})

    with api(answer) as client:
        assert client.summary(60, "model=a") == {"scope": "model=a"}
    assert asked == ["http://agents:6066/api/v1/summary?window_seconds=60&scope=model%3Da"]


def test_the_ledger_is_asked_for_one_scope() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"rows": []})

    with api(answer) as client:
        assert client.ledger("tenant=a") == {"rows": []}
    assert asked == ["http://agents:6066/api/v1/ledger?scope=tenant%3Da"]


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_not_ready_is_an_answer_and_no_error(status: int, ready: bool) -> None:
    with api(lambda _: httpx.Response(status, json={"ready": ready, "reasons": ["a gap is open"]})) as client:
        assert client.ready() == (ready, ["a gap is open"])


def test_a_wrong_parameter_is_the_callers_and_told_in_the_agents_words() -> None:
    with (
        api(lambda _: httpx.Response(400, json={"error": "window_seconds is a multiple of 10"})) as client,
        pytest.raises(ConfigError, match="multiple of 10"),
    ):
        client.summary(7)


@pytest.mark.parametrize("url", ["agents:6066", "http://", "ftp://agents", "http://agents:port", "", "http://[::1"])
def test_a_url_that_is_none_is_told_before_anything_is_asked(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--agents-url: .* is not the address of an HTTP server"):
        AgentsApi(url)


def test_agents_of_an_older_version_know_no_list_of_scopes() -> None:
    with api(lambda _: httpx.Response(404, json={"error": "no such path"})) as client:
        assert client.scopes() is None
    with api(lambda _: httpx.Response(200, json={"scopes": ["all", "model=m"]})) as client:
        assert client.scopes() == ["all", "model=m"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(404, text="not found"),
        lambda _: httpx.Response(200, text="<html>a proxy</html>"),
        lambda _: httpx.Response(200, json=["a list"]),
        lambda _: httpx.Response(500, json={"error": "x"}),
    ],
)
def test_something_else_on_that_port_is_told_apart(answer: Answer) -> None:
    with api(answer) as client, pytest.raises(ConnectionFailed, match="is not the stream agents"):
        client.summary()


def test_nobody_there_says_how_to_start_them() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with api(refuse) as client, pytest.raises(ConnectionFailed, match=r"connection refused.*embedwatch agents"):
        client.summary()


def test_silence_is_told_as_such() -> None:
    def wait(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with api(wait) as client, pytest.raises(ConnectionFailed, match="did not answer in time"):
        client.ready()


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:6066"), ("0.0.0.0", "http://127.0.0.1:6066"), ("::1", "http://[::1]:6066")],
)
def test_the_address_follows_the_settings(host: str, url: str) -> None:
    assert default_url(Settings(agents=AgentSettings(web_host=host))) == url


def test_a_password_in_the_address_is_used_and_shown_to_nobody() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Basic ")
        raise httpx.ConnectError("refused", request=request)

    client = AgentsApi("http://user:SECRETpw@agents:6066", transport=httpx.MockTransport(refuse))
    with client, pytest.raises(ConnectionFailed, match="no stream agents at http://agents:6066") as caught:
        client.summary()
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigError) as wrong:
        AgentsApi("ftp://user:SECRETpw@agents")
    assert "SECRET" not in str(wrong.value)


def test_alerts_and_the_last_hour_are_asked_for_and_older_agents_have_no_hour() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/alerts":
            return httpx.Response(200, json={"breached": [], "states": []})
        old = request.url.params["scope"] == "all"
        return httpx.Response(404, json={"error": "no such path"}) if old else httpx.Response(200, json={"rows": [{}]})

    with api(answer) as client:
        assert client.alerts() == {"breached": [], "states": []}
        assert client.history() is None
        assert client.history("model=a") == [{}]
