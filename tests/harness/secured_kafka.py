"""Apache Kafka with TLS, SASL and access lists, on free loopback ports, for tests.

Beside the plain listener, whose user may do everything, one with TLS and one with TLS and SASL: PLAIN, SCRAM-SHA-256,
SCRAM-SHA-512, and OAUTHBEARER with tokens that nobody signed, as Kafka takes them for tests.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from embedwatch.settings import KafkaSettings
from tests.harness.apache_kafka import HOST, ApacheKafka, quiet_port
from tests.harness.certificates import authority, server

USER = "ada"
PASSWORD = "hunter2-hunter2"
#: May read and write what the access lists of a test say, and nothing else.
GUEST = "guest"
PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = (*PASSWORD_MECHANISMS, "OAUTHBEARER")

_MODULES = "org.apache.kafka.common.security"
_PROPERTIES = """\
listeners=PLAINTEXT://{host}:{port},SSL://{host}:{ssl_port},SASL_SSL://{host}:{sasl_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},SSL://{host}:{ssl_port},SASL_SSL://{host}:{sasl_port}
controller.quorum.voters=1@{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
ssl.client.auth=none
sasl.enabled.mechanisms={mechanisms}
listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required {users};
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub="broker";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{user}
# Else the answer to a wrong password waits a little, on purpose.
connection.failed.authentication.delay.ms=0
"""


class SecuredKafka(ApacheKafka):
    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(folder, **more)
        self.authority = authority(folder)
        self.certificate = server(folder, self.authority, HOST)
        self.stranger = authority(folder, "stranger")
        self.ssl_port = self.sasl_port = 0

    def more_properties(self, port: int) -> str:
        keystore = self.folder / "keystore.pem"
        keystore.write_text(self.certificate.key.read_text() + self.certificate.certificate.read_text())
        self.ssl_port, self.sasl_port = quiet_port(), quiet_port()
        users = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, GUEST))
        return _PROPERTIES.format(
            host=HOST, port=port, ssl_port=self.ssl_port, sasl_port=self.sasl_port, controller_port=quiet_port(),
            keystore=keystore, authority=self.authority.certificate, mechanisms=",".join(MECHANISMS),
            modules=_MODULES, users=users, user=USER,
        )  # fmt: skip

    def format_options(self) -> tuple[str, ...]:
        return tuple(
            option
            for name in (USER, GUEST)
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for option in ("--add-scram", f"{mechanism}=[name={name},password={PASSWORD}]")
        )

    def settings(self, mechanism: str | None = None, user: str = USER, **more: Any) -> KafkaSettings:
        """For one who is told everything rightly: over TLS, with a mechanism by SASL. `more` makes it wrong."""
        given: dict[str, Any] = {"ssl_cafile": self.authority.certificate, "connect_timeout_seconds": 10.0}
        if mechanism is None:
            given |= {"security_protocol": "SSL", "bootstrap_servers": f"{HOST}:{self.ssl_port}"}
        else:
            given |= {"security_protocol": "SASL_SSL", "bootstrap_servers": f"{HOST}:{self.sasl_port}"}
            given["sasl_mechanism"] = mechanism
            if mechanism == "OAUTHBEARER":
                given["sasl_token_file"] = self.token_file(user)
            else:
                given |= {"sasl_username": user, "sasl_password": PASSWORD}
        return KafkaSettings(**{**given, **more})

    def token_file(self, user: str, *, valid_seconds: float = 3600.0) -> Path:
        """A file with a token for this user; an earlier one is written over."""
        path = self.folder / f"token-{user}"
        path.write_text(token(user, valid_seconds) + "\n")
        return path


def token(user: str, valid_seconds: float) -> str:
    """A JWT that nobody signed. One for less than no time is of an hour ago."""
    begun = time.time() - (3600.0 if valid_seconds < 0 else 0.0)
    ends = time.time() + valid_seconds
    parts = ({"alg": "none"}, {"sub": user, "iat": int(begun), "exp": int(ends), "scope": "kafka"})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
