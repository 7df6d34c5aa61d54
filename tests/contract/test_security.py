"""TLS, SASL and access lists on Apache Kafka: every client of ours comes in as it should, and is told when not.

One broker for all of it, with a plain listener (its user may do everything), one with TLS and one with TLS and SASL.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError as AioKafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from kafka import errors as kafka_errors
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from pydantic import SecretStr

from embedwatch import kafka
from embedwatch.errors import ConfigError, ConnectionFailed, NotLetIn
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import Topics
from stream_agents.app import broker_options
from stream_agents.following import Follower, reader_options
from tests.harness.agents import Agents
from tests.harness.apache_kafka import HOST, CannotRun
from tests.harness.commands import run
from tests.harness.kafka_io import make_topic, opened, read, read_topic, send_all
from tests.harness.requirements import missing, start_kafka
from tests.harness.secured_kafka import GUEST, MECHANISMS, PASSWORD, PASSWORD_MECHANISMS, SecuredKafka
from tests.harness.workers import HASHING
from workers.transactions import refuse_without_isolation

pytestmark = pytest.mark.kafka

WAYS = (None, *MECHANISMS)
WRONG = "wrong-wrong-wrong"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[SecuredKafka]:
    try:
        service = SecuredKafka(tmp_path_factory.mktemp("secured-kafka"), say=say)
    except CannotRun as error:
        missing("kafka", str(error))
    start_kafka(service)
    yield service
    service.stop()


@pytest.fixture
def prefix() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def control(secured: SecuredKafka, prefix: str) -> KafkaSettings:
    """The plain listener, for what a test needs beside what it is about."""
    return KafkaSettings(bootstrap_servers=secured.bootstrap_servers, topic_prefix=prefix)


def environment(settings: KafkaSettings) -> dict[str, str]:
    """The variables of these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"EMBEDWATCH_KAFKA_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
    }


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_admin_producer_and_member_of_a_group_come_in(secured: SecuredKafka, prefix: str, way: str | None) -> None:
    settings = secured.settings(way, topic_prefix=prefix)
    topic = make_topic(settings)
    assert send_all(settings, topic, [b"a", b"b"]) == [0, 1]
    with opened(kafka.consumer(settings, "test", group=f"{prefix}-group")) as client:
        client.subscribe([topic])
        assert [record.value for record in read(client, 2)] == [b"a", b"b"]
        client.commit()
        assert client.committed(kafka.TopicPartition(topic, 0)) == 2
    kafka.wait_for_broker(settings, 5.0)
    assert kafka.true_end_offsets(settings, [kafka.TopicPartition(topic, 0)]) == {kafka.TopicPartition(topic, 0): 2}


