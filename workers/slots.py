"""How many worker processes one command runs, and what each gets: its name, its GPU, its share of the CPU threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedwatch.errors import ConfigError
from embedwatch.settings import WorkerSettings

#: What `WorkerSettings.name` may have.
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Slot:
    """The place of one worker process. All of it stays the same when the process is started again.

    `name` is different in each slot: with exactly-once delivery it is the transactional id, by which the broker tells
    a worker that came back from one that is to be fenced off. `gpu` is the UUID of a GPU or MIG device that alone the
    process may see; None leaves it what this process sees.
    """

    name: str
    device: str
    threads: int
    gpu: str | None = None


def plan(worker: WorkerSettings, *, name: str, cpus: int, gpus: Callable[[], Sequence[str]]) -> list[Slot]:
    """The slots that the settings ask for; none when this process itself is to be the only worker.

    `name` begins the names of all, `cpus` is what this process may use, and `gpus`, asked only if the settings need
    it, gives the UUIDs of the visible GPUs. Raises `ConfigError` for settings that do not go together, and where
    there is no GPU.
    """
    if worker.processes_per_gpu is None and worker.processes == 1:
        return []
    return fixed(worker, name=name, cpus=cpus, gpus=gpus)


def fixed(
    worker: WorkerSettings, *, name: str, cpus: int, gpus: Callable[[], Sequence[str]], count: int | None = None
) -> list[Slot]:
    """As `plan`, and one process is a slot, too. With `count` so many: the first of those on GPUs, if it is by GPU."""
    per_gpu = worker.processes_per_gpu
    if per_gpu is None:
        places: list[str | None] = [None] * (count or worker.processes)
        device = worker.device
    else:
        _refuse_what_contradicts_gpus(worker)
        places = [gpu for gpu in gpus() for _ in range(per_gpu)]
        if places and count is not None and count > len(places):
            raise ConfigError(f"--slots {count}: with --processes-per-gpu {per_gpu} there are {len(places)} here")
        places = places[:count]
        if not places:
            raise ConfigError(
                "--processes-per-gpu: no GPU is visible here; look at nvidia-smi and CUDA_VISIBLE_DEVICES, "
                "or use --processes N"
            )
        # Not "auto": on a GPU that cannot be used it would quietly become a worker on the CPU.
        device = "cuda"
    longest = f"{name}-{len(places)}"
    if len(longest) > MAX_NAME_CHARACTERS:
        raise ConfigError(
            f"--name: with the number of the process it has {len(longest)} characters; "
            f"at most {MAX_NAME_CHARACTERS} are allowed"
        )
    threads = worker.threads or max(1, cpus // len(places))
    return [Slot(f"{name}-{number}", device, threads, gpu) for number, gpu in enumerate(places, start=1)]


def spread(planned: Sequence[Slot]) -> list[Slot]:
    """In the order in which they are to be used when not all are: every GPU once before one is shared."""
    turn: Counter[str | None] = Counter()
    turns = []
    for slot in planned:
        turns.append(turn[slot.gpu])
        turn[slot.gpu] += slot.gpu is not None
    return [slot for _, slot in sorted(zip(turns, planned, strict=True), key=lambda pair: pair[0])]


def _refuse_what_contradicts_gpus(worker: WorkerSettings) -> None:
    option = f"--processes-per-gpu {worker.processes_per_gpu}"
    if worker.processes != 1:
        raise ConfigError(f"{option} and --processes {worker.processes} both say how many; give one of them")
    if worker.backend != "sentence-transformers":
        raise ConfigError(f"{option}: the {worker.backend} backend uses no GPU here; use --processes N")
    if worker.device not in ("auto", "cuda"):
        raise ConfigError(f"{option}: it takes every visible GPU, so --device {worker.device} cannot be kept; drop one")
