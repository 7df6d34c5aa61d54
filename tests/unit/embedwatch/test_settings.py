from __future__ import annotations

import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from embedwatch.errors import ConfigError
from embedwatch.pricing import MOST_DECIMALS, MOST_USD
from embedwatch.settings import AgentSettings, AlertSettings, KafkaSettings, Settings, env_name, load, redact_url

SECRET = "s3cr3t-hunter2"


def written(folder: Path, text: str) -> Path:
    path = folder / "embedwatch.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(config: Path | None = None, overrides: dict[str, Any] | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config, overrides, {f"EMBEDWATCH_{name}": value for name, value in environ.items()})
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- where a value comes from ---


def test_without_anything_the_defaults_hold() -> None:
    settings = load(None, None, {})
    assert settings == Settings()
    assert settings.topics.texts == "embedwatch.texts"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = written(tmp_path, "kafka: {bootstrap_servers: 'file:1', topic_prefix: file, partitions: 7}\n")
    environ = {"EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": "env:2", "EMBEDWATCH_KAFKA_TOPIC_PREFIX": "env"}
    kafka = load(config, {"kafka.bootstrap_servers": "flag:3"}, environ).kafka
    assert (kafka.bootstrap_servers, kafka.topic_prefix, kafka.partitions) == ("flag:3", "env", 7)
    assert kafka.replication_factor == 1


def test_lengths_of_closed_windows_are_sorted_and_each_once() -> None:
    assert Settings().agents.window_lengths == (60, 300, 3600)
    agents = load(None, None, {"EMBEDWATCH_AGENTS_WINDOW_SECONDS": "300, 10,300"}).agents
    assert agents.window_lengths == (10, 300)


@pytest.mark.parametrize("value", ["", "0", "15", "3610", "60,", "1e2", "60;300", "²0"])
def test_a_length_that_is_no_multiple_of_a_pane_is_refused(tmp_path: Path, value: str) -> None:
    told = complaint(written(tmp_path, f"agents: {{window_seconds: '{value}'}}\n"))
    assert "is not a multiple of 10 up to 3600" in told
    assert "line 1" in told


def test_a_flag_that_was_not_given_overrides_nothing() -> None:
    assert load(None, {"kafka.partitions": None}, {"EMBEDWATCH_KAFKA_PARTITIONS": "9"}).kafka.partitions == 9


def test_groups_and_state_follow_the_topic_prefix_unless_they_are_named() -> None:
    plain = load(None, None, {})
    assert (plain.worker.group, plain.agents.app_id, plain.alerts.group) == (
        "embedwatch-workers", "embedwatch-agents", "embedwatch-alerts",
    )  # fmt: skip
    other = load(None, {"worker.group": "mine"}, {"EMBEDWATCH_KAFKA_TOPIC_PREFIX": "team-b"})
    assert (other.worker.group, other.agents.app_id, other.alerts.group) == ("mine", "team-b-agents", "team-b-alerts")
    built = Settings(kafka=KafkaSettings(topic_prefix="c"), alerts=AlertSettings(group="x"), agents=AgentSettings())
    assert (built.worker.group, built.agents.app_id, built.alerts.group) == ("c-workers", "c-agents", "x")
    assert len(load(None, None, {"EMBEDWATCH_KAFKA_TOPIC_PREFIX": "p" * 100}).agents.app_id) <= 100


def test_a_price_by_the_hour_that_no_total_could_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="gpu_usd_per_hour"):
        load(None, {"pricing.gpu_usd_per_hour": "1e30"}, {})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(None, None, {"EMBEDWATCH_KAFKA_PARTITIONS": "", "EMBEDWATCH_CONFIG": ""}) == Settings()


def test_the_file_may_be_named_by_the_environment_and_a_flag_names_another(tmp_path: Path) -> None:
    config = written(tmp_path, "worker: {group: from-file}\n")
    environ = {"EMBEDWATCH_CONFIG": str(config)}
    assert load(None, None, environ).worker.group == "from-file"
    other = tmp_path / "other.yaml"
    other.write_text("worker: {group: other}\n")
    assert load(other, None, environ).worker.group == "other"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "kafka:\n  partitions: 4\n", "---\n"])
