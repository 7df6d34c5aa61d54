"""Who a client says it is: settings that fit together, and tokens. A real broker: tests/contract/test_security.py."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from embedwatch.errors import ConfigError
from embedwatch.kafka import admin_client, client_options
from embedwatch.kafka_auth import MAX_TOKEN_BYTES, read_token, tls_context
from embedwatch.settings import KafkaSettings, Settings, load
from stream_agents.app import broker_options
from stream_agents.following import TokenFile, reader_options

TOKEN = "abc.def-_~+/=="


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "security_protocol SASL_SSL needs sasl_mechanism: PLAIN, SCRAM-SHA-256"),
        ({"SASL_MECHANISM": "PLAIN"}, "needs security_protocol SASL_SSL (or SASL_PLAINTEXT), is PLAINTEXT"),
        (
            {"SECURITY_PROTOCOL": "SSL", "SASL_MECHANISM": "OAUTHBEARER"},
            "needs security_protocol SASL_SSL (or SASL_PLAINTEXT), is SSL",
        ),
    ],
)
def test_settings_that_no_client_could_use_are_told_at_the_start(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={f"EMBEDWATCH_KAFKA_{name}": value for name, value in given.items()})
    assert words in str(caught.value)
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sasl_mechanism": "SCRAM-SHA-512"}, "SCRAM-SHA-512 needs kafka.sasl_username and kafka.sasl_password"),
        ({"sasl_mechanism": "PLAIN", "sasl_username": "ada"}, "PLAIN needs kafka.sasl_password"),
        ({"sasl_mechanism": "OAUTHBEARER", "sasl_password": "hush-hush"}, "OAUTHBEARER needs kafka.sasl_token_file"),
    ],
)
def test_what_a_mechanism_needs_is_told_before_a_broker_is_asked(given: dict[str, str], words: str) -> None:
    """Not by the settings alone: a file of settings may leave the password to the environment."""
    settings = KafkaSettings(security_protocol="SASL_SSL", **given)  # type: ignore[arg-type]
    for make in (lambda: admin_client(settings), lambda: client_options(settings, "test")):
        with pytest.raises(ConfigError, match=words.replace(".", r"\.")) as caught:
            make()
        assert "hush-hush" not in str(caught.value)


def by_token(path: Path) -> KafkaSettings:
    return KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_token_file=path)


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    provider = TokenFile(path)
    assert asyncio.run(provider.token()) == read_token(path) == TOKEN
    path.write_text("renewed")
    assert asyncio.run(provider.token()) == "renewed"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"secret secret", "characters that no token has"),
        (b"secret\x01auth=Bearer other", "characters that no token has"),
        ("secretö".encode(), "characters that no token has"),
        (b"s" * (MAX_TOKEN_BYTES + 1), "is larger than 64 KiB"),
    ],
)
def test_what_is_no_token_is_told_without_showing_it(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words) as caught:
        read_token(path)
    assert "secret" not in str(caught.value)


def test_the_longest_token_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"t" * MAX_TOKEN_BYTES)
    assert len(read_token(path)) == MAX_TOKEN_BYTES
    path.write_bytes(b"t" * (MAX_TOKEN_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 64 KiB"):
        read_token(path)


def test_a_file_of_a_token_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.sasl_token_file .*gone cannot be read: No such file"):
        read_token(tmp_path / "gone")


def test_certificate_and_host_name_are_checked_by_every_client(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    settings = by_token(token)
    faust = broker_options(Settings(kafka=settings))["broker_credentials"].ssl_context
    for context in (tls_context(settings), reader_options(settings)["ssl_context"], faust):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(KafkaSettings()) is None
