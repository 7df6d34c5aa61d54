"""docker-compose.yml against the code it starts. No engine is needed; `make compose-check` adds Docker's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from embedwatch.cli import build
from embedwatch.settings import PREFIX, AlertSettings, Settings, WorkerSettings, listed, load
from stream_agents.web.admission import Asked, gate
from tests.harness.kafka_jars import kafka_version
from workers.service import CLOSE_SECONDS

Compose = dict[str, Any]
Interpolate = Callable[[str, Mapping[str, str]], str]

FILE = Path(__file__).resolve().parents[3] / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("embedwatch-"))
KNOWN = {env for env, _, _ in listed(Settings())}


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def size_bytes(text: str) -> float:
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    number, unit = re.fullmatch(r"(\d+)([kmg])b?", text.lower()).groups()  # type: ignore[union-attr]
    return float(number) * units[unit]


@pytest.mark.parametrize(
    "name",
    [
        "docker-compose.yml",
        "deploy/.env.example",
        "deploy/Dockerfile",
        "deploy/rules.yaml",
        "deploy/prometheus/prometheus.yml",
        "docs/how-to/prometheus-and-grafana.md",
    ],
)
def test_every_variable_of_ours_that_a_file_names_is_a_setting(root: Path, name: str) -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z0-9_]+", (root / name).read_text()))
    assert named <= KNOWN


@pytest.mark.parametrize("service", OURS)
def test_the_environment_of_a_service_is_accepted_with_nothing_set(service: str, interpolate: Interpolate) -> None:
    environ = {k: interpolate(v, {}) for k, v in SERVICES[service]["environment"].items()}
    settings = load(environ=environ)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.alerts.slack_bot_token is None


@pytest.mark.parametrize("service", OURS)
def test_the_environment_of_a_service_is_accepted_with_all_of_the_example_set(
    service: str, interpolate: Interpolate, example_env: dict[str, str]
) -> None:
    load(environ={k: interpolate(v, example_env) for k, v in SERVICES[service]["environment"].items()})


def test_a_slack_token_reaches_the_alerts_and_nobody_else(interpolate: Interpolate) -> None:
    token = {"SLACK_BOT_TOKEN": "xoxb-1-2"}
    held = set()
    for service in OURS:
        environ = {k: interpolate(v, token) for k, v in SERVICES[service]["environment"].items()}
        if load(environ=environ).alerts.slack_bot_token is not None:
            held.add(service)
    assert held == {"alerts"}


def test_the_example_names_every_variable_that_the_file_asks_for_and_no_other(
    root: Path, example_env: dict[str, str]
) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (root / "docker-compose.yml").read_text()))
    assert set(example_env) == asked


def test_the_example_shows_the_defaults(root: Path, example_env: dict[str, str]) -> None:
    for name, default in re.findall(r"\$\{(\w+):-([^}]+)\}", (root / "docker-compose.yml").read_text()):
        if name != "REDIS_IMAGE":  # shows that Valkey does as well
            assert example_env[name] == default, name


@pytest.mark.parametrize("service", OURS)
def test_the_command_of_a_service_is_one_that_embedwatch_knows(service: str) -> None:
    result = CliRunner().invoke(build(), [*SERVICES[service]["command"], "--help"])
    assert result.exit_code == 0, result.output


def test_the_commands_that_the_comments_show_are_known(root: Path) -> None:
    head = (root / "docker-compose.yml").read_text().split("\nname:")[0]
    shown = re.findall(r"docker compose run [-\w ]*? agents ([^<#]+)", head)
    assert shown
    for line in shown:
        result = CliRunner().invoke(build(), [*shlex.split(line), "--help"])
        assert result.exit_code == 0, result.output
    assert set(re.findall(r"--scale (\S+?)=", head)) <= set(SERVICES)


def test_a_command_with_a_wrong_option_would_be_noticed() -> None:
    assert CliRunner().invoke(build(), ["topics", "create", "--no-such-option", "--help"]).exit_code != 0
    assert CliRunner().invoke(build(), ["no-such-command", "--help"]).exit_code != 0


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_a_service_waits_for_exists_and_can_come_true(service: str) -> None:
    for name, wish in SERVICES[service].get("depends_on", {}).items():
        assert name in SERVICES
        if wish["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        else:
            assert wish["condition"] == "service_completed_successfully"
            assert SERVICES[name]["restart"] == "no", "a service that is started again never completes"


@pytest.mark.parametrize("service", [s for s in OURS if s != "topics"])
def test_every_stage_starts_after_its_topics(service: str) -> None:
    assert "topics" in SERVICES[service]["depends_on"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_is_bounded_in_memory_and_log_and_can_be_scaled(service: str, interpolate: Interpolate) -> None:
    found = SERVICES[service]
    assert size_bytes(interpolate(found["deploy"]["resources"]["limits"]["memory"], {})) >= 256 * 2**20
    assert set(found["logging"]["options"]) == {"max-size", "max-file"}
    assert "container_name" not in found


@pytest.mark.parametrize("service", OURS)
def test_a_service_of_ours_has_no_rights_and_writes_nothing_but_scratch_files_and_models(service: str) -> None:
    found = SERVICES[service]
    assert found["cap_drop"] == ["ALL"]
    assert "cap_add" not in found
    assert not found.get("privileged")
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["read_only"] is True
    (scratch,) = found["tmpfs"]
    place, _, options = scratch.partition(":")
    assert place == "/tmp"  # noqa: S108 (in the container)
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
    assert any(option.startswith("size=") for option in options.split(","))
    for volume in found.get("volumes", []):
        assert volume.endswith(":ro") or volume == "models:/models"
    assert found.get("user") is None, "the image's own, which is not root"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_service_gets_new_rights_or_those_of_the_machine(service: str) -> None:
    found = SERVICES[service]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "network_mode", "devices", "userns_mode"} & set(found)
    assert not any("docker.sock" in volume for volume in found.get("volumes", []))


def test_the_agents_are_asked_by_the_name_that_they_answer_to() -> None:
    settings = load(
        environ={name: value for name, value in SERVICES["agents"]["environment"].items() if value[:1] != "$"}
    )
    asked = {SERVICES["alerts"]["environment"]["EMBEDWATCH_ALERTS_AGENTS_URL"].split("/")[2]}
    scraped = yaml.safe_load((FILE.parent / "deploy/prometheus/prometheus.yml").read_text())
    asked |= {
        target for job in scraped["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    }
    guard = gate(settings.agents.web_host, settings.agents.host_names, 50.0)
    for host in {*asked, "127.0.0.1:6066"}:
        assert guard.judge(Asked("GET", "172.18.0.2", host), 0.0) is None
    refused = guard.judge(Asked("GET", "172.18.0.2", "evil.example"), 0.0)
    assert refused is not None


@pytest.mark.parametrize(
    ("service", "section"), [("worker-cpu", "worker"), ("worker-gpu", "worker"), ("alerts", "alerts")]
)
def test_the_health_check_of_a_stage_asks_the_port_that_it_answers_at(
    service: str, section: str, interpolate: Interpolate
) -> None:
    found = SERVICES[service]
    settings = load(environ={name: interpolate(value, {}) for name, value in found["environment"].items()})
    stage = getattr(settings, section)
    assert f"http://127.0.0.1:{stage.metrics_port}/readyz" in found["healthcheck"]["test"][-1]
    assert stage.metrics_host == "127.0.0.1", "nobody but the container itself"
    assert "ports" not in found or section != "worker"


def test_ports_are_published_on_loopback_only(interpolate: Interpolate) -> None:
    published = [interpolate(port, {}) for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == [
        "127.0.0.1:9094:9094", "127.0.0.1:6066:6066", "127.0.0.1:9090:9090", "127.0.0.1:3000:3000",
    ]  # fmt: skip


def test_a_program_on_this_machine_is_sent_to_the_published_port(interpolate: Interpolate) -> None:
    for port in ("9094", "19094"):
        kafka = SERVICES["kafka"]
        assert interpolate(kafka["ports"][0], {"KAFKA_PORT": port}) == f"127.0.0.1:{port}:9094"
        advertised = interpolate(kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"], {"KAFKA_PORT": port})
        assert f"HOST://127.0.0.1:{port}" in advertised


def test_kafka_makes_no_topic_by_itself_and_is_the_version_that_the_tests_run() -> None:
    kafka = SERVICES["kafka"]
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert kafka["image"] == f"${{KAFKA_IMAGE:-apache/kafka:{kafka_version()}}}"


def test_redis_drops_the_oldest_before_it_reaches_the_limit_of_its_container(interpolate: Interpolate) -> None:
    command = [interpolate(part, {}) for part in SERVICES["redis"]["command"]]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "allkeys-lru"
    assert (options["--save"], options["--appendonly"]) == ("", "no")
    limit = size_bytes(interpolate(SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"], {}))
    assert size_bytes(options["--maxmemory"]) * 1.25 <= limit


@pytest.mark.parametrize("service", ["worker-cpu", "worker-gpu"])
def test_a_worker_is_given_the_time_it_may_take_to_stop(service: str) -> None:
    # intake, telemetry, its producer and the publisher are closed one after the other
    needed = WorkerSettings().drain_seconds + 4 * CLOSE_SECONDS
    assert seconds(SERVICES[service]["stop_grace_period"]) > needed


def test_alerts_are_given_the_time_they_may_take_to_stop() -> None:
    alerts = AlertSettings()
    needed = alerts.drain_seconds + alerts.send_timeout_seconds
    assert seconds(SERVICES["alerts"]["stop_grace_period"]) > needed


def test_gpu_workers_are_started_on_request_only_and_get_a_device() -> None:
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert {"gpu", "compute", "utility"} == set(device["capabilities"])
    assert {s: SERVICES[s]["profiles"] for s in SERVICES if "profiles" in SERVICES[s]} == {
        "worker-gpu": ["gpu"], "prometheus": ["dashboards"], "grafana": ["dashboards"],
    }  # fmt: skip


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_a_service_of_the_dashboards_is_pinned_writes_to_its_volume_alone_and_has_no_rights(
    service: str, interpolate: Interpolate
) -> None:
    found = SERVICES[service]
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", interpolate(found["image"], {}))
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    for volume in found["volumes"]:
        assert volume.endswith(":ro") if volume.startswith("./") else volume.startswith(f"{service}-data:")
    (port,) = (interpolate(port, {}).rpartition(":")[2] for port in found["ports"])
    assert f"http://127.0.0.1:{port}/" in found["healthcheck"]["test"][-1]


def test_prometheus_reads_the_mounted_configuration_and_scrapes_the_agents(root: Path) -> None:
    found = SERVICES["prometheus"]
    places = {volume.split(":")[1]: root / volume.split(":")[0] for volume in found["volumes"]}
    options = dict(option.split("=", 1) for option in found["command"])
    config = options["--config.file"]
    assert options["--storage.tsdb.path"] == "/prometheus"
    written = yaml.safe_load(places[config].read_text())
    (target,) = written["scrape_configs"][0]["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert SERVICES[name]["ports"][0].endswith(f":{port}")
    (rule_files,) = written["rule_files"]
    assert sorted(path.name for path in places[config].parent.glob(rule_files)) == ["alerts.yml", "recording.yml"]
    assert f"/etc/prometheus/{rule_files.split('/')[0]}" in places


def test_grafana_finds_prometheus_and_the_dashboards_where_they_are_mounted(root: Path) -> None:
    found = SERVICES["grafana"]
    places = {volume.split(":")[1]: root / volume.split(":")[0] for volume in found["volumes"]}
    provisioning = places["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "embedwatch.yml").read_text())["providers"]
    assert list(places[provider["options"]["path"]].glob("*.json"))
    home = Path(found["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (places[str(home.parent)] / home.name).is_file()
    # To look takes no password, to change anything does.
    assert found["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_each_image_of_ours_is_built_by_one_service_and_never_pulled() -> None:
    builders = [SERVICES[s]["image"] for s in OURS if "build" in SERVICES[s]]
    assert sorted(builders) == sorted({SERVICES[s]["image"] for s in OURS})
    for name in OURS:
        assert SERVICES[name]["pull_policy"] == ("build" if "build" in SERVICES[name] else "never")


def test_mounted_files_and_named_volumes_exist(root: Path, compose: Compose) -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (root / source).exists() if source.startswith(".") else source in compose["volumes"]


def test_the_rules_file_that_agents_read_is_the_one_that_is_mounted() -> None:
    agents = SERVICES["agents"]
    assert agents["volumes"] == [f"./deploy/rules.yaml:{agents['environment']['EMBEDWATCH_AGENTS_RULES']}:ro"]