def test_a_file_may_say_little(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text), None, {}) == Settings()


def test_prices_are_exact_decimals_from_file_and_environment(tmp_path: Path) -> None:
    config = written(tmp_path, "pricing: {usd_per_million_tokens: {a: '0.02'}}\n")
    assert load(config, None, {}).pricing.usd_per_million_tokens == {"a": Decimal("0.02")}
    environ = {"EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS": "{a: 0.02, b: '0.130'}"}
    assert load(None, None, environ).pricing.usd_per_million_tokens == {"a": Decimal("0.02"), "b": Decimal("0.130")}


@pytest.mark.parametrize("section", list(Settings.model_fields))
def test_every_setting_can_be_named_in_the_environment(section: str) -> None:
    model = Settings.model_fields[section].annotation
    assert model is not None
    for field in model.model_fields:
        # A value that no setting takes shows that the variable was read and where the mistake is.
        name = env_name(section, field)
        with contextlib.suppress(ConfigError):  # free text takes it
            load(None, None, {name: "\0"})
            continue
        assert name in complaint(**{name.removeprefix("EMBEDWATCH_"): "\0"})


def test_variables_of_others_are_left_alone() -> None:
    assert load(None, None, {"KAFKA_PARTITIONS": "x", "PATH": "/bin", "EMBEDWATCH_DEMO_TEXTS": "5"}) == Settings()


# --- mistakes: place, what was found, what is allowed ---


def test_a_mistyped_variable_is_named_with_the_nearest_one() -> None:
    text = complaint(KAFKA_BOOTSTRAP_SERVER="h:1")
    assert text == (
        "environment variable EMBEDWATCH_KAFKA_BOOTSTRAP_SERVER is not known; "
        "did you mean EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS?"
    )


def test_a_variable_like_no_other_says_where_to_look() -> None:
    assert "embedwatch check" in complaint(XYZZY="1")


def test_a_mistyped_setting_in_the_file_has_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    text = complaint(written(tmp_path, "kafka:\n  partitions: 4\nworker:\n  modle: x\n"))
    assert text == (
        f"config file {tmp_path}/embedwatch.yaml, line 4: unknown setting 'worker.modle'; did you mean model?"
    )


def test_a_mistyped_section_has_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    text = complaint(written(tmp_path, "# comment\nkafak:\n  partitions: 4\n"))
    assert "line 2: unknown section 'kafak'; did you mean kafka?" in text


def test_a_word_like_none_lists_what_is_known(tmp_path: Path) -> None:
    assert "known are: agents, alerts, budget, cache" in complaint(written(tmp_path, "zzz: {}\n"))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    config = written(tmp_path, "kafak: {}\nkafka:\n  partitions: many\n")
    lines = complaint(config, {"worker.backend": "hashin"}, WORKER_GRUOP="x").splitlines()
    assert len(lines) == 4
    assert any("line 3: kafka.partitions" in line and "'many'" in line for line in lines)
    assert any(line.startswith("option --backend: worker.backend") and "'hashing'" in line for line in lines)


