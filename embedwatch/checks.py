"""What `embedwatch check` looks at. Stages add their own checks through the entry points `embedwatch.checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal

from embedwatch.errors import ConfigError, EmbedwatchError
from embedwatch.settings import Settings, redact_url

#: `warning`: it works, and will hurt later. `skipped`: not configured, or not installed here.
State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result. `detail` says what, where and, if it failed, what to do. `exit_code` 0: it did not."""

    name: str
    state: State
    detail: str
    exit_code: int = 0


ASK_SECONDS = 3.0

Checker = Callable[[Settings], Iterable[Check]]


def run_all(settings: Settings) -> Iterator[Check]:
    """Each check in turn. Only what a check says counts: none of them raises."""
    for name, checker in (("rules", _rules), ("kafka", _kafka), ("cache", _cache), *of_stages(), ("agents", _agents)):
        yield from guarded(name, checker, settings)


def guarded(name: str, checker: Checker, settings: Settings) -> Iterator[Check]:
    """A check that raises has failed; a missing package means that this machine has no such stage."""
    try:
        yield from checker(settings)
    except ModuleNotFoundError as error:
        yield Check(name, "skipped", f"{error.name} is not installed here")
    except EmbedwatchError as error:
        yield Check(name, "failed", " ".join(str(error).split()), error.exit_code)


def of_stages() -> list[tuple[str, Checker]]:
    """Those of the stages that are installed, by name."""
    found: list[tuple[str, Checker]] = []
    for point in sorted(entry_points(group="embedwatch.checks"), key=lambda p: p.name):

        def checker(settings: Settings, load: Callable[[], Checker] = point.load) -> Iterable[Check]:
            return load()(settings)

        found.append((point.name, checker))
    return found


def _rules(settings: Settings) -> Iterable[Check]:
    from embedwatch.rules import load_rules

    rules = load_rules(settings.agents.rules)
    where = str(settings.agents.rules) if settings.agents.rules else "the built-in thresholds (no --rules)"
    yield Check("rules", "ok", f"{len(rules)} rules from {where}")


def _kafka(settings: Settings) -> Iterable[Check]:
    from embedwatch import kafka

    where = settings.kafka.bootstrap_servers
    admin = kafka.admin_client(kafka.briefly(settings.kafka, ASK_SECONDS))
    try:
        present = set(admin.list_topics())
    finally:
        admin.close()
    yield Check("kafka", "ok", f"a broker answers at {where}, {len(present)} topics")
    wanted = [spec.name for spec in settings.topics.specs()]
    missing = [name for name in wanted if name not in present]
    if missing:
        detail = f"{', '.join(missing)} not there yet: create them with `embedwatch topics create`"
        yield Check("topics", "failed", detail, 4)
        return
    yield Check("topics", "ok", f"all {len(wanted)} there, prefix {settings.kafka.topic_prefix}")


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
        yield Check("cache", "failed", f"{where} wants another user name or password", 4)
        return
    except (redis.RedisError, OSError) as error:
        what = f"{where} does not answer ({type(error).__name__}). Is it running? Workers go on without it, at a price"
        yield Check("cache", "failed", what, 4)
        return
    finally:
        client.close()
    limit, policy = int(memory.get("maxmemory", 0)), str(memory.get("maxmemory_policy", "unknown"))
    if not limit or policy == "noeviction":
        fix = "set maxmemory and maxmemory-policy allkeys-lru, or writes fail (or the machine swaps) when it is full"
        yield Check("cache", "warning", f"{where} answers; maxmemory {limit}, policy {policy}: {fix}")
        return
    yield Check("cache", "ok", f"{where} answers, limit {limit / 1024 / 1024:,.0f} MiB, {policy}")


def _agents(settings: Settings) -> Iterable[Check]:
    from embedwatch.agents_api import AgentsApi, default_url

    with AgentsApi(default_url(settings)) as api:
        ready, reasons = api.ready()
    if ready:
        yield Check("agents", "ok", f"ready at {api.url}")
    else:
        yield Check("agents", "failed", f"at {api.url}, not ready: {'; '.join(reasons)}", 4)
