"""What `embedwatch check` looks at. Stages add their own checks through the entry points `embedwatch.checks`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from embedwatch.errors import ConfigError, ConnectionFailed, EmbedwatchError
from embedwatch.hosts import is_loopback
from embedwatch.settings import Settings, redact_url
from embedwatch.topics import state_topic

if TYPE_CHECKING:
    from embedwatch.agents_api import AgentsApi
    from embedwatch.kafka import Described

#: `warning`: it works, and will hurt later. `skipped`: not configured, or not installed here.
State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result. `detail` says what and where; `fix` names the command or setting that mends it, where
    something has failed or will hurt. `exit_code` 0: it did not fail."""

    name: str
    state: State
    detail: str
    exit_code: int = 0
    fix: str = ""


ASK_SECONDS = 3.0
#: Clocks that differ by more make ages and the first samples of a window wrong.
SKEW_SECONDS = 5.0
#: Below it logs and the scratch folder of agents will soon find no room.
LEAST_FREE_BYTES = 1024**3
#: What mends a check that says no better: the setting or command that it hangs on.
FIXES = {
    "rules": "mend the line that is named, or leave --rules (EMBEDWATCH_AGENTS_RULES) out for the defaults",
    "scaling": "mend the setting that is named: `embedwatch check --show-settings` prints all in force",
    "kafka": "start the broker (`embedwatch up` brings one), or name it: EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS",
    "topics": "`embedwatch topics create`",
    "cache": "start it, or set EMBEDWATCH_CACHE_URL (redis://host:6379/0), or leave that out",
    "model": "set EMBEDWATCH_WORKER_MODEL to a folder or name that is here, or EMBEDWATCH_WORKER_BACKEND to another",
    "slack": "mend the token or address, then `embedwatch alerts test`; scopes are in deploy/slack-app.yaml",
    "slack buttons": "set EMBEDWATCH_ALERTS_SLACK_APP_TOKEN to a token with connections:write, or leave it out",
    "webhook": "mend EMBEDWATCH_ALERTS_WEBHOOK_URL, then `embedwatch alerts test --receiver webhook`",
    "alertmanager": "mend EMBEDWATCH_ALERTS_ALERTMANAGER_URL, then `embedwatch alerts test --receiver alertmanager`",
    "pagerduty": "mend EMBEDWATCH_ALERTS_PAGERDUTY_ROUTING_KEY, then `embedwatch alerts test --receiver pagerduty`",
    "clock": "bring the agents to the version that stands here",
    "version": "bring the agents to the version that stands here",
    "agents access": "set EMBEDWATCH_AGENTS_WEB_TOKEN, or let a proxy that asks for a password be the only one there",
    "agents": "start `embedwatch agents`, or say where they are: EMBEDWATCH_AGENTS_WEB_HOST and _WEB_PORT",
}

Checker = Callable[[Settings], Iterable[Check]]


def run_all(settings: Settings) -> Iterator[Check]:
    """Each check in turn. Only what a check says counts: none of them raises."""
    for name, checker in (
        ("rules", _rules), ("scaling", _scaling), ("kafka", _kafka), ("cache", _cache), ("disk", _disk), *of_stages(),
        ("agents", _agents),
    ):  # fmt: skip
        yield from guarded(name, checker, settings)


def guarded(name: str, checker: Checker, settings: Settings) -> Iterator[Check]:
    """A check that raises has failed; a missing package means that this machine has no such stage."""
    try:
        for check in checker(settings):
            bad = check.state in ("failed", "warning")
            yield replace(check, fix=FIXES.get(check.name, "")) if bad and not check.fix else check
    except ModuleNotFoundError as error:
        yield Check(name, "skipped", f"{error.name} is not installed here")
    except EmbedwatchError as error:
        yield Check(name, "failed", " ".join(str(error).split()), error.exit_code, FIXES.get(name, ""))


def of_stages() -> list[tuple[str, Checker]]:
    """Those of the stages that are installed, by name."""
    found: list[tuple[str, Checker]] = []
    for point in sorted(entry_points(group="embedwatch.checks"), key=lambda p: p.name):

        def checker(settings: Settings, load: Callable[[], Checker] = point.load) -> Iterable[Check]:
            return load()(settings)

        found.append((point.name, checker))
    return found


def _rules(settings: Settings) -> Iterable[Check]:
    from embedwatch.report import counted
    from embedwatch.rules import DEFAULT_THRESHOLDS, load_rules

    rules = load_rules(settings.agents.rules)
    where = str(settings.agents.rules) if settings.agents.rules else "the built-in thresholds (no --rules)"
    left_out = [metric for metric in DEFAULT_THRESHOLDS if all(rule.metric != metric for rule in rules)]
    more = f"; by default also {', '.join(left_out)}, which are not judged then" if left_out else ""
    yield Check("rules", "ok", f"{counted(len(rules), 'rule')} from {where}{more}")


