"""How each command of the documentation is tried: the table. What it does not name is run and must end with 0.

`LESSER` are those that are not run here, each with the reason. Their programs, options, variables and files are held to
the code all the same (`tests/unit/docs`). `RUN` says what a command that is run needs, or ends with. The first that
matches decides; one that matches nothing any more fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.harness.doc_blocks import Command


@dataclass(frozen=True, slots=True)
class Lesser:
    pattern: str
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """`codes` it may end with; `until`: what it prints before it is stopped by Ctrl-C; `more` stands for a person."""

    pattern: str
    reason: str
    codes: tuple[int, ...] = (0,)
    until: str | None = None
    more: str = ""


LESSER = (
    Lesser(r"^(git|cd|mkdir|cp|export|pip|npm|source|\.) ?", "belongs to the shell of who types it"),
    Lesser(r"^make ", "makes a virtual environment or takes minutes; the target must be in the Makefile"),
    Lesser(r"\bkubectl\b", "needs Kubernetes"),
    Lesser(r"\bdocker\b", "needs Docker"),
    Lesser(r"\b(kafka-[a-z-]+\.sh|keytool|openssl)\b", "needs a Kafka installation, or makes a secret"),
    Lesser(r"^(\S+=\S* )*embedwatch up\b", "the session's own stack is one"),
    Lesser(r"^embedwatch demo\b", "needs the real model and a minute: tests/e2e/test_demo.py"),
    Lesser(r"(--backend openai|EMBEDWATCH_WORKER_API_)", "needs an endpoint and its key"),
    Lesser(r"(--model |--device cuda|--processes-per-gpu)", "needs another model or a GPU"),
    Lesser(r"embedwatch worker\b.*--delivery exactly_once", "needs Apache Kafka: tests/contract/test_exactly_once.py"),
    Lesser(r"embedwatch worker\b.*--processes", "starts processes for good: tests/integration/test_worker_crew.py"),
    Lesser(r"^(\S+=\S* )*embedwatch agents(?! rebuild)", "a second one would take half of the session's partitions"),
    Lesser(r"embedwatch alerts( -|$)", "a second one would wait for the session's: tests/integration/test_alerting_*"),
    Lesser(r"^embedwatch autoscale (?!.*--dry-run)", "starts workers for good: tests/e2e/test_autoscale.py"),
    Lesser(r"--(bootstrap-servers|cache-url|agents-url)[ =](?!127)|-b [a-z][\w-]*:", "names another machine"),
    Lesser(r"--scope model=", "names a model that the session does not have"),
    Lesser(r"^embedwatch topics create .*--replication-factor [2-9]", "needs several brokers"),
    Lesser(
        r"--day (yesterday|2)|--(week|month) (last|2)",
        "the session's ledger began today: tests/integration/test_agents_corrections.py, test_agents_days.py",
    ),
    Lesser(r"^embedwatch top\b(?!.*--(once|json))", "draws on a terminal, which it is played on in its own tests"),
    Lesser(r"\bjq\b", "jq may not be on this machine"),
)  # fmt: skip

RUN = (
    Run(r"^embedwatch worker", "it works until it is stopped", until="partitions assigned: "),
    Run(r"--follow", "it goes on until it is stopped", until=r"."),
    Run(r"^embedwatch autoscale .*--dry-run", "it goes on until it is stopped", until=r"workers"),
    Run(r"^embedwatch dlq replay (?!.*--yes)", "asks first, and only at a terminal", more=" --yes"),
    Run(r"^(\S+=\S* )*embedwatch doctor\b", "not all that it looks at is there", codes=(0, 1, 4)),
    Run(r"^embedwatch baseline diff ", "a minute of texts may be too little to tell", codes=(0, 1, 8)),
    Run(r"^embedwatch compare ", "a minute of texts may be too little to tell", codes=(0, 1, 8)),
    Run(r"^embedwatch checklist\b", "not every point is met here: the answer is no", codes=(0, 1)),
    Run(r"^embedwatch alerts (ack|snooze|show) queue_depth", "it fires only where texts wait", codes=(0, 3)),
    Run(r"^embedwatch simulate .*--from-topic", "some seconds of samples may be too few", codes=(0, 3, 8)),
)


#: Pages whose Python is run block by block by a test of its own, against endpoints that the session has not.
PYTHON_ELSEWHERE = {"docs/reference/sdk-adapters.md": "tests/unit/embedwatch/sdk/test_adapters_page.py"}

#: Whole pages of which nothing is run.
LESSER_PAGES = {
    "docs/reference/commands.md": "made from each command's help, whose examples name files and machines of a reader"
}


def lesser(command: Command) -> Lesser | None:
    """Why a command is not run, or None."""
    if command.page in LESSER_PAGES:
        return Lesser(command.text, LESSER_PAGES[command.page])
    return next((way for way in LESSER if re.search(way.pattern, command.text)), None)


def run_of(command: Command) -> Run:
    plain = Run("", "ends by itself")
    return next((way for way in RUN if re.search(way.pattern, command.text)), plain)
