"""Presses of Slack's buttons, by Socket Mode: a connection that we open, so that no address of ours has to be public.

A press is acknowledged to Slack after Kafka has it: else whoever pressed is shown that it failed, and Slack may tell us
again, which is the same act. Slack gives each press to one connection; every alerting process may hold one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode import SocketModeClient

from alerting.local import is_local
from alerting.parcels import SendFailed
from alerting.slack_api import NO_ANSWER, SlackSays
from alerting.slack_buttons import asked
from alerting.slack_http import SlackWeb, silent, unreachable
from alerting.wording import clean
from embedwatch.clock import Clock
from embedwatch.errors import EmbedwatchError
from embedwatch.events import AlertAction

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 300.0
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 5.0
#: Presses at once: people are few.
WORKERS = 2


class Buttons:
    """`start`, and `stop` at the end. `publish` keeps an act or raises `EmbedwatchError`; it is called from threads."""

    def __init__(
        self,
        app_token: str,
        *,
        api_url: str,
        timeout_seconds: float,
        publish: Callable[[AlertAction], None],
        clock: Clock,
        zone: tzinfo,
    ) -> None:
        self._publish, self._clock, self._zone = publish, clock, zone
        self._web = SlackWeb(api_url=api_url, timeout_seconds=timeout_seconds)
        self._app_token, self._local = app_token, is_local(api_url)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerting-slack-buttons", daemon=True)

    def start(self) -> None:
        """Returns at once: alerts go out whether buttons work or not."""
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(CLOSE_SECONDS)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        client = SocketModeClient(
            app_token=self._app_token, web_client=self._web, logger=silent, concurrency=WORKERS, ping_interval=5
        )
        if self._local:
            client.proxy = None
        client.socket_mode_request_listeners.append(self._hear)
        try:
            if self._connect(client):
                self._watch(client)
        finally:
            _close(client)

    def _connect(self, client: SocketModeClient) -> bool:
        """Until it is connected: slack-sdk does so by itself only after the first time. False: stopped before."""
        wait, said = FIRST_WAIT_SECONDS, ""
        while not self._stopping.is_set():
            try:
                client.connect()
            except SlackApiError as error:
                failure = SlackSays(error.response).failure
            except SendFailed as error:
                failure = error
            except NO_ANSWER as error:
                failure = unreachable(error)
            else:
                return True
            if failure.reason != said:
                said = failure.reason
                log.log(_level(failure), "slack: buttons do not work: %s; trying again", _words(failure))
            self._stopping.wait(failure.retry_after_seconds or wait)
            wait = min(LONGEST_WAIT_SECONDS, wait * 2)
        return False

    def _watch(self, client: SocketModeClient) -> None:
        """Say when the connection is lost and when it is back; slack-sdk mends it."""
        was: bool | None = None
        while not self._stopping.is_set():
            now = client.is_connected()
            if now != was:
                if now:
                    log.info("slack: buttons work")
                elif was:
                    log.info("slack: the connection for buttons is lost, trying again")
                was = now
            self._stopping.wait(LOOK_SECONDS)

    def _hear(self, client: Any, request: Any) -> None:
        """In a thread of slack-sdk, whose log is off: nothing may be raised."""
        try:
            if request.type == "interactive" and not self._keep(request.payload):
                return
            client.send_socket_mode_response({"envelope_id": request.envelope_id})
        except Exception as error:
            log.error("slack: a press of a button was not taken: %s", type(error).__name__)  # noqa: TRY400

    def _keep(self, payload: Any) -> bool:
        """False when it could not be kept."""
        action = asked(payload if isinstance(payload, dict) else {}, self._clock.now(), self._zone)
        if action is None:
            return True
        try:
            self._publish(action)
        except EmbedwatchError as error:
            log.error("slack: %s's press of a button is not kept: %s", clean(action.by, 100), error)  # noqa: TRY400
            return False
        return True


def _close(client: SocketModeClient) -> None:
    """slack-sdk waits for its reader, which waits for Slack for seconds: a connection that is cut wakes it."""
    client.auto_reconnect_enabled = False
    client.current_session_state.terminated = True
    connection = getattr(client.current_session, "sock", None)
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    client.close()


def check(app_token: str, *, api_url: str, timeout_seconds: float) -> str:
    """Ask whether buttons would work. Raises `SendFailed`."""
    web = SlackWeb(api_url=api_url, timeout_seconds=timeout_seconds)
    try:
        web.apps_connections_open(app_token=app_token)
    except SlackApiError as error:
        failure = SlackSays(error.response).failure
        raise SendFailed(_words(failure), retryable=failure.retryable) from None
    except NO_ANSWER as error:
        raise unreachable(error) from None
    return "Slack knows the app token: buttons work"


def _words(failure: SendFailed) -> str:
    return failure.reason.replace("bot token", "app token").replace("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN")


def _level(failure: SendFailed) -> int:
    return logging.WARNING if failure.retryable else logging.ERROR
