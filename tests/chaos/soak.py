"""`make soak`: very many texts through the whole flow on Apache Kafka, and what every process takes meanwhile.

    python -m tests.chaos.soak --texts 2000000 --out docs/explanation

Producer, worker, autoscaler with a worker of its own, agents, alerting, Redis and one broker. The producer is held
back while more than `MAX_BEHIND_TEXTS` are not counted yet, as whoever feeds a queue should do. Memory (RSS) and open
handles are read from /proc. Writes data/soak.json and soak.svg below --out; ends with 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedwatch.processes import die_with_parent
from tests.chaos.curves import Growth, growth
from tests.chaos.faults import Run
from tests.chaos.world import NANO_USD_A_TOKEN, World
from tests.harness.truth import differences

#: The producer waits while so many texts are sent and not counted.
MAX_BEHIND_TEXTS = 60_000
#: What is on its way in pipes and chunks when it begins to wait.
SLACK_TEXTS = 20_000
SAMPLE_SECONDS = 3.0
#: Each text of so many comes again later: the cache has something to do.
REPEATED = 4
DRAIN_SECONDS = 300.0
OURS = ("producer", "worker", "autoscaler", "agents", "alerting")


@dataclass(slots=True)
class Sample:
    """`rss_bytes` and `handles` by process; `behind` are texts sent and not counted, `queued` those in the topic."""

    seconds: float
    sent: int
    behind: int
    queued: int | None
    rss_bytes: dict[str, int] = field(default_factory=dict)
    handles: dict[str, int] = field(default_factory=dict)


class Soak(World):
    """The world without faults: one broker, reached directly, and texts as fast as they are done."""

    compares = False

    def __init__(self, folder: Path, texts: int, say: Callable[[str], None]) -> None:
        super().__init__(folder, Run("soak", 0), brokers=1, say=say)
        self.texts = texts
        self.sent = 0
        self.counted = 0
        self.samples: list[Sample] = []
        self._feeding: subprocess.Popen[bytes] | None = None
        self._done = threading.Event()

    def _mount(self, name: str, folder: Path, size_bytes: int) -> None:
        """Nothing is filled up here, and a million vectors need room."""

    def _environ(self, name: str) -> dict[str, str | None]:
        assert self.cluster is not None
        return {
            **super()._environ(name),
            "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap_servers,
            "EMBEDWATCH_WORKER_HASHING_SECONDS_PER_TEXT": "0",
            "EMBEDWATCH_WORKER_MAX_POLL_TEXTS": "1024",
            # A million vectors are no state of a process that has to be flat: the cache in front stays small.
            "EMBEDWATCH_CACHE_LOCAL_MAX_BYTES": str(4 * 1024 * 1024),
        }

    def begin_load(self) -> None:
        """A producer that reads what we write."""
        log = (self.folder / "producer-1.log").open("wb")
        command = [sys.executable, "-m", "embedwatch", "produce", "-", "--source", "soak", "--tenant", "soak", "--json"]
        environ = {name: value for name, value in self._environ("producer").items() if value is not None}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
        self._feeding = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=kept | environ, preexec_fn=die_with_parent,
            start_new_session=True,
        )  # fmt: skip
        self._stack.callback(self._feeding.kill)

    def feed(self) -> None:
        """Write all texts, a piece at a time and no faster than they are counted."""
        assert self._feeding is not None
        assert self._feeding.stdin is not None
        try:
            for start in range(0, self.texts, 1000):
                while self.sent - self.counted > MAX_BEHIND_TEXTS:
                    if self._done.wait(0.05):
                        return
                lines = "".join(_text(number) for number in range(start, min(start + 1000, self.texts)))
                self._feeding.stdin.write(lines.encode())
                self._feeding.stdin.flush()
                self.sent = min(start + 1000, self.texts)
            self._feeding.stdin.close()
        except OSError as error:
            self.say(f"the producer takes no more: {error}")

    def go(self) -> None:
        """Until all is counted, with a sample every few seconds."""
        feeder = threading.Thread(target=self.feed, name="feeder")
        feeder.start()
        began = told = time.monotonic()
        due = began
        quiet_since = began
        try:
            while self.counted < self.texts:
                self.tend()
                status, data = self.get("/api/v1/summary")
                if status == 200:
                    before, self.counted = self.counted, data["today"]["texts"]
                    quiet_since = time.monotonic() if self.counted > before else quiet_since
                now = time.monotonic()
                assert now - quiet_since < DRAIN_SECONDS, f"nothing is counted any more\n{self.last_words()}"
                if now >= due:
                    due += SAMPLE_SECONDS
                    self.samples.append(self._sample(now - began, data if status == 200 else {}))
                if now - told > 30:
                    told = now
                    rate = self.counted / (now - began)
                    self.say(f"{self.counted:,} of {self.texts:,} texts, {rate:,.0f}/s")
                time.sleep(0.2)
        finally:
            self._done.set()
            feeder.join(30)
        self.samples.append(self._sample(time.monotonic() - began, data))

    def _sample(self, seconds: float, summary: dict[str, Any]) -> Sample:
        queue = summary.get("queue") or {}
        found = Sample(seconds, self.sent, max(0, self.sent - self.counted), queue.get("depth_texts"))
        assert self.cluster is not None
        roots = {name: child.pid for name, child in self.children.items()}
        roots |= {"Redis": self.cache.pid or 0, "Kafka": self.cluster.process(1).pid}
        if self._feeding is not None and self._feeding.poll() is None:
            roots["producer"] = self._feeding.pid
        for name, root in roots.items():
            for number, pid in enumerate(_tree(root)):
                with contextlib.suppress(OSError):
                    label = name if not number else f"{name} child {number}"
                    found.rss_bytes[label] = _rss_bytes(pid)
                    found.handles[label] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return found

    def prove(self) -> list[str]:
        """What does not hold, in words."""
        wrong = []
        assert self._feeding is not None
        if self._feeding.wait(60) != 0:
            wrong.append(f"the producer ended with {self._feeding.returncode}")
        self.wait(self._drained, "drained queue", DRAIN_SECONDS)
        evidence = self.evidence
        texts = sum(evidence.texts.values())
        if texts != self.texts or evidence.texts != evidence.vectors or evidence.letters:
            lost = sum((evidence.texts - evidence.vectors).values())
            doubled = sum((evidence.vectors - evidence.texts).values())
            wrong.append(f"{self.texts} texts sent, {texts} arrived, {lost} lost, {doubled} doubled")
        with contextlib.suppress(AssertionError):
            self.wait(lambda: not differences(evidence.counted, self._served()), "agreement", 60)
        found = differences(evidence.counted, self._served())
        if found or any(self._money()):
            wrong.append(f"totals differ: {found[:5]}, money {self._money()}")
        return wrong


def judged(samples: Sequence[Sample]) -> tuple[list[Growth], list[Growth]]:
    """Growth of memory and handles of each of our processes over the second half."""
    names = sorted({name for sample in samples for name in sample.rss_bytes})
    ours = [name for name in names if name.split(" child")[0] in OURS]

    def series(name: str, values: str) -> list[tuple[float, float]]:
        return [(s.seconds, float(getattr(s, values)[name])) for s in samples if name in getattr(s, values)]

    memory = [growth(name, series(name, "rss_bytes")) for name in ours]
    handles = [growth(name, series(name, "handles")) for name in ours]
    return [each for each in memory if each], [each for each in handles if each]  # type: ignore[misc]


def _text(number: int) -> str:
    """Every fourth is an earlier one again."""
    place = number - 1000 * (1 + number % 40) if number % REPEATED == 0 and number > 50_000 else number
    return f"text number {place} of a long run with some words {place % 97}\n"


def _tree(pid: int) -> Iterator[int]:
    """A process and those that it has started, and they in turn."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"process {pid} has ended")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, default=Path("docs/explanation"))
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    with (
        tempfile.TemporaryDirectory(prefix="embedwatch-soak-") as folder,
        Soak(Path(folder), options.texts, say) as soak,
    ):
        began = time.monotonic()
        soak.go()
        seconds = time.monotonic() - began
        wrong = soak.prove()
    memory, handles = judged(soak.samples)
    most_behind = max(sample.behind for sample in soak.samples)
    if most_behind > MAX_BEHIND_TEXTS + SLACK_TEXTS:
        wrong.append(f"{most_behind} texts behind, more than {MAX_BEHIND_TEXTS + SLACK_TEXTS}")
    for what, found in (("memory", memory), ("handles", handles)):
        for each in found:
            say(f"{what:8} {each}")
            if not each.flat(8 * 1024 * 1024 if what == "memory" else 3):
                wrong.append(f"{what} of {each}")
    say(
        f"{options.texts:,} texts in {seconds:.0f} s ({options.texts / seconds:,.0f}/s), at most {most_behind:,} behind"
    )
    _write(options.out, options.texts, seconds, soak.samples, memory, handles, wrong)
    for line in wrong:
        say(f"DOES NOT HOLD: {line}")
    return 1 if wrong else 0


def _write(
    out: Path, texts: int, seconds: float, samples: list[Sample], memory: list[Growth], handles: list[Growth],
    wrong: list[str],
) -> None:  # fmt: skip
    from tests.chaos.curves import draw

    (out / "data").mkdir(parents=True, exist_ok=True)
    document = {
        "texts": texts,
        "seconds": round(seconds, 1),
        "texts_per_s": round(texts / seconds, 1),
        "most_behind_texts": max(sample.behind for sample in samples),
        "max_behind_texts": MAX_BEHIND_TEXTS + SLACK_TEXTS,
        "nano_usd_a_token": NANO_USD_A_TOKEN,
        "holds": not wrong,
        "wrong": wrong,
        "memory": [each.document() for each in memory],
        "handles": [each.document() for each in handles],
        "samples": [
            {
                "seconds": round(each.seconds, 1),
                "sent": each.sent,
                "behind": each.behind,
                "queued": each.queued,
                "rss_bytes": each.rss_bytes,
                "handles": each.handles,
            }
            for each in samples
        ],
    }
    (out / "data" / "soak.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    draw(out / "soak.svg", document)


if __name__ == "__main__":
    sys.exit(main())
