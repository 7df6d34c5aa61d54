"""The members of a crew: for each slot the command that is its worker process, and the environment it gets.

A member is a plain `embedwatch worker`. It gets the settings that were resolved here as environment variables: a
command line is open to every user of the machine, and a file of settings may change before a member starts again.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr

from embedwatch.errors import ConfigError
from embedwatch.settings import PREFIX, SECRET_FILE, Settings, env_name, load, secret_variables
from workers import slots, visible_gpus
from workers.crew import Member
from workers.loading import cpu_quota
from workers.slots import Slot

MAX_PORT = 65_535


def members(settings: Settings) -> list[Member]:
    """The worker processes that the settings ask for; none when this process itself is to be the only worker.

    Raises `ConfigError`.
    """
    planned = slots.plan(settings.worker, name=_name(settings), cpus=cpu_quota(), gpus=visible_gpus.find)
    return [_member(settings, slot, port) for slot, port in zip(planned, _ports(settings, planned), strict=True)]


def pool(settings: Settings, count: int | None) -> list[tuple[Slot, Member]]:
    """Every place that a worker process may have, and the process: `count` of them, or one for each place on a GPU.

    Without either, one for each CPU. A GPU comes again only after all others. Raises `ConfigError`.
    """
    cpus = cpu_quota()
    if count is None and settings.worker.processes_per_gpu is None:
        count = cpus
    places = slots.fixed(settings.worker, name=_name(settings), cpus=cpus, gpus=visible_gpus.find, count=count)
    spread = slots.spread(places)
    return [(slot, _member(settings, slot, port)) for slot, port in zip(spread, _ports(settings, spread), strict=True)]


def _ports(settings: Settings, planned: Sequence[Slot]) -> list[int | None]:
    """Where each answers for itself: one port after the other from `worker.metrics_port`, for one can be had once. A
    place keeps its port when its worker starts again. Raises `ConfigError`.
    """
    first = settings.worker.metrics_port
    if not first:  # off, or any free one
        return [first for _ in planned]
    if first + len(planned) - 1 > MAX_PORT:
        raise ConfigError(
            f"worker.metrics_port {first}: {len(planned)} workers need as many ports from it on, and the last one "
            f"there is, is {MAX_PORT}"
        )
    return [first + number for number in range(len(planned))]


def _name(settings: Settings) -> str:
    return settings.worker.name or f"{socket.gethostname()}-{os.getpid()}"


def _member(settings: Settings, slot: Slot, metrics_port: int | None) -> Member:
    own = {
        "name": slot.name,
        "device": slot.device,
        "threads": slot.threads,
        "processes": 1,
        "processes_per_gpu": None,
        "metrics_port": metrics_port,
    }
    worker = settings.worker.model_copy(update=own)
    environ = as_environment(settings.model_copy(update={"worker": worker}))
    if slot.gpu is not None:
        environ[visible_gpus.MASK] = slot.gpu
    # -P: a folder `workers` where the command happens to be started must not take the place of ours.
    return Member(slot.name, (sys.executable, "-P", "-m", "embedwatch", "worker"), environ)


def as_environment(settings: Settings) -> dict[str, str | None]:
    """The variables from which `load` makes these same settings, whatever else the environment says.

    Raises `ConfigError`, which names no values, for settings that no variable can hold.
    """
    environ: dict[str, str | None] = {f"{PREFIX}CONFIG": None}
    environ |= {name + SECRET_FILE: None for name in secret_variables()}  # they are read already
    for section in Settings.model_fields:
        part = getattr(settings, section)
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            # Without a variable the default would come back: what is switched off has to be said.
            off = value is None and field.default is not None
            environ[env_name(section, name)] = "off" if off else _written(value)
    try:
        again = load(environ={name: value for name, value in environ.items() if value is not None})
    except ConfigError as error:
        raise ConfigError(f"these settings cannot be handed to worker processes: {error}") from None
    for section in Settings.model_fields:
        part, other = getattr(settings, section), getattr(again, section)
        for name in type(part).model_fields:
            if getattr(part, name) != getattr(other, name):
                raise ConfigError(f"{section}.{name}: this value cannot be handed to worker processes; is it empty?")
    return environ


def _written(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        # As text: a float would not be the same decimal. Unescaped, as YAML does not join JSON's halves of a character.
        return json.dumps({key: str(item) for key, item in value.items()}, ensure_ascii=False)
    if isinstance(value, tuple) and all(isinstance(item, BaseModel) for item in value):
        return json.dumps([item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in value])
    return str(value)
