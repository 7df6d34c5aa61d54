"""Every route once: the server routes by this table, and the API is described from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
from stream_agents.web import answers, answers_alerts, answers_history

MAX_LIMIT = 1000
DEFAULT_LIMIT = 60
DEFAULT_HISTORY_SECONDS = 3600
DEFAULT_STEP_SECONDS = 60
MAX_STEP_SECONDS = 600
MAX_SCOPE_CHARS = 2000
#: `embedwatch.scopes.asked_scope`, for clients; names are percent-encoded.
SCOPE_PATTERN = r"^(all|scope=other|model=[^,]*(,tenant=[^,]*)?|tenant=[^,]*(,model=[^,]*)?)$"
#: Of `/events`. Each costs the agents the numbers of a moment once a second.
MAX_STREAMS = 100
#: Answers that take long, being made or waiting for it: histories have their own, ledgers and baselines theirs.
MAX_WAITING = 32


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query; none is required."""

    name: str
    text: str
    schema: dict[str, Any]
    example: str


@dataclass(frozen=True, slots=True)
class Route:
    """`handler` is the name of a method of `api.Routes`. `answer` is None where the body is no JSON."""

    path: str
    handler: str
    title: str
    text: str
    answer: type | None
    parameters: tuple[Parameter, ...] = ()
    media_type: str = "application/json"
    more: dict[int, tuple[str, type]] = field(default_factory=dict)  # further statuses: when, and the answer
    example: str = ""  # query string of the example in the docs

    @property
    def methods(self) -> tuple[str, ...]:
        """A HEAD of a stream would never end."""
        return ("GET",) if self.media_type == "text/event-stream" else ("GET", "HEAD")


WAITING: dict[int, tuple[str, type]] = {
    503: (f"{MAX_WAITING} such answers are being made already; try again later.", answers.Problem)
}

SCOPE = Parameter(
    "scope",
    "Whose numbers: `all`, `model=NAME`, `tenant=NAME` or `model=NAME,tenant=NAME`; names are percent-encoded.",
    {"type": "string", "maxLength": MAX_SCOPE_CHARS, "pattern": SCOPE_PATTERN, "default": "all"},
    "all",
)
ONE_SCOPE = Parameter(
    "scope", "Only this scope.", {"type": "string", "maxLength": MAX_SCOPE_CHARS, "pattern": SCOPE_PATTERN}, "all"
)
SLIDING = Parameter(
    "window_seconds",
    f"Length of the sliding window that ends now, a multiple of {PANE_SECONDS}.",
    {
        "type": "integer",
        "minimum": PANE_SECONDS,
        "maximum": MAX_WINDOW_SECONDS,
        "multipleOf": PANE_SECONDS,
        "default": 300,
    },
    "60",
)
PAST = Parameter(
    "seconds",
    f"How far back, a multiple of {PANE_SECONDS}.",
    {
        "type": "integer",
        "minimum": PANE_SECONDS,
        "maximum": MAX_WINDOW_SECONDS,
        "multipleOf": PANE_SECONDS,
        "default": DEFAULT_HISTORY_SECONDS,
    },
    "600",
)
STEP = Parameter(
    "step_seconds",
    f"Length of a row, a multiple of {PANE_SECONDS}.",
    {
        "type": "integer",
        "minimum": PANE_SECONDS,
        "maximum": MAX_STEP_SECONDS,
        "multipleOf": PANE_SECONDS,
        "default": DEFAULT_STEP_SECONDS,
    },
    "60",
)
CLOSED = Parameter(
    "window_seconds",
    "One of the lengths in `agents.window_seconds`; the shortest by default.",
    {"type": "integer", "minimum": PANE_SECONDS, "maximum": MAX_WINDOW_SECONDS, "multipleOf": PANE_SECONDS},
    "60",
)
LIMIT = Parameter(
    "limit", "At most so many rows.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "5",
)  # fmt: skip
DAY = Parameter("day", "Only this day, in the budget's time zone.", {"type": "string", "format": "date"}, "2026-07-14")

