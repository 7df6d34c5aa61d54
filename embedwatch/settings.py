"""Typed settings, checked as a whole before anything starts and without touching the network.

One order: command-line flag, then environment (`EMBEDWATCH_<SECTION>_<NAME>`), then the YAML file named by `--config`
or `EMBEDWATCH_CONFIG`, then the default. Secrets are typed as secrets: they never print. A secret's variable with
`_FILE` at its end names a file that holds it, as container engines mount them.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from embedwatch.errors import ConfigError
from embedwatch.hosts import name_list
from embedwatch.pricing import MOST_DECIMALS, MOST_USD, usable_price
from embedwatch.section import Section, without_user
from embedwatch.settings_alerts import AlertSettings
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.settings_scaling import ScalingSettings
from embedwatch.topics import Topics
from embedwatch.yamlfile import YamlFile, closest, read_yaml

PREFIX = "EMBEDWATCH_"
#: Variables of commands' own options; `cli` knows which there are.
OPTION_PREFIXES = (
    "AGENTS_RESTORE_",
    "AGENTS_SAVE_",
    "DEMO_",
    "UP_",
    "PRODUCE_",
    "REPORT_",
    "SILENCE_",
    "SIMULATE_",
    "BASELINE_",
    "COMPARE_",
    "CHECK_",
    "CHECKLIST_",
    "TOPICS_",
    "DLQ_",
    "COLLECT_",
    "LAG_",
    "ALERTS_TEST_",
    "ALERTS_ID",
    "ALERTS_ACK_",
    "ALERTS_SNOOZE_",
    "ALERTS_HISTORY_",
    "AUTOSCALE_",
    "TOP_",
)
#: Variables under our prefix that belong to no section below.
COMMAND_PREFIXES = ("CONFIG", "JSON", "LOG_", "TEST_", "TRACEBACK", *OPTION_PREFIXES)

#: Ends the name of a variable that names a file with a secret instead of holding it: `..._SASL_PASSWORD_FILE`.
SECRET_FILE = "_FILE"  # noqa: S105 (a part of a name)
#: A key, a token or an address; a file that is larger is another one.
MAX_SECRET_BYTES = 64 * 1024

Port = Annotated[int, Field(ge=0, le=65535)]


class KafkaSettings(Section):
    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, several separated by commas")
    topic_prefix: str = Field("embedwatch", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="begins all topic names")
    partitions: int = Field(4, ge=1, le=10_000, description="of texts, vectors and metrics when they are created")
    replication_factor: int = Field(1, ge=1, le=10, description="of the topics when they are created")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; with one of the SASL protocols"
    )
    sasl_username: str | None = Field(None, description="user name for SASL")
    sasl_password: SecretStr | None = Field(None, description="password for SASL; from environment or file only")
    sasl_token_file: Path | None = Field(
        None, description="OAUTHBEARER: file with the token; read anew for every connection, so that it can be renewed"
    )
    ssl_cafile: Path | None = Field(None, description="file of the authorities that signed the broker's certificate")
    connect_timeout_seconds: float = Field(10.0, gt=0, le=300, description="how long to look for a broker at start")
    session_timeout_seconds: float = Field(
        10.0, ge=6, le=300, description="a member of a group that is silent this long loses its partitions"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for part in value.split(","):
            host, _, port = part.strip().rpartition(":")
            if "@" in part:
                raise ValueError("is host:port; a name and a password are sasl_username and sasl_password")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{part.strip()!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _sasl_fits(self) -> Self:
        """What a client would find out only at the broker, or never: a mechanism that no protocol uses."""
        sasl, mechanism = self.security_protocol.startswith("SASL"), self.sasl_mechanism
        if sasl and mechanism is None:
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 "
                "or OAUTHBEARER"
            )
        if mechanism is None:
            return self
        if not sasl:
            raise ValueError(
                f"sasl_mechanism {mechanism} needs security_protocol SASL_SSL (or SASL_PLAINTEXT), is "
                f"{self.security_protocol}: nobody would be told who asks"
            )
        return self


def _host_of(url: str) -> str | None:
    """None without a host. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.hostname if parts.port != 0 else None


#: Of settings whose option is not called as they are.
FLAGS = {"cache.url": "--cache-url"}


