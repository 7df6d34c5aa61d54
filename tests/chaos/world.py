"""The whole flow as processes, everything that can go wrong with them, and how it is seen that all is well again.

Producer, two workers (one of them the autoscaler's), agents, alerting, autoscaler, Redis and the brokers run as an
operator would run them; Slack is the stand-in. Each talks to Kafka and Redis through a proxy of its own. A process
that ends by itself is started again, as a service manager does, and counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from embedwatch import wire
from embedwatch.kafka import create_topics, producer
from embedwatch.processes import Child, free_port
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.services.cache import EmbeddedCache, Unavailable, start_cache
from embedwatch.services.slack_standin import SlackStandIn
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from tests.chaos.evidence import Evidence, told
from tests.chaos.faults import Fault, Outcome, Run, Step
from tests.harness import moved_clock
from tests.harness.agents import PARTITIONS
from tests.harness.kafka_cluster import KafkaCluster
from tests.harness.proxy import Switchboard
from tests.harness.requirements import missing, start_embedded
from tests.harness.trial import read_states
from tests.harness.truth import FIELDS, Totals, differences, totals_of

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("producer", "worker", "agents", "alerting", "autoscaler")
#: One token costs so much: what a probe costs is above the limit of its tenant, whatever the cache gives of it.
NANO_USD_A_TOKEN = 1_000_000
LIMIT_NANO_USD = 5 * NANO_USD_A_TOKEN
PROBE_TEXTS = 10
DIMS = 16
LOAD_TEXTS_PER_S = 40
RECOVERY_SECONDS = 150.0
DRAIN_SECONDS = 150.0
#: So long after everything seems to be there it is looked at once more.
LATE_SECONDS = 3.0
DISK_BYTES = 256 * 1024 * 1024
RULES = f"""\
rules:
  - name: spend
    metric: daily_cost_usd
    threshold: {LIMIT_NANO_USD / 1e9}
    by: [tenant]
    steps_pct: [100]
