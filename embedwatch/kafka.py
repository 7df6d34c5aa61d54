"""The Kafka edge: client options from settings, topic creation, true end offsets, and errors in words.

Only this module and the stages' own service loops import kafka-python; what computes never does.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from embedwatch.errors import ConnectionFailed, NotLetIn
from embedwatch.kafka_auth import refusal, sasl_options, speaks_tls, tls_context
from embedwatch.rebalances import finish_every_rebalance
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES, Topics, TopicSpec

__all__ = [
    "KafkaError",
    "TopicPartition",
    "admin_client",
    "briefly",
    "client_options",
    "close_producer",
    "consumer",
    "create_topics",
    "describe_error",
    "described_topics",
    "drop_producer",
    "nobody_there",
    "partitions_of",
    "producer",
    "replicas_to_make",
    "true_end_offsets",
    "wait_for_broker",
]


def client_options(kafka: KafkaSettings, client_id: str) -> dict[str, Any]:
    """What every kafka-python client is given. Holds the password: never log it.

    Raises `ConfigError` for a file of authorities or of a token that cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [part.strip() for part in kafka.bootstrap_servers.split(",")],
        "client_id": client_id,
        "security_protocol": kafka.security_protocol,
        "bootstrap_timeout_ms": int(kafka.connect_timeout_seconds * 1000),
        **sasl_options(kafka),
    }
    context = tls_context(kafka)
    if context is not None:
        options["ssl_context"] = context
    return options


def briefly(kafka: KafkaSettings, seconds: float) -> KafkaSettings:
    """For who asks what is there now: stages wait longer, for a broker that starts beside them."""
    return kafka.model_copy(update={"connect_timeout_seconds": min(kafka.connect_timeout_seconds, seconds)})


def describe_error(error: BaseException) -> str:
    """A Kafka error in plain words, without addresses' credentials or object dumps."""
    name = type(error).__name__
    known = {
        "KafkaTimeoutError": "no answer in time",
        "NoBrokersAvailable": "no broker answers there",
        "KafkaConnectionError": "the connection was refused or dropped",
        "MessageSizeTooLargeError": "the message is larger than the topic allows",
        "UnknownTopicOrPartitionError": "the topic does not exist (create it with `embedwatch topics create`)",
        "TopicAuthorizationFailedError": "not allowed to use this topic",
        "GroupAuthorizationFailedError": "not allowed to use this consumer group",
        "SaslAuthenticationFailedError": "user name or password refused",
        "AuthenticationFailedError": "user name or password refused",  # aiokafka's name for it
        "ClusterAuthorizationFailedError": "not allowed to do this to the cluster",
        "TransactionalIdAuthorizationFailedError": "not allowed to use this transactional id",
        "UnsupportedVersionError": "the broker is too old for this",
    }
    text = str(error).strip().splitlines()
    return known.get(name) or (f"{name}: {text[0][:200]}" if text else name)


def _no_broker(kafka: KafkaSettings, error: BaseException) -> ConnectionFailed:
    why = nobody_there(kafka) or _wants_tls(kafka) or describe_error(error)
    return ConnectionFailed(
        f"Kafka at {kafka.bootstrap_servers}: {why}. Is the broker running? "
        "Set --bootstrap-servers or EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS; without both `embedwatch up` starts one here."
    )


def _wants_tls(kafka: KafkaSettings) -> str | None:
    """A broker that is asked without TLS and wants it says nothing that a client could tell."""
    if "SSL" in kafka.security_protocol:
        return None
    host, _, port = kafka.bootstrap_servers.split(",")[0].strip().rpartition(":")
    if not speaks_tls(host.strip("[]"), int(port)):
        return None
    return "TLS is spoken there: set kafka.security_protocol to SSL or SASL_SSL"


def _be_let_in(kafka: KafkaSettings) -> None:
    """Raises `NotLetIn` at once where a broker is there and refuses us."""
    why = refusal(kafka)
    if why is not None:
        raise NotLetIn(f"Kafka at {kafka.bootstrap_servers}: {why}")


def admin_client(kafka: KafkaSettings, client_id: str = "embedwatch-admin", **more: Any) -> KafkaAdminClient:
    """Raises `ConnectionFailed` when no broker answers within `connect_timeout_seconds`, `NotLetIn` when it refuses."""
    _be_let_in(kafka)
    try:
        return KafkaAdminClient(**client_options(kafka, client_id), **more)
    except (kafka_errors.KafkaError, OSError, ValueError) as error:
        raise _no_broker(kafka, error) from None