class CacheSettings(Section):
    url: SecretStr | None = Field(
        None, description="Redis or Valkey at redis://host:port/db; without it there is no shared cache"
    )
    ttl_seconds: int = Field(30 * 86_400, ge=1, description="how long a vector is kept in the shared cache")

    @field_validator("url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        """Told at the start, before a model is loaded. The address may hold a password: it is not shown."""
        if value is None:
            return None
        text = value.get_secret_value().strip()
        try:
            parts = urlsplit(text)
            named = parts.path if parts.scheme == "unix" else parts.hostname
            # A port that is none is told by asking for it.
            good = parts.scheme in ("redis", "rediss", "unix") and bool(named) and parts.port != 0
        except ValueError:
            good = False
        database = urlsplit(text).path.strip("/") if good else ""
        if not good or (not text.startswith("unix:") and database and not database.isdecimal()):
            raise ValueError("is not an address such as redis://host:port/db, rediss://host:port/db or unix:///path")
        return SecretStr(text)

    timeout_ms: int = Field(250, ge=1, le=60_000, description="a cache slower than this is bypassed")
    local_max_bytes: int = Field(
        64 * 1024 * 1024, ge=0, le=64 * 1024**3, description="memory of the in-process cache in front; 0 is off"
    )
    sample_seconds: float = Field(5.0, gt=0, le=300, description="how often the cache's own counts are read")


class PricingSettings(Section):
    usd_per_million_tokens: dict[str, Decimal] = Field(
        default_factory=dict, description="by model; comes before the built-in price list"
    )
    gpu_usd_per_hour: Decimal | None = Field(
        None, ge=0, le=100_000, description="price of the machine for local models"
    )

    @field_validator("usd_per_million_tokens")
    @classmethod
    def _usable(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        for model, price in value.items():
            if not usable_price(price):
                raise ValueError(f"price of {model!r:.60} must be from 0 to {MOST_USD:,} USD, is {price!s:.40}")
        return value

    @field_validator("gpu_usd_per_hour")
    @classmethod
    def _usable_hour(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and not usable_price(value):
            raise ValueError(f"has more than {MOST_DECIMALS} decimals")
        return value


class WorkerSettings(MetricsSettings):
    group: str = Field(
        "embedwatch-workers",
        description="consumer group; workers of one group share the texts; begins with the topic prefix unless named",
    )
    name: str | None = Field(
        None, min_length=1, max_length=200, description="name in events and alerts; default: host name and process id"
    )
    backend: Literal["sentence-transformers", "openai", "hashing"] = Field(
        "sentence-transformers",
        description="sentence-transformers, openai: any endpoint of that protocol, or hashing: no model, for tests",
    )
    api_base_url: str | None = Field(
        None, max_length=1000, description="openai backend: the endpoint, e.g. https://api.openai.com/v1"
    )
    api_key: SecretStr | None = Field(None, description="openai backend: its key; from environment or file only")
    api_dimensions: int | None = Field(None, ge=1, le=65_536, description="openai backend: ask for shorter vectors")
    api_max_text_tokens: int = Field(8191, ge=1, description="openai backend: tokens the model takes of a text")
    api_max_batch_texts: int = Field(256, ge=1, le=10_000, description="openai backend: texts a request")
    api_max_batch_tokens: int = Field(100_000, ge=1, description="openai backend: tokens a request")
    api_concurrency: int = Field(4, ge=1, le=256, description="openai backend: requests at the same time")
    api_requests_per_minute: int | None = Field(None, ge=1, description="openai backend: limit of the account")
    api_tokens_per_minute: int | None = Field(None, ge=1, description="openai backend: limit of the account")
    api_timeout_seconds: float = Field(60.0, gt=0, le=600, description="openai backend: how long one answer may take")
    api_retry_seconds: float = Field(
        120.0, ge=0, le=3600, description="openai backend: how long trouble is tried again before the worker stops"
    )
    model: str = Field("all-MiniLM-L6-v2", description="name or folder; all-MiniLM-L6-v2 also from its PyPI package")
    allow_download: bool = Field(False, description="fetch a model that is not on this machine from the hub")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of the model; default: those of the machine"
    )
    processes: int = Field(
        1, ge=1, le=1024, description="worker processes under this command; the CPU threads are divided among them"
    )
    processes_per_gpu: int | None = Field(
        None, ge=1, le=64, description="so many worker processes on each visible NVIDIA GPU or MIG device"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the processor has it and the vectors stay the same, else float32"
    )
    prompt_name: str | None = Field(
        None, min_length=1, max_length=100, description="one of the model's own prompts; default: the model's default"
    )
    truncate_dim: int | None = Field(None, ge=1, le=65_536, description="keep only so many dimensions of each vector")
    revision: str | None = Field(
        None, min_length=1, max_length=200, description="branch, tag or commit of a model of the hub"
    )

    @field_validator("api_key")
    @classmethod
    def _key_stripped(cls, value: SecretStr | None) -> SecretStr | None:
        """A secret read from a file ends in a newline."""
        return None if value is None else SecretStr(value.get_secret_value().strip())

    @field_validator("api_base_url")
    @classmethod
    def _api_http(cls, value: str | None) -> str | None:
        try:
            good = value is None or bool(re.fullmatch(r"https?://[\x21-\x7e]+", value) and _host_of(value))
        except ValueError:
            good = False
        if not good:
            raise ValueError("is not an address that begins with http:// or https:// and a host")
        return None if value is None else without_user(value)

    trust_remote_code: bool = Field(
        False, description="let a model's own Python code run: only if you trust its author"
    )
    vector_dtype: Literal["float32", "float16"] = Field("float32", description="of vectors out: float32 or float16")
    max_poll_texts: int = Field(
        256,
        ge=1,
        le=100_000,
        description="texts taken together, the span of de-duplication; 4 times as many of cached ones",
    )
    max_poll_messages: int = Field(
        256, ge=1, le=10_000, description="messages taken together; up to 4 times as many of cached texts"
    )
    token_budget: int | None = Field(
        None, ge=1, description="padded tokens a batch; default: 1024 on a CPU, tuned at the start on a GPU"
    )
    max_wait_ms: int = Field(50, ge=0, le=60_000, description="how long a thin poll waits for more")
    max_text_bytes: int = Field(
        4 * 1024 * 1024, ge=1, le=8 * 1024 * 1024, description="a text above it is a dead letter"
    )
    failure_budget_pct: float = Field(
        50.0, gt=0, le=100, description="share of failed texts above which the worker stops instead of draining"
    )
    failure_budget_min_texts: int = Field(200, ge=1, description="latest texts over which that share is counted")
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once", description="exactly_once: vectors, metrics and offsets in one Kafka transaction a cycle"
    )
    transaction_timeout_seconds: float = Field(
        15.0,
        ge=1,
        le=900,
        description="when the broker ends a transaction that a dead worker left open; a live one waits no longer",
    )
    heartbeat_seconds: float = Field(2.0, gt=0, le=15, description="how often the worker says that it lives")
    drain_seconds: float = Field(20.0, gt=0, le=600, description="how long SIGTERM waits for what is in flight")
    broker_retry_seconds: float = Field(
        60.0, ge=5, le=3600, description="how long a lost broker is tried again before the worker gives up"
    )
    max_texts: int | None = Field(None, ge=1, description="stop after so many texts, for scripts")
    idle_exit_seconds: float | None = Field(None, gt=0, description="stop after so long without a new text")
    hashing_dims: int = Field(384, ge=1, le=65_536, description="length of the hashing backend's vectors")
    hashing_seconds_per_text: float = Field(0.0, ge=0, le=60, description="artificial cost of the hashing backend")
    drill_slow_after_seconds: float | None = Field(
        None, ge=0, description="fire drill: slow batches down from then on, counted from the first one"
    )
    drill_slow_for_seconds: float = Field(10.0, ge=0, description="fire drill: for so long")
    drill_slow_delay_ms: int = Field(1500, ge=0, le=600_000, description="fire drill: by so much a batch")


class AgentSettings(Section):
    app_id: str = Field(
        "embedwatch-agents",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="consumer group and name of the state; begins with the topic prefix unless named",
    )
    web_host: str = Field("127.0.0.1", description="address the HTTP API binds to; 0.0.0.0: every interface")
    web_port: Port = Field(6066, description="port of the HTTP API")
    allowed_hosts: str = Field(
        "",
        max_length=4000,
        pattern=r"^[A-Za-z0-9._ ,:\[\]-]*$",
        description="further names by which the HTTP API is asked, separated by commas; others are refused",
    )
    web_token: SecretStr | None = Field(
        None,
        description="with it the HTTP API answers only who sends it (Authorization: Bearer); from environment or file "
        "only",
    )
    web_requests_per_second: float = Field(
        50.0, ge=1, le=10_000, description="of one client of the HTTP API, steadily; four times as many at once"
    )
    data_dir: Path | None = Field(None, description="scratch folder; a temporary one by default")
    rules: Path | None = Field(None, description="rules file; the defaults of the guide without it")
    flush_seconds: float = Field(1.0, gt=0, le=60, description="how often the exact totals are written to Kafka")
    tick_seconds: float = Field(0.5, gt=0, le=0.5, description="how often rules are judged without a new event")
    lag_interval_seconds: float = Field(2.0, gt=0, le=300, description="how often the queue's lag is read")
    max_scopes: int = Field(1000, ge=1, le=1250, description="above it the rest is counted under `other`")
    window_seconds: str = Field(
        "60,300,3600", description="lengths of the closed windows; multiples of 10 up to 3600, separated by commas"
    )
    late_grace_seconds: float = Field(
        30.0, ge=1, le=600, description="how long a window, and a day that is over, waits for late events"
    )

    @field_validator("web_token")
    @classmethod
    def _token_long(cls, value: SecretStr | None) -> SecretStr | None:
        text = None if value is None else value.get_secret_value().strip()
        if text is not None and not re.fullmatch(r"[\x21-\x7e]{16,1000}", text):
            raise ValueError("is 16 to 1000 characters without blanks; `openssl rand -hex 32` makes one")
        return None if text is None else SecretStr(text)

    @property
    def host_names(self) -> tuple[str, ...]:
        """`allowed_hosts` one by one."""
        return name_list(self.allowed_hosts)

    @field_validator("window_seconds")
    @classmethod
    def _lengths(cls, value: str) -> str:
        for part in value.split(","):
            text = part.strip()
            if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 10 <= int(text) <= 3600) or (
                int(text) % 10
            ):
                raise ValueError(f"{text!r} is not a multiple of 10 up to 3600")
        return value

    @property
    def window_lengths(self) -> tuple[int, ...]:
        """`window_seconds` as numbers, the shortest first."""
        return tuple(sorted({int(part) for part in self.window_seconds.split(",")}))


class BudgetSettings(Section):
    timezone: str = Field("UTC", description="IANA zone in which a day begins, e.g. Europe/Berlin")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is not an IANA time zone such as Europe/Berlin") from None
        return value


class Settings(Section):
    """Everything. Build it with `load`, never by hand outside tests."""

    kafka: KafkaSettings = KafkaSettings()
    cache: CacheSettings = CacheSettings()
    pricing: PricingSettings = PricingSettings()
    worker: WorkerSettings = WorkerSettings()
    agents: AgentSettings = AgentSettings()
    budget: BudgetSettings = BudgetSettings()
    scaling: ScalingSettings = ScalingSettings()
    alerts: AlertSettings = AlertSettings()

    @model_validator(mode="before")
    @classmethod
    def _groups_follow_the_prefix(cls, data: Any) -> Any:
        """Pipelines with different topics share no group: its members would get partitions of topics that they do not
        read, and agents would take each other's state for their own."""
        kafka = data.get("kafka") if isinstance(data, dict) else None
        prefix = kafka.get("topic_prefix") if isinstance(kafka, dict) else getattr(kafka, "topic_prefix", None)
        if not isinstance(prefix, str) or prefix == KafkaSettings().topic_prefix:
            return data
        out = dict(data)
        for section, field, kind in (("worker", "group", "workers"), ("agents", "app_id", "agents"),
                                     ("alerts", "group", "alerts")):  # fmt: skip
            given, name = out.get(section, {}), f"{prefix[:90]}-{kind}"
            if isinstance(given, dict):
                out[section] = {field: name, **given}
            elif isinstance(given, Section) and field not in given.model_fields_set:
                out[section] = given.model_copy(update={field: name})
        return out

    @property
    def topics(self) -> Topics:
        return Topics(self.kafka.topic_prefix)


def env_name(section: str, field: str) -> str:
    """The environment variable of a setting: `EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS`."""
    return f"{PREFIX}{section}_{field}".upper()


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Flags over environment over file over defaults.

    `overrides` maps "section.field" to a value; None values are not set. Raises `ConfigError` naming every mistake
    with its place, what was found and what is allowed.
    """
    environ = os.environ if environ is None else environ
    if config is None and environ.get(PREFIX + "CONFIG"):
        config = Path(environ[PREFIX + "CONFIG"])
    places: dict[tuple[str, str], str] = {}
    merged: dict[str, dict[str, Any]] = {}

    def put(section: str, field: str, value: Any, place: str) -> None:
        merged.setdefault(section, {})[field] = value
        places[(section, field)] = place

    trouble: list[str] = []
    if config is not None:
        _read_file(config, put, trouble)
    _read_environment(environ, put, trouble)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            section, field = dotted.split(".")
            put(section, field, value, f"option {FLAGS.get(dotted, '--' + field.replace('_', '-'))}")
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        trouble += [_explain(detail, places) for detail in error.errors(include_url=False, include_context=False)]
    if trouble:
        raise ConfigError("\n".join(trouble))
    return settings


def listed(settings: Settings) -> list[tuple[str, str, str]]:
    """Every setting as (environment variable, value, meaning); a secret's value is hidden, a missing one empty."""
    rows = []
    for section in Settings.model_fields:
        part = getattr(settings, section)
        for field in _fields(section):
            value = getattr(part, field)
            meaning = type(part).model_fields[field].description or ""
            rows.append((env_name(section, field), "" if value is None else str(value), meaning))
    return rows


def redact_url(url: str) -> str:
    """The URL without user name and password, for messages and logs. One that cannot be read is hidden whole."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "***"
    if ":" in host:
        host = f"[{host}]"
    if port:
        host += f":{port}"
    hidden = "***@" if parts.username or parts.password else ""
    return urlunsplit((parts.scheme, hidden + host, parts.path, "", ""))


def _read_file(path: Path, put: Any, trouble: list[str]) -> None:
    file = read_yaml(path, "config file", "check --config or EMBEDWATCH_CONFIG")
    data = {} if file.data is None else file.data
    if not isinstance(data, dict):
        raise ConfigError(f"{file.name}: expected sections such as `kafka:`, found a {type(data).__name__}")
    for section, fields in data.items():
        where = file.place((str(section),))
        if section not in Settings.model_fields:
            trouble.append(f"{where}: unknown section {section!r}{closest(str(section), Settings.model_fields)}")
        elif not isinstance(fields, dict):
            trouble.append(f"{where}: section {section!r} must hold `name: value` lines")
        else:
            for field, value in fields.items():
                put(section, str(field), value, file.place((section, str(field))))


def _read_environment(environ: Mapping[str, str], put: Any, trouble: list[str]) -> None:
    known = {env_name(s, f): (s, f) for s in Settings.model_fields for f in _fields(s)}
    files = {name + SECRET_FILE: place for name, place in known.items() if _is_secret(*place)}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or value == "":
            continue
        if name in known:
            section, field = known[name]
            try:
                put(section, field, _parse(section, field, value), f"environment variable {name}")
            except ConfigError as error:
                trouble.append(str(error))
        elif name in files:
            section, field = files[name]
            if environ.get(env_name(section, field)):
                trouble.append(
                    f"environment variables {env_name(section, field)} and {name} are both set: which counts?"
                )
                continue
            try:
                put(section, field, _secret_of(Path(value)), f"environment variable {name}")
            except ConfigError as error:
                trouble.append(f"environment variable {name}: {error}")
        elif not name.removeprefix(PREFIX).startswith(COMMAND_PREFIXES):
            # Without the prefix, which would make any two of our names look alike.
            short = {known_name.removeprefix(PREFIX): known_name for known_name in known}
            near = difflib.get_close_matches(name.removeprefix(PREFIX), list(short), n=1)
            hint = f"; did you mean {short[near[0]]}?" if near else "; `embedwatch check --show-settings` lists them"
            trouble.append(f"environment variable {name} is not known{hint}")


def _secret_of(path: Path) -> str:
    """What the file holds, without the newline at its end. Raises `ConfigError`, which does not show it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
        text = data.decode().strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None
    if len(data) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_SECRET_BYTES // 1024} KiB: that is no secret")
    if not text:
        raise ConfigError(f"{path} is empty")
    return text


def secret_variables() -> list[str]:
    """The variables of all secrets. Each may also be given by a file: its name with `SECRET_FILE` names that."""
    return [env_name(s, f) for s in Settings.model_fields for f in _fields(s) if _is_secret(s, f)]


def _fields(section: str) -> list[str]:
    model = Settings.model_fields[section].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _is_secret(section: str, field: str) -> bool:
    model = Settings.model_fields[section].annotation
    info = model.model_fields.get(field) if isinstance(model, type) and issubclass(model, BaseModel) else None
    return info is None or "SecretStr" in str(info.annotation)


def _parse(section: str, field: str, value: str) -> Any:
    """A mapping or list is written as YAML/JSON in the environment; everything else is left to pydantic. Raises
    `ConfigError` for what is no YAML."""
    if (section, field) in (("pricing", "usd_per_million_tokens"), ("alerts", "routes")):
        return YamlFile(f"environment variable {env_name(section, field)}", value).data
    return value


def _explain(detail: ErrorDetails, places: Mapping[tuple[str, str], str]) -> str:
    location = [str(part) for part in detail["loc"]]
    section, field = [*location, "", ""][:2]
    place = places.get((section, field), "settings")
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown setting {name!r}{closest(field, _fields(section))}"
    message = detail["msg"].removeprefix("Value error, ")
    found = detail["input"]
    shown = not _is_secret(section, field) and field != "routes"  # routes hold addresses with tokens
    if detail["type"] != "value_error" and isinstance(found, str | int | float) and shown:
        message += f", found {str(found)[:80]!r}"
    return f"{place}: {name}: {message}"