"""


class World:
    """Use it as a context manager. `brokers` 0: the embedded broker."""

    #: Whether each vector is compared with its text, which takes memory.
    compares = True

    def __init__(self, folder: Path, run: Run, *, brokers: int, say: Callable[[str], None]) -> None:
        self.folder, self.run, self.say = folder, run, say
        self.zone = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"  # in which it is about noon: no day ends meanwhile
        self.children: dict[str, Child] = {}
        self.down: set[str] = set()  # ended on purpose
        self.slack = SlackStandIn(messages_per_second=None)
        self.board = Switchboard()
        self._brokers = brokers
        self._stack = contextlib.ExitStack()
        self._starts: dict[str, int] = {}
        self.disks: dict[str, Path] = {}
        self._load = 0
        self._load_skip = 0
        self.cluster: KafkaCluster | None = None
        self.embedded: EmbeddedBroker | None = None
        self.clocks = {name: folder / f"clock-{name}" for name in WAYS}

    def __enter__(self) -> World:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- the start ---

    def _start(self) -> None:
        self._stack.enter_context(self.board)
        self._stack.enter_context(self.slack)
        for file in self.clocks.values():
            moved_clock.write(file, 0.0)
        (self.folder / "rules.yaml").write_text(RULES)
        self._start_brokers()
        cache = start_cache(self.folder / "cache", max_memory_bytes=32 * 1024 * 1024)
        if isinstance(cache, Unavailable):
            missing("redis", cache.reason)
        self.cache: EmbeddedCache = cache
        self._stack.callback(cache.stop)
        self._cache_port = self.board.link("redis", cache.port)
        self.topics = Topics(self.kafka.topic_prefix)
        create_topics(self.kafka, self.topics.specs())
        dims = DIMS if self.compares else None
        self.evidence = Evidence(self.kafka, self.zone, trusted_ends=self.cluster is not None, dims=dims)
        self._port = free_port()
        self._stack.callback(self._end_all)
        self._mount("agents", self.folder / "agents-data", 1024 * 1024)
        self._producer = producer(
            self.kafka, "probes", max_block_ms=60_000, delivery_timeout_ms=120_000, request_timeout_ms=5_000
        )
        self._stack.callback(self._producer.close, 5)
        for name in ("agents", "alerting", "worker", "autoscaler"):
            self.launch(name)
        self.begin_load()
        self.wait(lambda: self.get("/readyz")[0] == 200, "agents that are ready", 180)

    def _start_brokers(self) -> None:
        prefix, options = "chaos", {"session_timeout_seconds": 6.0, "connect_timeout_seconds": 20.0}
        if not self._brokers:
            self.embedded = EmbeddedBroker(self.folder / "broker")
            self._stack.callback(self.embedded.stop)
            start_embedded(self.embedded)
            servers = self.embedded.bootstrap_servers
            self.ways = dict.fromkeys(WAYS, servers)
        else:
            self.cluster = KafkaCluster(
                self.folder / "kafka", brokers=self._brokers, ways=WAYS, say=self.say,
                advertise=lambda way, node, port: self.board.link(f"{way}:{node}", port),
            )  # fmt: skip
            self._stack.callback(self.cluster.stop)
            for node in self.cluster.nodes:
                self._mount(f"broker-{node}", self.cluster.data_folder(node), DISK_BYTES)
            self.cluster.start()
            servers = self.cluster.bootstrap_servers
            self.ways = {way: self.cluster.way(way) for way in WAYS}
        self.kafka = KafkaSettings(
            bootstrap_servers=servers, topic_prefix=prefix, partitions=PARTITIONS,
            replication_factor=max(1, self._brokers), **options,
        )  # fmt: skip

    def _mount(self, name: str, folder: Path, size_bytes: int) -> None:
        """A disk of its own, where we may: without it nothing can be full."""
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)], capture_output=True, check=False
        )
        if done.returncode == 0:
            self.disks[name] = folder
            self._stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)

    @property
    def has_disks(self) -> bool:
        return bool(self.disks)

    def _environ(self, name: str) -> dict[str, str | None]:
        ours: dict[str, str | None] = {each: None for each in os.environ if each.startswith("EMBEDWATCH_")}
        return ours | {
            "PYTHONUNBUFFERED": "1",
            "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": self.ways[name],
            "EMBEDWATCH_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "EMBEDWATCH_KAFKA_PARTITIONS": str(PARTITIONS),
            "EMBEDWATCH_KAFKA_REPLICATION_FACTOR": str(self.kafka.replication_factor),
            "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "EMBEDWATCH_CACHE_URL": f"redis://127.0.0.1:{self._cache_port}/0",
            "EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS": json.dumps({"test-model": NANO_USD_A_TOKEN / 1000}),
            "EMBEDWATCH_BUDGET_TIMEZONE": self.zone,
            "EMBEDWATCH_WORKER_BACKEND": "hashing",
            "EMBEDWATCH_WORKER_MODEL": "test-model",
            "EMBEDWATCH_WORKER_HASHING_DIMS": str(DIMS),
            "EMBEDWATCH_WORKER_HASHING_SECONDS_PER_TEXT": "0.002",
            "EMBEDWATCH_WORKER_MAX_POLL_TEXTS": "64",
            "EMBEDWATCH_WORKER_DELIVERY": "exactly_once" if self.cluster else "at_least_once",
            "EMBEDWATCH_WORKER_TRANSACTION_TIMEOUT_SECONDS": "10",
            # Longer than anything is waited for here: what is well again only after it is a failure.
            "EMBEDWATCH_WORKER_BROKER_RETRY_SECONDS": "300",
            "EMBEDWATCH_AGENTS_RULES": str(self.folder / "rules.yaml"),
            "EMBEDWATCH_AGENTS_WEB_PORT": str(self._port),
            "EMBEDWATCH_AGENTS_DATA_DIR": str(self.folder / "agents-data" / "scratch"),
            "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN": "xoxb-chaos",
            "EMBEDWATCH_ALERTS_SLACK_API_URL": self.slack.api_url,
            "EMBEDWATCH_ALERTS_SLACK_CHARTS": "false",
            "EMBEDWATCH_ALERTS_SEND_TIMEOUT_SECONDS": "3",
            "EMBEDWATCH_ALERTS_AGENTS_SILENT_SECONDS": "3600",
            "EMBEDWATCH_ALERTS_DIGEST_AT": "off",
            # Each message is to be counted: none is put together with others, or held back.
            "EMBEDWATCH_ALERTS_BUNDLE_FROM": "1000",
            "EMBEDWATCH_ALERTS_CAP_POSTS": "10000",
        }

    def _command(self, name: str) -> list[str]:
        plain = [sys.executable, "-m", "embedwatch"]
        if name in self.clocks:
            plain = [sys.executable, "-m", "tests.harness.moved_clock", str(self.clocks[name])]
        match name:
            case "agents":
                return [*plain, "agents", "--app-id", "chaos-agents"]
            case "alerting":
                return [*plain, "alerts"]
            case "worker":
                return [*plain, "worker", "--name", "alone"]
            case "autoscaler":
                url = f"http://127.0.0.1:{self._port}"
                return [*plain, "autoscale", "--agents-url", url, "--interval", "1s", "--max", "1", "--name", "scaled"]
            case "producer":
                source = f"load{self._load}"
                return [
                    *plain, "produce", str(self.folder / f"{source}.txt"), "--source", source, "--tenant", source,
                    "--rate", str(LOAD_TEXTS_PER_S), "--chunk-texts", "8", "--skip", str(self._load_skip), "--json",
                ]  # fmt: skip
        raise ValueError(name)

    def launch(self, name: str) -> None:
        """Start a stage, without waiting for it."""
        self._starts[name] = self._starts.get(name, 0) + 1
        log = self.folder / f"{name}-{self._starts[name]}.log"
        self.children[name] = Child(name, self._command(name), log, self._environ(name), cwd=ROOT)
        self.down.discard(name)

    def _end_all(self) -> None:
        for child in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGCONT)
        for name in ("producer", "autoscaler", "worker", "alerting", "agents"):
            if name in self.children:
                self.children[name].ask_to_stop()
        for child in self.children.values():
            child.stop(timeout_seconds=30)

    # --- a steady stream of texts, so that faults fall into work ---

    def begin_load(self) -> None:
        self._load += 1
        self._load_skip = 0
        words = ("alpha", "beta", "gamma", "delta", "epsilon")
        lines = (
            # Each second one comes again and again, the others need the shared cache.
            f"{words[n % 5]} {words[n // 5 % 5]} text {n if n % 2 else n % 400} of {self._load}"
            for n in range(LOAD_TEXTS_PER_S * 900)
        )
        (self.folder / f"load{self._load}.txt").write_text("\n".join(lines) + "\n")
        self.launch("producer")

    def go_on(self) -> None:
        """A producer that has ended is started again where it left off: by its own word, else by what arrived."""
        said = self._last_word()
        if said is not None:
            self._load_skip = said
        else:
            self.evidence.read_texts()
            self._load_skip = self.evidence.first_missing(f"load{self._load}")
        self.launch("producer")

    def _last_word(self) -> int | None:
        """So many lines of its file arrived, says the producer that has ended; one that was killed says nothing."""
        said = [line for line in self.children["producer"].log.read_text().splitlines() if line.startswith("{")]
        return int(json.loads(said[-1])["resume_skip"]) if said else None

    # --- looking after it ---

    def tend(self) -> None:
        """Start again what has ended by itself."""
        for name, child in list(self.children.items()):
            if name in self.down or child.running():
                continue
            status = child.process.returncode
            self.run.ended_alone += 1
            self.say(f"{name} ended by itself with {status}: {child.last_words(2)}")
            assert status in (4, 5), f"{name} ended with {status}: {child.last_words(30)}"
            if name == "producer":
                self.go_on()
            else:
                self.launch(name)
        if self.cluster is not None:
            for node in self.cluster.nodes:
                if f"broker-{node}" not in self.down and not self.cluster.running(node):
                    self.say(f"broker {node} ended by itself")
                    self.cluster.launch(node)

    def wait(self, ready: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.tend()
            assert time.monotonic() < deadline, f"no {what} after {timeout_seconds:.0f} s\n{self.last_words()}"
            time.sleep(0.1)

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, {}
        except (OSError, ValueError):
            return 0, {}

    def last_words(self) -> str:
        return "\n".join(f"--- {name}\n{child.last_words(15)}" for name, child in self.children.items())

    # --- faults ---

    def probe(self, fault: Fault, part: int) -> None:
        """Texts of a tenant of this fault's own, unlike any other: what they cost is above the tenant's limit."""
        tenant = f"fault{fault.number}"
        ids = [f"{tenant}-{part}-{place}" for place in range(PROBE_TEXTS)]
        texts = [f"probe {self.run.seed} {name}" for name in ids]
        headers = wire.chunk_headers(len(ids), tenant=tenant)
        self._producer.send(
            self.topics.texts, key=ids[0].encode(), value=wire.encode_chunk(ids, texts), headers=headers
        )

    def is_over(self, fault: Fault) -> bool:
        """The texts of this fault are counted, and its alert is in Slack."""
        texts = self._counted(f"fault{fault.number}")
        return texts >= 2 * PROBE_TEXTS and told(self.slack.inbox())[f"fault{fault.number}"] > 0

    def _counted(self, tenant: str) -> int:
        return int(self.get(f"/api/v1/summary?scope=tenant%3D{tenant}")[1].get("today", {}).get("texts", 0))

    def sign_of_life(self, victim: str) -> Callable[[], bool]:
        """Whether what the probes do not need does its work again, after now: a producer, the autoscaler, Redis."""
        if victim == "producer":
            tenant = f"load{self._load}"
            self.evidence.read_texts()
            there = self.evidence.sources[tenant].total()
            return lambda: self._counted(tenant) > there  # what it had sent before is not enough
        if victim == "autoscaler":
            since = time.monotonic()
            return lambda: any(
                worker["worker"].startswith("scaled") and worker["silent_seconds"] < time.monotonic() - since
                for worker in self.get("/api/v1/summary")[1].get("workers", [])
            )
        if victim == "redis":
            asked = self._asked_of_redis()
            return lambda: self._asked_of_redis() > asked
        return lambda: True

    def _asked_of_redis(self) -> int:
        """How often workers have asked for vectors since it started; 0 where it does not answer."""
        with contextlib.suppress(redis.RedisError), redis.Redis(port=self.cache.port, socket_timeout=2) as client:
            return int(client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0))
        return 0

    def carry_out(self, step: Step, begin: Callable[[Fault], Callable[[], None]]) -> None:
        """`begin` lets a fault begin and gives back what ends it. All of a step begin at once,
        each ends after its time, and then all is waited for."""
        self.pause(step.pause_seconds)
        ends: list[tuple[float, Fault, Callable[[], None]]] = []
        for fault in step.faults:
            self.say(f"fault {fault}")
            lift = begin(fault)
            ends.append((time.monotonic() + fault.lasts_seconds, fault, lift))
            self.probe(fault, 1)
        over: dict[int, float] = {}
        alive: dict[int, Callable[[], bool]] = {}
        for due, fault, lift in sorted(ends, key=lambda each: each[0]):
            self.pause(max(0.0, due - time.monotonic()))
            lift()
            over[fault.number] = time.monotonic()
            alive[fault.number] = self.sign_of_life(fault.victim)
            self.probe(fault, 2)
        waiting = list(step.faults)
        deadline = time.monotonic() + RECOVERY_SECONDS
        while waiting:
            self.tend()
            for fault in list(waiting):
                if self.is_over(fault) and alive[fault.number]():
                    took = time.monotonic() - over[fault.number]
                    self.run.outcomes.append(Outcome(fault, took))
                    waiting.remove(fault)
                    self.say(f"  well again after {took:.1f} s: {fault.kind} {fault.victim}")
            assert time.monotonic() < deadline, (
                f"not well again after {RECOVERY_SECONDS:.0f} s: {', '.join(map(str, waiting))}\n{self.last_words()}"
            )
            time.sleep(0.1)

    def pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.1, left))

    # --- the proof ---

    def check(self) -> None:
        """No more texts; everything is drained; then everything is compared with everything."""
        self.down.add("producer")
        self.children["producer"].stop(60)
        self._producer.flush(60)
        run, evidence = self.run, self.evidence
        self.wait(self._drained, "drained queue", DRAIN_SECONDS)
        self.pause(LATE_SECONDS)  # what comes a second time comes late
        evidence.read()
        truth = evidence.counted
        self.wait(lambda: not differences(truth, self._served()), "agreement of the agents with the truth", 60)
        self.wait(lambda: not differences(truth, self._written()), "agreement of the state with the truth", 60)
        wanted = evidence.spent(LIMIT_NANO_USD)
        with contextlib.suppress(AssertionError):
            self.wait(lambda: not wanted - set(told(self.slack.inbox())), "alert of every tenant", 30)
        self.pause(LATE_SECONDS)
        for who, says in (("agents", self._served), ("state", self._written)):
            assert not differences(truth, says()), f"the {who} agreed with the truth, and then no more"
        found = told(self.slack.inbox())
        run.checks += 1
        sent = self._last_word()
        assert sent is not None, f"the producer did not say what arrived: {self.children['producer'].last_words(10)}"
        run.sent += sent
        run.not_sent += sent - min(sent, evidence.first_missing(f"load{self._load}"))
        run.sent_again = evidence.sent_again()
        wrong = evidence.wrong_vectors()
        run.wrong_vectors = len(wrong)
        run.texts, run.vectors = sum(evidence.texts.values()), sum(evidence.vectors.values())
        run.lost = sum((evidence.texts - evidence.vectors).values()) + evidence.letters
        run.doubled = sum((evidence.vectors - evidence.texts).values())
        run.difference_nano_usd = sum(abs(each) for each in self._money())
        run.alerts, run.alerts_lost = len(found), len(wanted - set(found))
        run.alerts_doubled = sum(found.values()) - len(found)
        for outcome in run.outcomes:
            tenant = f"fault{outcome.fault.number}"
            mine = {name: evidence.vectors[name] for name in evidence.texts if name.startswith(f"{tenant}-")}
            outcome.lost = sum(1 for count in mine.values() if not count)
            outcome.doubled = sum(count - 1 for count in mine.values() if count > 1)
            outcome.alerts_lost, outcome.alerts_doubled = int(not found[tenant]), max(0, found[tenant] - 1)
        self.say(
            f"check {run.checks}: {run.texts:,} texts, {run.lost} lost, {run.doubled} doubled, {run.alerts} alerts"
        )
        assert run.not_sent == 0, f"the producer says that {run.not_sent} lines arrived that are not on the topic"
        assert not wrong, f"{len(wrong)} texts have a vector that is not theirs, e.g. {wrong[:3]}"
        assert run.lost == 0, f"{run.lost} texts without a vector, e.g. {list(evidence.texts - evidence.vectors)[:5]}"
        if self.cluster is not None:  # else at least once is the promise
            assert run.doubled == 0, f"doubled: {list(evidence.vectors - evidence.texts)[:5]}"
        assert run.difference_nano_usd == 0, f"money and tokens differ: {self._money()}"
        assert run.alerts_lost == 0, f"no alert of {sorted(wanted - set(found))[:5]}\n{self.last_words()}"
        assert run.alerts_doubled == 0, f"told twice: {[name for name, count in found.items() if count > 1][:5]}"
        assert max(evidence.event_ids.values()) == 1, "an event was published twice"
        assert self.get("/api/v1/summary")[1]["rejected_events"] == {}
        for log in self.folder.glob("*-*.log"):
            assert "Traceback" not in log.read_text(errors="replace"), (
                f"{log}: {log.read_text(errors='replace')[-4000:]}"
            )

    def _drained(self) -> bool:
        evidence = self.evidence
        evidence.read()
        texts = sum(evidence.texts.values())
        return sum(evidence.vectors.values()) + evidence.letters >= texts and evidence.counted_texts() >= texts

    def _money(self) -> tuple[int, ...]:
        """What must be nothing: tokens and cost as the events have them, less what the texts themselves say."""
        every = self.evidence.all_of
        received = every("tokens_received")
        truth = self.evidence.words if self.cluster is not None else received  # some may have been embedded twice
        return (
            received - truth,
            every("tokens_embedded") + every("tokens_saved") - received,
            every("cost_nano_usd") - NANO_USD_A_TOKEN * every("tokens_embedded"),
            every("saved_nano_usd") - NANO_USD_A_TOKEN * every("tokens_saved"),
            every("unpriced_tokens"),
        )

    def _served(self) -> Totals:
        status, data = self.get("/api/v1/ledger")
        return totals_of(data.get("rows", []) if status == 200 else [])

    def _written(self) -> Totals:
        rows: list[Mapping[str, Any]] = [
            {"day": day, "scope": scope, **dict.fromkeys(FIELDS, 0), **fields}
            for record in read_states(self.kafka, "chaos-agents").values()
            for day, scopes in record["days"].items()
            for scope, fields in scopes.items()
        ]
        return totals_of(rows)