@pytest.mark.parametrize("way", PASSWORD_MECHANISMS)
def test_a_transaction_is_committed_by_who_has_said_a_password(secured: SecuredKafka, prefix: str, way: str) -> None:
    settings = secured.settings(way, topic_prefix=prefix)
    topic = make_topic(settings)
    with opened(kafka.producer(settings, "test", transactional_id=f"{prefix}-1")) as client:
        client.init_transactions()
        client.begin_transaction()
        client.send(topic, b"whole").get(30)
        client.commit_transaction()
    assert [record.value for record in read_topic(settings, topic, 1)] == [b"whole"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_clients_of_the_agents_come_in(secured: SecuredKafka, prefix: str, way: str | None) -> None:
    """What Faust makes of our settings, and the reader beside it."""
    settings = secured.settings(way, topic_prefix=prefix)
    topic = make_topic(settings)
    options = broker_options(Settings(kafka=settings))
    given = {
        "bootstrap_servers": settings.bootstrap_servers,
        **credentials_to_aiokafka_auth(options["broker_credentials"]),
    }
    found: list[bytes | None] = []
    enough = threading.Event()

    def take(partition: int, key: bytes | None, value: bytes | None) -> None:
        found.append(value)
        enough.set()

    async def talk() -> list[bytes]:
        writer = AIOKafkaProducer(**given, enable_idempotence=True)
        await writer.start()
        try:
            await asyncio.wait_for(writer.send_and_wait(topic, b"x"), 20)
        finally:
            await writer.stop()
        reader = AIOKafkaConsumer(topic, **given, group_id=f"{prefix}-agents", auto_offset_reset="earliest")
        await reader.start()
        try:
            value = (await asyncio.wait_for(reader.getone(), 20)).value
            await reader.commit()
        finally:
            await reader.stop()
        await asyncio.wait_for(Follower(settings, topic, [0], take).run(enough.is_set), 20)
        return [value]

    assert asyncio.run(talk()) == [b"x"]
    assert found == [b"x"]


def test_the_whole_flow_runs_with_another_mechanism_at_each_stage(
    secured: SecuredKafka, prefix: str, control: KafkaSettings, tmp_path: Path
) -> None:
    """Producer by PLAIN, worker by SCRAM, agents by a token; at DEBUG, too, none of them tells a secret or a text."""
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"my secret diary {number}\n" for number in range(20)))
    agents = Agents(control, tmp_path)
    talkative = {"EMBEDWATCH_LOG_LEVEL": "DEBUG"}
    by_token = environment(secured.settings("OAUTHBEARER", topic_prefix=prefix))
    with agents.running(environment=by_token | talkative) as child:
        said = run_with(secured.settings("PLAIN", topic_prefix=prefix), "produce", texts, **talkative)
        worker = secured.settings("SCRAM-SHA-512", topic_prefix=prefix)
        said += run_with(worker, "worker", *HASHING, "--max-texts", 20, **talkative)
        agents.wait_ready(child)
        agents.wait_texts(child, 20)
        # Faust has pages of its own, which would show its tables and hand requests on to other processes.
        assert [agents.get(path)[0] for path in ("/router/", "/table/", "/stats/", "/graph/", "/healthz")] == [
            404, 404, 404, 404, 200,
        ]  # fmt: skip
        words = (tmp_path / "agents-1.log").read_text() + said
    assert "kafka.net" in said, "the attempts of the clients are told"
    assert PASSWORD not in words
    assert "diary" not in words
    assert secured.token_file("ada").read_text().strip() not in words
    assert read_topic(control, Topics(prefix).vectors, 1, partitions=4)


def run_with(settings: KafkaSettings, *arguments: object, code: int = 0, **variables: str) -> str:
    """A command of ours with all of these settings in its environment; what it says."""
    done = run(settings, *arguments, code=code, environment=environment(settings) | variables)
    return (done.stdout + done.stderr).decode()