def producer(kafka: KafkaSettings, client_id: str, **more: Any) -> KafkaProducer:
    """acks=all, idempotent, bounded by time. Raises `ConnectionFailed`."""
    options: dict[str, Any] = {
        **client_options(kafka, client_id),
        "acks": "all",
        # A record sent again after a lost answer is one record: every event that is published counts.
        "enable_idempotence": True,
        "linger_ms": 5,
        "compression_type": "lz4",
        "max_request_size": TEXTS_MAX_MESSAGE_BYTES,
        "max_block_ms": 10_000,
        "request_timeout_ms": 15_000,
        "delivery_timeout_ms": 60_000,
        **more,
    }
    _be_let_in(kafka)
    try:
        return KafkaProducer(**options)
    except (kafka_errors.KafkaError, OSError, ValueError) as error:
        raise _no_broker(kafka, error) from None


def close_producer(client: KafkaProducer, timeout_seconds: float) -> None:
    """Flush and close within the time. Raises what kafka-python raises when something could not be flushed."""
    try:
        client.close(timeout=timeout_seconds)
    except BaseException:
        # Else its destructor flushes again, fails again and prints a stack trace, and its thread goes on trying for as
        # long as the process runs (kafka-python 3.0.12).
        client._closed = True
        with contextlib.suppress(Exception):  # what is raised already is what tells
            client._sender.force_close()
        raise


def drop_producer(client: KafkaProducer, timeout_seconds: float) -> None:
    """Close one whose records are given up, or acknowledged: what it says of the others is of no interest any more."""
    with contextlib.suppress(KafkaError):
        close_producer(client, timeout_seconds)


def consumer(kafka: KafkaSettings, client_id: str, *, group: str | None, **more: Any) -> KafkaConsumer:
    """No automatic commits, from the earliest offset: nothing is skipped. Raises `ConnectionFailed`."""
    options: dict[str, Any] = {
        **client_options(kafka, client_id),
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": int(kafka.session_timeout_seconds * 1000),
        "heartbeat_interval_ms": max(1000, int(kafka.session_timeout_seconds * 1000 / 4)),
        "max_partition_fetch_bytes": TEXTS_MAX_MESSAGE_BYTES,
        "isolation_level": "read_committed",
        **more,
    }
    _be_let_in(kafka)
    try:
        client = KafkaConsumer(**options)
    except (kafka_errors.KafkaError, OSError, ValueError) as error:
        raise _no_broker(kafka, error) from None
    if group is not None:
        finish_every_rebalance(client)
    return client


def wait_for_broker(kafka: KafkaSettings, timeout_seconds: float) -> None:
    """Until a broker answers a metadata request. Raises `ConnectionFailed` after the timeout, `NotLetIn` at once."""
    deadline = time.monotonic() + timeout_seconds
    trouble: ConnectionFailed | None = None
    while True:
        # A client that cannot start leaves a thread behind (kafka-python 3.0.12): see first that something listens.
        if nobody_there(kafka) is None:
            patience_seconds = min(2.0, max(0.2, deadline - time.monotonic()))
            try:
                admin = admin_client(kafka.model_copy(update={"connect_timeout_seconds": patience_seconds}))
            except NotLetIn:
                raise
            except ConnectionFailed as error:
                trouble = error
            else:
                try:
                    admin.list_topics()
                    return
                except kafka_errors.KafkaError as error:
                    trouble = _no_broker(kafka, error)
                finally:
                    admin.close()
        if time.monotonic() >= deadline:
            raise trouble or _no_broker(kafka, kafka_errors.KafkaConnectionError()) from None
        time.sleep(0.1)


def nobody_there(kafka: KafkaSettings) -> str | None:
    """Why none of the servers can be reached; None when one takes a connection."""
    why = "nothing listens there"
    for part in kafka.bootstrap_servers.split(","):
        host, _, port = part.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
                return None
        except socket.gaierror:
            why = "the host name is not known here"
        except TimeoutError:
            why = "no answer (a firewall?)"
        except OSError:
            why = "nothing listens there"
    return why


def create_topics(kafka: KafkaSettings, specs: Iterable[TopicSpec]) -> dict[str, str]:
    """Create what is missing. Returns, by topic, "created" or "exists".

    A topic that exists keeps its partitions and configuration; one that is made later has as many replicas as those.
    Raises `ConnectionFailed` with the broker's reason.
    """
    specs = list(specs)
    admin = admin_client(kafka)
    try:
        present = set(admin.list_topics())
        done = {spec.name: "exists" for spec in specs}
        if present.issuperset(done):
            return done
        replicas = _replicas(admin, kafka, present)
        for spec in specs:
            if spec.name in present:
                continue
            topic = NewTopic(
                name=spec.name,
                num_partitions=spec.partitions or kafka.partitions,
                replication_factor=replicas,
                topic_configs=spec.config(replicas),
            )
            try:
                admin.create_topics([topic])
            except kafka_errors.TopicAlreadyExistsError:
                continue  # another process was faster
            done[spec.name] = "created"
        return done
    except (kafka_errors.KafkaError, ValueError) as error:
        raise ConnectionFailed(
            f"Kafka at {kafka.bootstrap_servers}: topics could not be created: {describe_error(error)}"
        ) from None
    finally:
        admin.close()


