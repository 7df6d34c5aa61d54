"""How a Kafka client shows who it is and sees who the broker is: TLS, and tokens for OAUTHBEARER.

One place for kafka-python and aiokafka, so that both check the same certificates in the same way.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from embedwatch.errors import ConfigError
from embedwatch.settings import KafkaSettings

#: A token is a header of a few kilobytes; brokers take messages of half a megabyte before anyone is known to them.
MAX_TOKEN_BYTES = 64 * 1024
#: How long one server may take to say whether it lets us in.
ANSWER_SECONDS = 5.0
#: By whether a token was shown.
REFUSED = {False: "user name or password refused", True: "token refused (expired, or of another audience?)"}


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Certificate and host name are checked, TLS 1.2 or newer; None where the protocol is without TLS.

    Raises `ConfigError` where the file of authorities cannot be used.
    """
    if "SSL" not in kafka.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=None if kafka.ssl_cafile is None else str(kafka.ssl_cafile))
    except ssl.SSLError:
        raise ConfigError(f"kafka.ssl_cafile {kafka.ssl_cafile} holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"kafka.ssl_cafile {kafka.ssl_cafile} cannot be read: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_token(path: Path) -> str:
    """The token in the file, as it is now. Raises `ConfigError`, which does not show it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"kafka.sasl_token_file {path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_TOKEN_BYTES:
        raise ConfigError(
            f"kafka.sasl_token_file {path} is larger than {MAX_TOKEN_BYTES // 1024} KiB: that is no token"
        )
    text = data.decode("ascii", errors="replace").strip()
    # The characters of RFC 6750. Anything else could end the token's field of the message early.
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text):
        what = "holds characters that no token has" if text else "is empty"
        raise ConfigError(f"kafka.sasl_token_file {path} {what}")
    return text


def refusal(kafka: KafkaSettings) -> str | None:
    """Why no server lets us in, in words for people; None where one does, or none can be asked.

    kafka-python tries a wrong password again until its time is over and then says that nobody answered (3.0.12).
    """
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context, why = tls_context(kafka), None
    deadline = time.monotonic() + kafka.connect_timeout_seconds
    for part in kafka.bootstrap_servers.split(","):
        host, _, port = part.strip().rpartition(":")
        host = host.strip("[]")
        patience_seconds = min(ANSWER_SECONDS, deadline - time.monotonic())
        if patience_seconds <= 0:
            break
        try:
            with socket.create_connection((host, int(port)), timeout=patience_seconds) as plain:
                if context is None:
                    found = _sasl_refusal(kafka, plain)
                else:
                    with context.wrap_socket(plain, server_hostname=host) as encrypted:
                        found = _sasl_refusal(kafka, encrypted)
            if found is None:
                return None
            why = why or found
        except ssl.SSLError as error:
            why = why or _tls_refusal(error, host)
        except OSError:
            continue  # not there, or not yet: for the client, which asks for longer
    return why


def speaks_tls(host: str, port: int, timeout_seconds: float = 1.0) -> bool:
    """Whether a TLS server is there, whoever it is: nothing is said to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def _tls_refusal(error: ssl.SSLError, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):  # of OpenSSL: host name and IP address mismatch
            return f"its certificate is not for the name {host}: ask for it by the name in its certificate"
        return (
            f"its certificate is not trusted ({error.verify_message}): set kafka.ssl_cafile "
            "(EMBEDWATCH_KAFKA_SSL_CAFILE) to the file of the authority that signed it"
        )
    reason = (error.reason or "").lower().replace("_", " ")
    if "alert" in reason:
        return f"it refused the TLS handshake ({reason}); a certificate of the client's own cannot be given"
    return "no TLS is spoken there: is it the port of another listener, or security_protocol a wrong one?"


def _sasl_refusal(kafka: KafkaSettings, connection: socket.socket) -> str | None:
    """Who we are, said as the client will say it. Raises `OSError` when the connection ends."""
    if kafka.sasl_mechanism is None:
        return None
    from kafka.net.sasl import get_sasl_mechanism
    from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

    answer = _asked(connection, SaslHandshakeRequest(mechanism=kafka.sasl_mechanism, version=1))
    if answer.error_code:
        offered = ", ".join(sorted(answer.mechanisms)) or "none"
        return f"it takes no sasl_mechanism {kafka.sasl_mechanism}; it offers: {offered}"
    mechanism = get_sasl_mechanism(kafka.sasl_mechanism)(host="", **sasl_options(kafka))
    while not mechanism.is_done():
        answer = _asked(connection, SaslAuthenticateRequest(mechanism.auth_bytes(), version=0))
        if answer.error_code:
            # What the broker says of it may repeat what was sent.
            return REFUSED[kafka.sasl_mechanism == "OAUTHBEARER"]
        mechanism.receive(answer.auth_bytes)
    return None if mechanism.is_authenticated() else REFUSED[kafka.sasl_mechanism == "OAUTHBEARER"]


def _asked(connection: socket.socket, request: Any) -> Any:
    from kafka.protocol.parser import KafkaProtocol

    parser = KafkaProtocol(client_id="embedwatch-knock", ident="")
    parser.send_request(request)
    connection.sendall(parser.send_bytes())
    while True:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("the broker ended the connection")
        for _, response in parser.receive_bytes(data):
            return response


class _TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python ships no types
    """The token for each new connection, as the file has it then."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def token(self) -> str:
        return read_token(self._path)


def sasl_options(kafka: KafkaSettings) -> dict[str, Any]:
    """kafka-python's names for them, empty without SASL. Holds the password: never log it. Raises `ConfigError`."""
    if kafka.sasl_mechanism is None:
        return {}
    needed = ("sasl_token_file",) if kafka.sasl_mechanism == "OAUTHBEARER" else ("sasl_username", "sasl_password")
    missing = [f"kafka.{name}" for name in needed if not getattr(kafka, name)]
    if missing:
        raise ConfigError(f"kafka.sasl_mechanism {kafka.sasl_mechanism} needs {' and '.join(missing)}")
    if kafka.sasl_mechanism == "OAUTHBEARER" and kafka.sasl_token_file is not None:
        read_token(kafka.sasl_token_file)  # told now, in words; in the client's thread it would be one of many retries
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": _TokenFile(kafka.sasl_token_file)}
    return {
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
    }