CLIENTS = {
    "admin": lambda settings: kafka.admin_client(settings),
    "producer": lambda settings: kafka.producer(settings, "test"),
    "consumer": lambda settings: kafka.consumer(settings, "test", group="g"),
    "waiting": lambda settings: kafka.wait_for_broker(settings, 60.0),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("PLAIN", "user name or password refused"),
        ("SCRAM-SHA-256", "user name or password refused"),
        ("SCRAM-SHA-512", "user name or password refused"),
        ("OAUTHBEARER", "token refused"),
        ("authority", "certificate is not trusted"),
        ("host name", "certificate is not for the name localhost"),
        ("mechanism", "it takes no sasl_mechanism"),
        ("listener", "no TLS is spoken there"),
    ],
)
def test_who_is_not_let_in_is_told_why_at_once_and_no_secret(
    secured: SecuredKafka, wrong: str, words: str, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    late = secured.token_file("late", valid_seconds=-60)
    settings = {
        "OAUTHBEARER": lambda: secured.settings("OAUTHBEARER", sasl_token_file=late),
        "authority": lambda: secured.settings("PLAIN", ssl_cafile=secured.stranger.certificate),
        "host name": lambda: secured.settings("PLAIN", bootstrap_servers=f"localhost:{secured.sasl_port}"),
        # A listener without SASL takes no mechanism at all.
        "mechanism": lambda: secured.settings("PLAIN", bootstrap_servers=f"{HOST}:{secured.ssl_port}"),
        "listener": lambda: secured.settings("PLAIN", bootstrap_servers=secured.bootstrap_servers),
    }.get(wrong, lambda: secured.settings(wrong, sasl_password=WRONG))()
    # Nobody waits for this: who asks again and again until then has not been told at once.
    settings = settings.model_copy(update={"connect_timeout_seconds": 170.0})
    with pytest.raises(NotLetIn) as caught:
        CLIENTS[client](settings)
    told = str(caught.value)
    assert words in told
    assert settings.bootstrap_servers in told
    assert "\n" not in told
    for secret in (WRONG, PASSWORD, late.read_text().strip()):
        assert secret not in told + caplog.text


def test_who_does_not_ask_for_tls_is_told_that_it_is_wanted(secured: SecuredKafka) -> None:
    with pytest.raises(ConnectionFailed, match=r"TLS is spoken there: set kafka\.security_protocol"):
        kafka.admin_client(KafkaSettings(bootstrap_servers=f"{HOST}:{secured.ssl_port}", connect_timeout_seconds=0.5))


def test_a_command_tells_it_in_one_line(secured: SecuredKafka) -> None:
    said = run_with(secured.settings("PLAIN", sasl_password=WRONG), "topics", "create", code=4)
    assert "user name or password refused" in said
    assert WRONG not in said
    assert len(said.splitlines()) == 1


def test_a_reader_of_the_agents_tells_why_it_cannot_come_in(
    secured: SecuredKafka, caplog: pytest.LogCaptureFixture
) -> None:
    settings = secured.settings("SCRAM-SHA-256", sasl_password=WRONG)

    async def start() -> None:
        client = AIOKafkaConsumer(**reader_options(settings), group_id=None)
        try:
            await client.start()
        finally:
            await client.stop()

    with pytest.raises(AioKafkaError) as caught:
        asyncio.run(start())
    assert WRONG not in str(caught.value) + caplog.text


def test_a_token_is_read_anew_for_each_connection(secured: SecuredKafka, prefix: str) -> None:
    """A token that was renewed is used by the clients that are there, when they connect again."""
    settings = secured.settings("OAUTHBEARER", topic_prefix=prefix)
    with opened(kafka.admin_client(settings)) as admin:
        provider = admin.config["sasl_oauth_token_provider"]
        before = provider.token()
        secured.token_file("ada", valid_seconds=7200.0)
        assert provider.token() != before
        admin.list_topics()


# --- access lists


def allow(control: KafkaSettings, kind: Any, name: str, *operations: Any, prefixed: bool = False) -> None:
    pattern = ResourcePattern(kind, name, *([ACLResourcePatternType.PREFIXED] if prefixed else ()))
    with opened(kafka.admin_client(control)) as admin:
        admin.create_acls(
            [ACL(f"User:{GUEST}", "*", operation, ACLPermissionType.ALLOW, pattern) for operation in operations]
        )


def guest(secured: SecuredKafka, prefix: str, way: str = "SCRAM-SHA-256") -> KafkaSettings:
    return secured.settings(way, GUEST, topic_prefix=prefix)


def test_who_may_not_make_topics_is_told(secured: SecuredKafka, prefix: str) -> None:
    with pytest.raises(ConnectionFailed, match="topics could not be created: not allowed to use this topic"):
        kafka.create_topics(guest(secured, prefix), Topics(prefix).specs())


def test_who_may_not_write_is_told_and_who_may_can(secured: SecuredKafka, prefix: str, control: KafkaSettings) -> None:
    topic = make_topic(control)
    with opened(kafka.producer(guest(secured, prefix), "test")) as client:
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError) as caught:
            client.send(topic, b"x").get(30)
        assert kafka.describe_error(caught.value) == "not allowed to use this topic"
    allow(control, ResourceType.TOPIC, topic, ACLOperation.WRITE)
    assert eventually(lambda: send_all(guest(secured, prefix, "PLAIN"), topic, [b"x"])) == [0]