def replicas_to_make(kafka: KafkaSettings) -> int:
    """How many replicas another topic of ours is to have: as many as the metrics topic has, where it is there.

    Raises `KafkaError`.
    """
    admin = admin_client(kafka)
    try:
        return _replicas(admin, kafka, set(admin.list_topics()))
    finally:
        admin.close()


def _replicas(admin: KafkaAdminClient, kafka: KafkaSettings, present: set[str]) -> int:
    """Whoever made the topics said how many; others that make one more were mostly not told."""
    metrics = Topics(kafka.topic_prefix).metrics
    if metrics not in present:
        return kafka.replication_factor
    return max(kafka.replication_factor, described_topics(admin, [metrics])[metrics].replicas)


class Described(NamedTuple):
    """Of a topic: `replicas` of the partition that has the fewest, `config` None where the broker does not tell it."""

    partitions: int
    replicas: int
    config: Mapping[str, str | None] | None


def described_topics(admin: KafkaAdminClient, names: list[str]) -> dict[str, Described]:
    """Each of these topics, as the broker has it."""
    from kafka.admin import ConfigResource, ConfigResourceType

    copies = {
        each["name"]: [len(one.get("replica_nodes") or ()) for one in each["partitions"]]
        for each in admin.describe_topics(names)
    }
    try:
        told = admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all"
        )
        configs = {name: {key: one.get("value") for key, one in each.items()} for name, each in told["topic"].items()}
    except (kafka_errors.KafkaError, KeyError, ValueError):  # not allowed, or a broker that does not know of it
        configs = {}
    return {
        name: Described(len(copies.get(name, ())), min(copies.get(name, ()), default=0), configs.get(name))
        for name in names
    }


def partitions_of(kafka: KafkaSettings, topic: str) -> list[TopicPartition]:
    """Partitions of a topic, from a fresh metadata request; empty when the topic does not exist."""
    client = consumer(kafka, "embedwatch-metadata", group=None)
    try:
        return [TopicPartition(topic, p) for p in sorted(client.partitions_for_topic(topic) or ())]
    finally:
        client.close()


def offsets_since(kafka: KafkaSettings, topic: str, since_seconds: float) -> dict[int, int]:
    """By partition the offset of the first record that was written at that time or later, where there is one.

    A partition that is not in it is to be read from its start, unless all in it is older. Raises `ConnectionFailed`.
    """
    if since_seconds <= 0:
        return {}
    client = consumer(kafka, "embedwatch-offsets", group=None, allow_auto_create_topics=False)
    try:
        logs = [TopicPartition(topic, partition) for partition in client.partitions_for_topic(topic) or ()]
        found = client.offsets_for_times({log: int(since_seconds * 1000) for log in logs}) if logs else {}
        return {log.partition: place.offset for log, place in found.items() if place is not None and place.offset >= 0}
    except kafka_errors.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {kafka.bootstrap_servers}: {topic} could not be read: {describe_error(error)}"
        ) from None
    finally:
        client.close()


def first_offsets(kafka: KafkaSettings, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each log begins now: what was there before was removed by retention."""
    client = consumer(kafka, "embedwatch-first-offsets", group=None)
    try:
        return dict(client.beginning_offsets(list(partitions)))
    finally:
        client.close()


def true_end_offsets(
    kafka: KafkaSettings, partitions: Iterable[TopicPartition], *, timeout_seconds: float = 5.0
) -> Mapping[TopicPartition, int]:
    """Offset after the last record of each partition.

    The embedded broker answers `end_offsets` with the base of its last batch plus one. Reading from there gives the
    high watermark of the fetch answer, which is right on it and on Apache Kafka. A partition that does not exist or did
    not answer in time is missing from the result: that is "unknown", never 0.
    """
    wanted = list(partitions)
    if not wanted:
        return {}
    client = consumer(kafka, "embedwatch-end-offsets", group=None, isolation_level="read_uncommitted")
    try:
        there = {topic: client.partitions_for_topic(topic) or () for topic in {tp.topic for tp in wanted}}
        wanted = [tp for tp in wanted if tp.partition in there[tp.topic]]
        reported: dict[TopicPartition, int] = client.end_offsets(wanted, timeout_ms=int(timeout_seconds * 1000))
        found = {tp: 0 for tp in wanted if reported[tp] == 0}
        todo = [tp for tp in wanted if reported[tp]]
        client.assign(todo)
        for tp in todo:
            client.seek(tp, reported[tp] - 1)
        deadline = time.monotonic() + timeout_seconds
        while len(found) < len(wanted) and time.monotonic() < deadline:
            client.poll(100)
            for tp in todo:
                mark = client.highwater(tp)
                if mark is not None:
                    found[tp] = max(int(mark), reported[tp])
        return found
    except kafka_errors.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {kafka.bootstrap_servers}: end offsets could not be read: {describe_error(error)}"
        ) from None
    finally:
        client.close()