@pytest.mark.parametrize(
    ("override", "value", "words"),
    [
        ("kafka.bootstrap_servers", "localhost", "'localhost' is not host:port"),
        ("kafka.bootstrap_servers", "a:1,b:99999", "'b:99999' is not host:port"),
        ("kafka.bootstrap_servers", "a:1,,b:2", "is not host:port"),
        ("kafka.topic_prefix", "with space", "found 'with space'"),
        ("kafka.partitions", 0, "greater than or equal to 1, found '0'"),
        ("kafka.session_timeout_seconds", 5.9, "greater than or equal to 6"),
        ("kafka.security_protocol", "TLS", "'SASL_SSL', found 'TLS'"),
        ("worker.device", "gpu", "found 'gpu'"),
        ("worker.failure_budget_pct", 101, "less than or equal to 100"),
        ("worker.failure_budget_pct", "nan", "worker.failure_budget_pct"),
        ("agents.web_port", 70_000, "65535"),
        ("budget.timezone", "Mars/Olympus", "'Mars/Olympus' is not an IANA time zone"),
        ("budget.timezone", "Europe", "not an IANA time zone"),
        ("budget.timezone", "../../etc/passwd", "not an IANA time zone"),
        ("pricing.usd_per_million_tokens", {"m": "-1"}, "price of 'm' must be from 0 to 1,000,000 USD, is -1"),
        ("pricing.usd_per_million_tokens", {"m": "1000000.01"}, "must be from 0 to 1,000,000 USD"),
        ("pricing.usd_per_million_tokens", {"m": "1e99999999"}, "must be from 0 to 1,000,000 USD, is 1E+99999999"),
        ("pricing.usd_per_million_tokens", {"m": "1e-99999999"}, "must be from 0 to 1,000,000 USD"),
        ("pricing.usd_per_million_tokens", {"m": "0." + "1" * 19}, "must be from 0 to 1,000,000 USD"),
        ("pricing.gpu_usd_per_hour", "1e-99999999", "has more than 18 decimals"),
        ("pricing.usd_per_million_tokens", {"m": "inf"}, "pricing.usd_per_million_tokens"),
        ("pricing.usd_per_million_tokens", {"m": "cheap"}, "usd_per_million_tokens.m"),
    ],
)
def test_a_value_that_is_not_allowed_says_what_is(override: str, value: Any, words: str) -> None:
    text = complaint(None, {override: value})
    assert text.startswith(f"option --{override.split('.')[1].replace('_', '-')}: {override}")
    assert words in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"kafka: [unclosed\n", "line 2: not valid YAML"),
        (b"- a\n- b\n", "expected sections"),
        (b"just text\n", "expected sections"),
        (b"kafka: 5\n", "must hold `name: value` lines"),
        (b"kafka:\n", "must hold `name: value` lines"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"kafka:\n  partitions: 1\n  partitions: 2\n", "line 3: 'partitions' stands here a second time"),
        (b"a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "embedwatch.yaml"
    path.write_bytes(data)
    text = complaint(path)
    assert words in text
    assert str(path) in text


def test_a_file_that_is_not_there_says_how_it_was_named(tmp_path: Path) -> None:
    text = complaint(tmp_path / "none.yaml")
    assert "none.yaml: No such file or directory; check --config or EMBEDWATCH_CONFIG" in text
    assert "irectory" in complaint(tmp_path)


# --- secrets ---


def test_secrets_do_not_print() -> None:
    settings = Settings(
        kafka=KafkaSettings(sasl_password=SECRET),  # type: ignore[arg-type]
        alerts=AlertSettings(slack_bot_token=SECRET, slack_webhook_url=f"https://h/{SECRET}"),  # type: ignore[arg-type]
    )
    for text in (repr(settings), str(settings), f"{settings.alerts}", repr(settings.model_dump())):
        assert SECRET not in text
    assert settings.alerts.slack_bot_token is not None
    assert settings.alerts.slack_bot_token.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "url", ["http://cache:6379", "cache:6379", "redis://", "redis://:6379", "redis://cache:port", "redis://cache:0",
            "redis://cache:99999/0", "redis://cache/first", "unix://", "redis://[::1/0", "", " "],
)  # fmt: skip
def test_a_cache_address_that_is_none_is_told_where_settings_are_read_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overrides={"cache.url": url and f"{url}?password={SECRET}"}, environ={})
    assert str(caught.value).startswith("option --cache-url: cache.url: is not an address such as redis://host:port/db")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://cache", "redis://cache:6379", "rediss://u:p@cache:6380/12", "redis://[::1]:6379/0",
            "unix:///run/redis.sock?db=1", "redis://cache:6379/?db=3", " redis://cache \n"],
)  # fmt: skip
def test_a_cache_address_that_is_one_is_taken(url: str) -> None:
    found = load(overrides={"cache.url": url}, environ={}).cache.url
    assert found is not None
    assert found.get_secret_value() == url.strip()