def test_who_may_not_read_is_told_topic_and_group_apart(
    secured: SecuredKafka, prefix: str, control: KafkaSettings
) -> None:
    topic, settings = make_topic(control), guest(secured, prefix)
    send_all(control, topic, [b"x"])

    def refused() -> str:
        with opened(kafka.consumer(settings, "test", group=f"{prefix}-group")) as client:
            client.subscribe([topic])
            with pytest.raises(kafka_errors.AuthorizationError) as caught:
                read(client, 1)
        return kafka.describe_error(caught.value)

    assert refused() == "not allowed to use this consumer group"
    allow(control, ResourceType.GROUP, f"{prefix}-group", ACLOperation.READ)
    allow(control, ResourceType.TOPIC, topic, ACLOperation.DESCRIBE)
    assert eventually(lambda: said if "group" not in (said := refused()) else None) == "not allowed to use this topic"
    allow(control, ResourceType.TOPIC, topic, ACLOperation.READ)

    def readable() -> list[bytes]:
        with opened(kafka.consumer(settings, "test", group=f"{prefix}-group")) as client:
            client.subscribe([topic])
            return [record.value for record in read(client, 1)]

    assert eventually(readable) == [b"x"]


def test_a_worker_that_may_not_read_ends_and_says_so(
    secured: SecuredKafka, prefix: str, control: KafkaSettings
) -> None:
    kafka.create_topics(control, Topics(prefix).specs())
    allow(control, ResourceType.GROUP, f"{prefix}-workers", ACLOperation.READ)
    for name in (spec.name for spec in Topics(prefix).specs()):
        allow(control, ResourceType.TOPIC, name, ACLOperation.DESCRIBE, ACLOperation.WRITE)
    said = run_with(guest(secured, prefix), "worker", *HASHING, "--max-texts", 1, "--broker-retry-seconds", 5, code=4)
    assert "texts could not be read: not allowed to use this topic" in said
    assert PASSWORD not in said


def test_transactions_are_tried_with_the_rights_that_the_page_names_and_a_topic_that_stays_is_named(
    secured: SecuredKafka, prefix: str, control: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    begins = f"{prefix}.probe-"
    allow(control, ResourceType.TRANSACTIONAL_ID, begins, ACLOperation.WRITE, ACLOperation.DESCRIBE, prefixed=True)
    used = (ACLOperation.CREATE, ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE)
    allow(control, ResourceType.TOPIC, begins, *used, prefixed=True)

    def left() -> list[str]:
        with opened(kafka.admin_client(control)) as admin:
            return [topic for topic in admin.list_topics() if topic.startswith(begins)]

    def tried() -> bool:
        refuse_without_isolation(guest(secured, prefix))
        return True

    assert eventually(tried)
    stay = left()
    assert stay
    assert all(f"topic {topic}, on which transactions were tried, stays" in caplog.text for topic in stay)
    caplog.clear()
    allow(control, ResourceType.TOPIC, begins, ACLOperation.DELETE, prefixed=True)

    def deleted() -> bool:
        caplog.clear()
        refuse_without_isolation(guest(secured, prefix))
        return "stays" not in caplog.text

    assert eventually(lambda: deleted() or None)


def test_producing_without_the_right_to_is_told(
    secured: SecuredKafka, prefix: str, control: KafkaSettings, tmp_path: Path
) -> None:
    kafka.create_topics(control, Topics(prefix).specs())
    texts = tmp_path / "texts.txt"
    texts.write_text("a\n")
    said = run_with(guest(secured, prefix), "produce", texts, code=4)
    assert "not allowed to use this topic" in said
    assert PASSWORD not in said


def eventually(ask: Callable[[], Any], timeout_seconds: float = 20.0) -> Any:
    """Access lists reach the authoriser a moment after the answer."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        with contextlib.suppress(kafka_errors.AuthorizationError, ConnectionFailed):
            if (found := ask()) is not None:
                return found
        assert time.monotonic() < deadline, "the access lists did not reach the broker"
        time.sleep(0.1)


def test_a_file_of_authorities_that_is_none_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    empty = tmp_path / "authority.pem"
    empty.write_text("nothing")
    for path, words in ((empty, "holds no certificate in PEM form"), (tmp_path / "gone.pem", "cannot be read")):
        settings = KafkaSettings(security_protocol="SSL", ssl_cafile=path)
        with pytest.raises(ConfigError, match=words):
            kafka.admin_client(settings)