ROUTES: tuple[Route, ...] = (
    Route(
        "/", "index", "What there is",
        "The paths of this server; a browser (whatever accepts `text/html`) is sent to the page.", answers.Index,
    ),
    Route(
        "/ui", "page", "The page for people",
        "HTML that reads this API and loads nothing from elsewhere. What it shows stands in its address: `scope`, "
        "`window_seconds` (60, 300, 900 or 3600) and `past_seconds` of its charts (600, 1800 or 3600).",
        None, media_type="text/html", example="scope=all&window_seconds=300",
    ),
    Route(
        "/api/v1/summary", "summary", "The numbers of a moment",
        "A sliding window of a scope, the day so far, queue, workers, GPUs, and the rules that are breached.",
        answers.Summary, (SLIDING, SCOPE), example="window_seconds=60&scope=all",
    ),
    Route(
        "/api/v1/scopes", "scopes", "Whose numbers there are",
        "Every scope with an event in the last hour or on a day that is kept, `all` first. One that is not among them "
        "is answered with zeros and nulls: it may come.",
        answers.Scopes,
    ),
    Route(
        "/api/v1/windows", "windows", "Closed windows, and the open one",
        "Windows of event time that stand side by side, the newest first. Of each length the newest 2,000 of all "
        "scopes are remembered since the start; all of them, with their sketches, are on the topic `windows`. A window "
        "is closed when event time has passed its end by the grace (`agents.late_grace_seconds`). An event that comes "
        "later counts in `late_events` and in the ledger, and changes no closed window. `partial`: this process began, "
        "or was given other partitions, after the window began; its throughput is not known.",
        answers.Windows, (CLOSED, SCOPE, LIMIT), example="window_seconds=60&limit=5",
    ),
    Route(
        "/api/v1/history", "history", "Numbers over the last hour",
        "Rows that stand side by side, the oldest first, of one scope, made of the panes of 10 s that every sliding "
        "window is made of: so the newest row is the present, and what comes late is counted. At most 360 rows. null: "
        "nothing was measured, or (`partial`) this process did not see the row from its beginning and a rate would be "
        "a guess. The same answer is given for 2 s.",
        answers_history.History, (PAST, STEP, SCOPE), more=WAITING, example="seconds=600&step_seconds=60&scope=all",
    ),
    Route(
        "/api/v1/history/queue", "queue_history", "The queue and the workers over the last hour",
        "One sample every 10 s, the oldest first, as this process saw it since its start: a time that nobody looked at "
        "is missing. `workers` are those heard of as running; `desired_workers` is what was asked for then.",
        answers_history.QueueHistory, (PAST,), example="seconds=600",
    ),
    Route(
        "/api/v1/history/spend", "spend_history", "Today's spend over time",
        "Running sums by quarters of an hour of the day in the budget's time zone, exact; the last point is now. "
        "Beside it the budgets that judge the scope, and what is expected of the whole day. No points where nothing "
        "that was embedded today has a price. `untimed_nano_usd` is in every point: an older version booked it without "
        "a time of day.",
        answers_history.SpendHistory, (SCOPE,), example="scope=all",
    ),
    Route(
        "/api/v1/ledger", "ledger", "Exact sums by day and scope",
        "The days kept (today and two before), at most 1,000 scopes a day. A day is closed when it is over and the "
        "grace (`agents.late_grace_seconds`) has passed: what is booked on it afterwards is in its sums, stands in "
        "`late_*`, and is said on the topic `corrections`. Of all scopes the same answer is given for 2 s.",
        answers.Ledger, (DAY, ONE_SCOPE), more=WAITING,
        example="scope=all",
    ),
    Route(
        "/api/v1/lag", "lag", "The queue by partition",
        "The newest sample of each partition. One older than 30 s says nothing about now: its status is UNKNOWN.",
        answers.Lag,
    ),
    Route(
        "/api/v1/verdicts", "verdicts", "Every rule's judgement now", "The breached ones first, at most 1,000.",
        answers.Verdicts,
    ),
    Route(
        "/api/v1/baseline", "baseline", "What a baseline keeps",
        "Exact sums and sketches of every scope seen in the window (at most 1,000): `embedwatch baseline save` writes "
        "them to a file, and `embedwatch baseline diff` compares one with them. An hour of many busy scopes takes "
        "some seconds; what is counted meanwhile is in the later scopes only. The same answer is given for 2 s.",
        answers.BaselineAnswer, (SLIDING,), more=WAITING, example="window_seconds=3600",
    ),
    Route(
        "/api/v1/alerts", "alerts", "Rules that are breached now, and what became of them",
        "`breached` are verdicts, before `for`, grouping and silences: this process judges and does not alert. "
        "`states` is what `embedwatch alerts` made of them, as it stands on the topic `alerts`: those that fire first, "
        "at most 1,000; `transitions` is what happened to them and why, the newest first, at most 200. Where "
        "`states_known` is false, `states_reason` says why, and an empty list does not mean that nothing fires. Names "
        "of statuses and reasons are those of alerting, and newer ones may come.",
        answers_alerts.Alerts,
    ),
    Route(
        "/api/v1/scaling", "scaling", "How many workers there should be",
        "`desired_workers` is within all limits, `wanted_workers` is without; `limited_by` says which one counts. Both "
        "are null, and `desired_workers_reason` says why, where nothing may be decided: lag that cannot be read, a "
        "queue that stands still, texts that fail, agents that just started, a decision that nobody has confirmed for "
        "90 s. Null is no number: KEDA's trigger fails then and leaves the replicas as they are (`deploy/keda`). "
        "`decisions` are the latest 20 that asked for something else, the newest first. Lag, depth and rates are as "
        "measured, throughput over the last five minutes.",
        answers.Scaling,
    ),
    Route(
        "/events", "events", "The summary as a stream",
        "Server-sent events: an event `summary` at once and then each second in which something changed, its data as "
        "`/api/v1/summary` answers; a comment every 15 s when nothing does. It ends when the agents stop, or when "
        f"nobody reads it for 5 s. At most {MAX_STREAMS} at a time.",
        None, (SLIDING, SCOPE), "text/event-stream",
        {503: (f"There are {MAX_STREAMS} streams already; try again later.", answers.Problem)},
        "window_seconds=60",
    ),
    Route(
        "/metrics", "metrics", "Prometheus metrics",
        "Base units: seconds, USD, ratios from 0 to 1. What is not known is absent: so is money of a model without a "
        "price. Where only a part has a price, money is that part's, and `embedwatch_unpriced_tokens_today` is not 0. "
        "Counters count from the start of the process.",
        None, media_type="text/plain",
    ),
    Route("/healthz", "healthz", "Alive", "The process runs and its loop turns.", answers.Health),
    Route(
        "/readyz", "readyz", "Ready",
        "Partitions are assigned, the state is recovered, no gap is open, the broker answers, and what there is to say "
        "(verdicts, windows, days, corrections, decisions) goes out.", answers.Ready,
        more={503: ("Not ready; `reasons` says why.", answers.Ready)},
    ),
    Route("/openapi.json", "openapi", "This description", "OpenAPI 3.1.", dict),
)  # fmt: skip
