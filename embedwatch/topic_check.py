"""How a topic that is there differs from what `embedwatch topics create` would make, and what mends it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from embedwatch.topics import TopicSpec, in_sync


@dataclass(frozen=True, slots=True)
class Difference:
    """`harmful`: what depends on it is lost or refused; else it works, and will hurt later."""

    topic: str
    what: str
    fix: str
    harmful: bool = False


def differences(
    spec: TopicSpec,
    wanted_partitions: int,
    partitions: int,
    config: Mapping[str, str | None],
    servers: str,
    replicas: int = 1,
    wanted_replicas: int = 1,
) -> list[Difference]:
    """`config` is what the broker says; a name that it does not tell is not known, and no difference."""
    found = []
    if partitions != wanted_partitions:
        found.append(_partitions(spec, wanted_partitions, partitions, servers))
    found += too_few_copies(spec.name, replicas, wanted_replicas, config, servers)
    for name, wanted in _wanted(spec).items():
        is_ = config.get(name)
        if is_ is None or _same(name, is_, wanted):
            continue
        what = f"{name} is {is_ or 'empty'}, expected {wanted}"
        harmful = name == "cleanup.policy" and ("compact" in is_) != ("compact" in wanted)
        small = name == "max.message.bytes" and int(is_) > int(wanted)
        if not small:  # larger messages than we need do no harm
            found.append(Difference(spec.name, what, _alter(spec.name, name, wanted, servers), harmful))
    return found


def too_few_copies(
    topic: str, replicas: int, wanted: int, config: Mapping[str, str | None], servers: str
) -> list[Difference]:
    """Where the loss of a broker stops or loses more than it does to our other topics."""
    if replicas < wanted:
        what = f"{replicas} replicas, expected {wanted}: a broker that is away stops it, and one lost disk may lose it"
        fix = f"`kafka-reassign-partitions.sh --bootstrap-server {shlex.quote(servers)}` gives it more"
        return [Difference(topic, what, f"{fix} (docs/how-to/run-in-production.md)")]
    for name, least in in_sync(replicas).items():
        is_ = config.get(name)
        if is_ is not None and int(is_) < int(least):
            what = f"{name} is {is_}, expected {least}: what one broker alone had can be lost with it"
            return [Difference(topic, what, _alter(topic, name, least, servers))]
    return []


def _wanted(spec: TopicSpec) -> dict[str, str]:
    config = spec.config()
    # A topic that keeps everything by compaction alone has no age at which it forgets: none is looked at.
    return {name: value for name, value in config.items() if name != "segment.ms"}


def _same(name: str, is_: str, wanted: str) -> bool:
    if name == "cleanup.policy":
        return {part.strip() for part in is_.split(",")} == set(wanted.split(","))
    return is_ == wanted


def _partitions(spec: TopicSpec, wanted: int, is_: int, servers: str) -> Difference:
    if spec.partitions is not None:
        # Its readers take it whole, or look for a key where it would be.
        fix = f"delete {spec.name} while nothing runs, then `embedwatch topics create`: what it holds is lost"
        return Difference(spec.name, f"{is_} partitions, expected {wanted}", fix, harmful=True)
    if is_ > wanted:
        fix = f"set EMBEDWATCH_KAFKA_PARTITIONS={is_} (kafka.partitions), so that all know of it"
        return Difference(spec.name, f"{is_} partitions, kafka.partitions is {wanted}", fix)
    server = shlex.quote(servers)
    grow = f"kafka-topics.sh --bootstrap-server {server} --alter --topic {spec.name} --partitions {wanted}"
    fix = f"`{grow}`, or set EMBEDWATCH_KAFKA_PARTITIONS={is_}"
    return Difference(spec.name, f"{is_} partitions, kafka.partitions is {wanted}", fix)


def _alter(topic: str, name: str, value: str, servers: str) -> str:
    # A value with a comma stands in square brackets.
    shown = f"[{value}]" if "," in value else value
    return (
        f"`kafka-configs.sh --bootstrap-server {shlex.quote(servers)} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {name}={shown}`"
    )
