"""Secrets: where they may come from, and that none of them is ever shown."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr
from typer.testing import CliRunner

from embedwatch.cli import build, variables
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.settings import (
    MAX_SECRET_BYTES,
    Settings,
    env_name,
    listed,
    load,
    redact_url,
    secret_variables,
)
from workers.members import as_environment

MARK = "s3cr3tmark"
#: What is no secret by its name alone, and why.
NO_SECRETS = {
    "kafka.sasl_token_file": "a path",
    "worker.token_budget": "of a model",
    "worker.api_max_text_tokens": "of a model",
    "worker.api_max_batch_tokens": "of a model",
    "worker.api_tokens_per_minute": "of a model",
    "pricing.usd_per_million_tokens": "of a model",
}


def fields() -> list[tuple[str, str, str]]:
    """Section, name and type of every setting."""
    found = []
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        found += [(section, name, str(field.annotation)) for name, field in model.model_fields.items()]
    return found


def value_of(variable: str) -> str:
    """One that works for this secret."""
    if variable.endswith("CACHE_URL"):
        return f"redis://ada:{MARK}@127.0.0.1:1/0"
    if variable.endswith("WEBHOOK_SECRET"):
        return f"whsec_{MARK}"
    return f"https://ada:{MARK}@127.0.0.1/{MARK}" if variable.endswith("_URL") else f"{MARK}-{MARK}"


def test_what_is_called_as_a_secret_is_typed_as_one() -> None:
    for section, name, kind in fields():
        called = any(word in name for word in ("password", "secret", "token", "_key", "credential"))
        if called and f"{section}.{name}" not in NO_SECRETS:
            assert "SecretStr" in kind, f"{section}.{name}"
    for place in NO_SECRETS:
        assert "SecretStr" not in next(kind for section, name, kind in fields() if f"{section}.{name}" == place)


def test_no_option_takes_a_secret() -> None:
    """What stands on a command line is seen by everybody on the machine. The cache's address is the exception: one
    without a password is no secret."""
    import typer.main

    taken = variables(typer.main.get_command(build())) & set(secret_variables())
    assert taken <= {"EMBEDWATCH_CACHE_URL"}


@pytest.mark.parametrize("variable", secret_variables())
def test_every_secret_may_come_from_a_file_and_is_shown_nowhere(
    variable: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "secret"
    path.write_text(value_of(variable) + "\n")
    settings = load(environ={f"{variable}_FILE": str(path)})
    held = [
        part.get_secret_value()
        for section in Settings.model_fields
        for name in type(getattr(settings, section)).model_fields
        if isinstance(part := getattr(getattr(settings, section), name), SecretStr)
    ]
    assert held == [value_of(variable)]
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {listed(settings)}"
    assert MARK not in shown + caplog.text
    # Processes of a crew are given what was read, once.
    handed = as_environment(settings)
    assert handed[f"{variable}_FILE"] is None
    assert handed[variable] == value_of(variable)


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff" + MARK.encode(), MARK.encode() * MAX_SECRET_BYTES])
def test_a_file_that_holds_no_secret_is_told_and_not_shown(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(environ={"EMBEDWATCH_KAFKA_SASL_PASSWORD_FILE": str(path)})
    assert "environment variable EMBEDWATCH_KAFKA_SASL_PASSWORD_FILE" in str(caught.value)
    assert str(path) in str(caught.value)
    assert MARK not in "".join(traceback.format_exception(caught.value))


def test_the_longest_secret_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"s" * MAX_SECRET_BYTES)
    found = load(environ={"EMBEDWATCH_WORKER_API_KEY_FILE": str(path)}).worker.api_key
    assert found is not None
    assert len(found.get_secret_value()) == MAX_SECRET_BYTES
    path.write_bytes(b"s" * (MAX_SECRET_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 64 KiB: that is no secret"):
        load(environ={"EMBEDWATCH_WORKER_API_KEY_FILE": str(path)})


def test_a_secret_from_two_places_a_missing_file_and_a_file_for_what_is_no_secret_are_refused(tmp_path: Path) -> None:
    name = "EMBEDWATCH_WORKER_API_KEY"
    with pytest.raises(ConfigError, match="are both set") as caught:
        load(environ={name: MARK, f"{name}_FILE": "x"})
    assert MARK not in str(caught.value)
    with pytest.raises(ConfigError, match=f"{name}_FILE: .*gone cannot be read: No such file"):
        load(environ={f"{name}_FILE": str(tmp_path / "gone")})
    with pytest.raises(ConfigError, match="EMBEDWATCH_WORKER_MODEL_FILE is not known"):
        load(environ={"EMBEDWATCH_WORKER_MODEL_FILE": "x"})


def test_the_settings_in_force_are_printed_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in secret_variables():
        monkeypatch.setenv(variable, value_of(variable))
    for more in ((), ("--json",)):
        result = CliRunner().invoke(build(), ["check", "--show-settings", *more])
        assert result.exit_code == 0, result.output
        assert env_name("kafka", "sasl_password") in result.output
        assert MARK not in result.output


@pytest.mark.parametrize(
    "url",
    [
        f"redis://ada:{MARK}@host:1/0",
        f"rediss://:{MARK}@[::1]:1/0",
        f"redis://{MARK}@host",
        f"https://host/path?token={MARK}#{MARK}",
        f"https://ada:{MARK}@host:port/",
        f"redis://ada:{MARK}@[host",
    ],
)
def test_an_address_is_shown_without_what_is_secret_in_it(url: str) -> None:
    assert MARK not in redact_url(url)


def test_a_cache_that_is_not_there_is_told_without_its_password() -> None:
    from embedwatch.checks import _cache, guarded

    settings = load(environ={"EMBEDWATCH_CACHE_URL": f"redis://ada:{MARK}@127.0.0.1:1/0"})
    (found,) = guarded("cache", _cache, settings)
    assert found.state == "failed"
    assert MARK not in repr(found)


def test_a_broker_that_is_not_there_is_told_without_the_password() -> None:
    from embedwatch import kafka

    given = {
        "BOOTSTRAP_SERVERS": "127.0.0.1:1", "SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "ada", "SASL_PASSWORD": MARK, "CONNECT_TIMEOUT_SECONDS": "0.2",
    }  # fmt: skip
    settings = load(environ={f"EMBEDWATCH_KAFKA_{name}": value for name, value in given.items()})
    with pytest.raises(ConnectionFailed) as caught:
        kafka.admin_client(settings.kafka)
    assert MARK not in "".join(traceback.format_exception(caught.value)) + json.dumps(str(caught.value))