def _scaling(settings: Settings) -> Iterable[Check]:
    """Raises `ConfigError` for aims that nothing can be held to."""
    from embedwatch.scaling.aims import aims_of

    aims_of(settings)
    scaling, beat = settings.scaling, settings.worker.heartbeat_seconds
    if not scaling.enabled:
        yield Check("scaling", "skipped", "scaling.enabled is false: nobody says how many workers are needed")
        return
    if scaling.silent_seconds <= beat:
        yield Check(
            "scaling", "failed",
            f"scaling.silent_seconds is {scaling.silent_seconds:g}, workers say that they live every {beat:g} s "
            "(worker.heartbeat_seconds): none would be counted", 2,
            f"set EMBEDWATCH_SCALING_SILENT_SECONDS={3 * beat:g} or more",
        )  # fmt: skip
        return
    if scaling.silent_seconds < 3 * beat:
        yield Check(
            "scaling", "warning",
            f"scaling.silent_seconds is {scaling.silent_seconds:g}, workers say that they live every {beat:g} s: one "
            "that is late by a heartbeat or two is not counted",
            fix=f"set EMBEDWATCH_SCALING_SILENT_SECONDS={3 * beat:g} or more",
        )  # fmt: skip
        return
    yield Check(
        "scaling", "ok",
        f"{scaling.min_workers} to {scaling.max_workers} workers for a wait of {scaling.target_seconds:g} s",
    )  # fmt: skip


def _kafka(settings: Settings) -> Iterable[Check]:
    from embedwatch import kafka

    where = settings.kafka.bootstrap_servers
    admin = kafka.admin_client(kafka.briefly(settings.kafka, ASK_SECONDS))
    try:
        present = set(admin.list_topics())
        yield Check("kafka", "ok", f"a broker answers at {where}, {len(present)} topics")
        wanted = [spec.name for spec in settings.topics.specs()]
        missing = [name for name in wanted if name not in present]
        if missing:
            flags = "" if settings.kafka.topic_prefix == "embedwatch" else f" --topic-prefix {settings.topics.prefix}"
            yield Check(
                "topics", "failed", f"{', '.join(missing)} not there yet", 4,
                f"`embedwatch topics create -b {where}{flags}`",
            )  # fmt: skip
            return
        state = state_topic(settings.agents.app_id)
        yield from _topics(settings, kafka.described_topics(admin, [*wanted, *({state} & present)]))
    except kafka.KafkaError as error:
        raise ConnectionFailed(f"Kafka at {where}: {kafka.describe_error(error)}") from None
    finally:
        admin.close()


def _topics(settings: Settings, found: Mapping[str, Described]) -> Iterable[Check]:
    """Partitions, copies, cleanup and retention against what is expected. A broker may keep a configuration to
    itself. Faust made the state topic, of which the copies are looked at alone."""
    from embedwatch.topic_check import differences, too_few_copies

    untold = [name for name, each in found.items() if each.config is None]
    servers = settings.kafka.bootstrap_servers
    replicas = max(settings.kafka.replication_factor, found[settings.topics.metrics].replicas)
    wrong = []
    for spec in settings.topics.specs():
        is_ = found[spec.name]
        wrong += differences(
            spec, spec.partitions or settings.kafka.partitions, is_.partitions, is_.config or {}, servers,
            is_.replicas, replicas,
        )  # fmt: skip
    state = state_topic(settings.agents.app_id)
    if state in found:
        is_ = found[state]
        wrong += too_few_copies(state, is_.replicas, replicas, is_.config or {}, servers)
    for each in wrong:
        how: State = "failed" if each.harmful else "warning"
        yield Check("topics", how, f"{each.topic}: {each.what}", 4 if each.harmful else 0, each.fix)
    if not wrong:
        rest = "; the broker does not tell how they are cleaned up" if untold else ", as expected"
        yield Check(
            "topics", "ok", f"all {len(settings.topics.specs())} there, prefix {settings.kafka.topic_prefix}{rest}"
        )


def _disk(settings: Settings) -> Iterable[Check]:
    """Where embedded parts write their logs, and agents their scratch folder: broker and cache themselves keep all in
    memory."""
    import shutil
    import tempfile

    places = [("TMPDIR", tempfile.gettempdir())]
    if settings.agents.data_dir is not None:
        places.append(("EMBEDWATCH_AGENTS_DATA_DIR", str(settings.agents.data_dir)))
    for variable, place in places:
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            # A folder that is not there yet is made by whoever needs it.
            yield Check("disk", "skipped", f"{place} cannot be looked at: {error.strerror or error}")
            continue
        gib = free / 1024**3
        if free < LEAST_FREE_BYTES:
            yield Check(
                "disk", "warning", f"{gib:.1f} GiB free in {place}: logs and scratch files will find no room",
                fix=f"free some, or set {variable} to a folder elsewhere",
            )  # fmt: skip
        else:
            yield Check("disk", "ok", f"{gib:,.0f} GiB free in {place}")