@pytest.mark.parametrize(
    "url", ["api", "http://", "http://:80/v1", "https://api:port/v1", "ftp://api/v1", "http://[::1"]
)
def test_an_endpoint_that_is_no_address_is_told_where_settings_are_read(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--api-base-url: .*is not an address that begins with http:// or https://"):
        load(overrides={"worker.api_base_url": url}, environ={})


@pytest.mark.parametrize(
    "field", ["worker.api_base_url", "alerts.agents_url", "alerts.dashboard_url", "alerts.slack_api_url",
              "alerts.pagerduty_url", "kafka.bootstrap_servers"],
)  # fmt: skip
def test_an_address_that_is_printed_may_hold_no_password_and_does_not_show_it(field: str) -> None:
    address = f"ada:{SECRET}@host:9092"
    text = complaint(None, {field: address if field.startswith("kafka") else f"https://{address}/x"})
    assert SECRET not in text
    assert "a password" in text


@pytest.mark.parametrize("value", ["[" * 3000, "!!int ''", "0000-00-00", "a: &a [*a]", "\x00"])
def test_a_variable_that_is_no_yaml_is_one_line(value: str) -> None:
    text = complaint(PRICING_USD_PER_MILLION_TOKENS=value)
    assert "environment variable EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS: not valid YAML" in text


def test_a_price_of_the_most_and_of_the_most_decimals_is_taken_and_one_more_is_not() -> None:
    prices = {"dear": f"{MOST_USD}", "fine": f"0.{1:0{MOST_DECIMALS}}", "free": "0"}
    found = load(None, {"pricing.usd_per_million_tokens": prices}, {}).pricing.usd_per_million_tokens
    assert found == {name: Decimal(price) for name, price in prices.items()}
    for price in (f"{MOST_USD + 1}", f"{MOST_USD}.{1:0{MOST_DECIMALS}}", f"0.{1:0{MOST_DECIMALS + 1}}"):
        said = complaint(None, {"pricing.usd_per_million_tokens": {"m": price}})
        assert f"price of 'm' must be from 0 to {MOST_USD:,} USD" in said


@pytest.mark.parametrize("field", ["cache.url", "kafka.sasl_password", "alerts.slack_bot_token"])
@pytest.mark.parametrize("value", [[SECRET], {"x": SECRET}])
def test_a_secret_of_the_wrong_kind_is_not_shown_in_the_error(tmp_path: Path, field: str, value: Any) -> None:
    assert SECRET not in complaint(None, {field: value})
    section, name = field.split(".")
    text = complaint(written(tmp_path, f"{section}:\n  {name}: [{SECRET}]\n"))
    assert SECRET not in text
    assert "line 2" in text


def test_a_secret_under_a_mistyped_name_is_not_shown(tmp_path: Path) -> None:
    text = complaint(
        written(tmp_path, f"alerts:\n  slack_bot_tokn: {SECRET}\n  slack_bot_token: 5\n"), ALERTS_SLACK_TOKN=SECRET
    )
    assert SECRET not in text
    assert "slack_bot_token" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://user:{SECRET}@cache:6379/0", "redis://***@cache:6379/0"),
        (f"redis://:{SECRET}@cache/1", "redis://***@cache/1"),
        (f"rediss://cache:6380/0?password={SECRET}", "rediss://cache:6380/0"),
        ("redis://cache:6379", "redis://cache:6379"),
        (f"redis://user:{SECRET}@[::1]:6379/0", "redis://***@[::1]:6379/0"),
        (f"redis://user:{SECRET}@cache:port/0", "***"),
        (f"redis://user:{SECRET}@[oops/0", "***"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().kafka.partitions = 5  # type: ignore[misc]