def _cache(settings: Settings) -> Iterable[Check]:
    if settings.cache.url is None:
        yield Check("cache", "skipped", "no --cache-url: each worker has only the cache in its own memory")
        return
    import redis

    url = settings.cache.url.get_secret_value()
    where = redact_url(url)
    seconds = max(settings.cache.timeout_ms / 1000, 1.0)
    try:
        client = redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
    except ValueError as error:
        raise ConfigError(f"cache.url is not an address such as redis://host:6379/0: {error}") from None
    try:
        client.ping()
        memory = client.info("memory")
    except redis.AuthenticationError:
        yield Check(
            "cache", "failed", f"{where} wants another user name or password", 4,
            "put them into EMBEDWATCH_CACHE_URL: redis://USER:PASSWORD@host:port/db",
        )  # fmt: skip
        return
    except (redis.RedisError, OSError) as error:
        if _of_certificate(error):
            yield Check(
                "cache", "failed", f"{where}: its certificate is not trusted, or not for that name", 4,
                "add ?ssl_ca_certs=FILE with the authority that signed it to EMBEDWATCH_CACHE_URL",
            )  # fmt: skip
            return
        what = f"{where} does not answer ({type(error).__name__}); workers go on without it, at full price"
        yield Check("cache", "failed", what, 4)
        return
    finally:
        client.close()
    limit, policy = int(memory.get("maxmemory", 0)), str(memory.get("maxmemory_policy", "unknown"))
    if not limit or policy == "noeviction":
        yield Check(
            "cache", "warning",
            f"{where} answers; maxmemory {limit}, policy {policy}: writes fail (or the machine swaps) when it is full",
            fix="in its redis.conf: maxmemory 1gb, maxmemory-policy allkeys-lru (`redis-cli config set` for now)",
        )  # fmt: skip
        return
    yield Check("cache", "ok", f"{where} answers, limit {limit / 1024 / 1024:,.0f} MiB, {policy}")


def _of_certificate(error: BaseException | None) -> bool:
    """Whether a certificate that was not believed is behind it."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _agents(settings: Settings) -> Iterable[Check]:
    """Who may ask, readiness, clock, version and page."""
    from embedwatch.agents_api import AgentsApi, default_url

    token = settings.agents.web_token
    if token is None and not is_loopback(settings.agents.web_host):
        where = f"{settings.agents.web_host}:{settings.agents.web_port}"
        yield Check("agents access", "warning", f"whoever reaches {where} may ask everything: no token is set")
    with AgentsApi(default_url(settings), token=token, timeout_seconds=ASK_SECONDS) as api:
        began = time.time()
        ready, reasons = api.ready()
        if ready:
            yield Check("agents", "ok", f"ready at {api.url}")
        else:
            yield Check(
                "agents", "failed", f"at {api.url}, not ready: {'; '.join(reasons)}", 4,
                "wait a minute; if it stays so, `embedwatch topics create`, and look at the log of `embedwatch agents`",
            )  # fmt: skip
        yield from guarded("clock", lambda _: [_clock(api.scaling().get("time_seconds"), began, time.time())], settings)
        yield from guarded("version", lambda _: [_version(api)], settings)
        yield from guarded("page", lambda _: [_page(api)], settings)


def _clock(theirs: object, asked_seconds: float, answered_seconds: float) -> Check:
    """Against the agents: Kafka tells nobody its time. What they say lies between our question and their answer."""
    if not isinstance(theirs, int | float):
        return Check("clock", "skipped", "the agents do not say what time it is for them")
    ahead = max(theirs - answered_seconds, asked_seconds - theirs, 0.0)
    if ahead <= SKEW_SECONDS:
        return Check("clock", "ok", f"the agents' clock and this one differ by less than {SKEW_SECONDS:g} s")
    which = "ahead of" if theirs > answered_seconds else "behind"
    return Check(
        "clock", "warning", f"the agents' clock is {ahead:,.0f} s {which} this one: ages and windows are wrong by that",
        fix="let both machines keep time: `timedatectl set-ntp true`, or chrony",
    )  # fmt: skip


def _version(api: AgentsApi) -> Check:
    from embedwatch import __version__

    theirs = api.version()
    if theirs is None:
        return Check("version", "skipped", "the agents do not say their version")
    if theirs == __version__:
        return Check("version", "ok", f"embedwatch {__version__} here and at the agents")
    return Check(
        "version", "warning", f"the agents are embedwatch {theirs}, this is {__version__}",
        fix="bring both to one version, those who read events (agents, alerting) before workers",
    )  # fmt: skip


def _page(api: AgentsApi) -> Check:
    try:
        shown = "<html" in api.text("/ui", accept="text/html")[:4096].lower()
    except ConnectionFailed:
        shown = False
    if shown:
        return Check("page", "ok", f"open {api.url}/ui in a browser")
    return Check("page", "skipped", f"{api.url} has no page for a browser; `embedwatch report` shows the numbers")
