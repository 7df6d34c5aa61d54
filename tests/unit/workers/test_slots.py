from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ConfigError
from embedwatch.settings import WorkerSettings
from workers.slots import Slot, fixed, plan, spread

GPUS = ("GPU-a", "MIG-b")


def never() -> Sequence[str]:
    raise AssertionError("the driver was asked for GPUs that nobody wants")


def planned(gpus: Any = never, *, cpus: int = 8, name: str = "w", **settings: Any) -> list[Slot]:
    return plan(WorkerSettings(**settings), name=name, cpus=cpus, gpus=gpus)


def test_one_process_needs_no_slot() -> None:
    assert planned() == []
    assert planned(processes=1, device="cuda:1") == []


def test_several_processes_divide_the_threads_and_have_names_of_their_own() -> None:
    assert planned(processes=3) == [Slot("w-1", "auto", 2), Slot("w-2", "auto", 2), Slot("w-3", "auto", 2)]


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
@pytest.mark.parametrize("backend", ["sentence-transformers", "openai", "hashing"])
def test_several_processes_keep_the_device_that_was_asked_for(device: str, backend: str) -> None:
    slots = planned(processes=2, device=device, backend=backend)
    assert [(slot.device, slot.gpu) for slot in slots] == [(device, None)] * 2


def test_threads_that_were_asked_for_are_not_divided() -> None:
    assert {slot.threads for slot in planned(processes=3, threads=7)} == {7}


@given(processes=st.integers(2, 1024), cpus=st.integers(1, 512))
def test_every_process_has_a_thread_and_together_they_have_no_more_than_there_are(processes: int, cpus: int) -> None:
    slots = planned(processes=processes, cpus=cpus)
    assert len({slot.name for slot in slots}) == processes
    assert all(slot.threads >= 1 for slot in slots)
    assert sum(slot.threads for slot in slots) <= max(cpus, processes)


def test_each_gpu_has_its_processes_which_must_use_it() -> None:
    assert planned(lambda: GPUS, processes_per_gpu=2) == [
        Slot("w-1", "cuda", 2, "GPU-a"),
        Slot("w-2", "cuda", 2, "GPU-a"),
        Slot("w-3", "cuda", 2, "MIG-b"),
        Slot("w-4", "cuda", 2, "MIG-b"),
    ]


def test_one_gpu_with_one_process_is_a_slot_too_because_others_must_not_be_seen() -> None:
    assert planned(lambda: GPUS[:1], processes_per_gpu=1) == [Slot("w-1", "cuda", 8, "GPU-a")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"processes": 2}, ["--processes-per-gpu 2", "--processes 2"]),
        ({"device": "cpu"}, ["--processes-per-gpu 2", "--device cpu"]),
        ({"device": "mps"}, ["--device mps"]),
        ({"device": "cuda:0"}, ["--device cuda:0"]),
        ({"backend": "hashing"}, ["hashing", "--processes N"]),
        ({"backend": "openai"}, ["openai", "--processes N"]),
    ],
)
def test_what_contradicts_processes_per_gpu_is_told_before_a_driver_is_asked(
    settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        planned(processes_per_gpu=2, **settings)
    for word in words:
        assert word in str(error.value)


def test_without_a_visible_gpu_there_is_no_process_for_each() -> None:
    with pytest.raises(ConfigError, match="no GPU is visible"):
        planned(lambda: [], processes_per_gpu=1)


def test_a_name_that_is_too_long_with_its_number_is_told_before_anything_starts() -> None:
    assert planned(processes=9, name="n" * 198)[-1].name == "n" * 198 + "-9"
    with pytest.raises(ConfigError, match="201 characters"):
        planned(processes=10, name="n" * 198)


def test_a_fixed_number_of_slots_may_be_one_and_divides_the_threads() -> None:
    settings = WorkerSettings()
    assert fixed(settings, name="w", cpus=8, gpus=never, count=1) == [Slot("w-1", "auto", 8)]
    assert [slot.threads for slot in fixed(settings, name="w", cpus=8, gpus=never, count=3)] == [2, 2, 2]


def test_a_fixed_number_of_slots_on_gpus_is_of_those_there_are() -> None:
    settings = WorkerSettings(processes_per_gpu=2)
    assert [slot.gpu for slot in fixed(settings, name="w", cpus=8, gpus=lambda: GPUS, count=3)] == [
        "GPU-a", "GPU-a", "MIG-b",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--slots 5: with --processes-per-gpu 2 there are 4 here"):
        fixed(settings, name="w", cpus=8, gpus=lambda: GPUS, count=5)


@given(gpus=st.integers(1, 6), each=st.integers(1, 4))
def test_of_slots_in_use_no_gpu_has_two_more_than_another(gpus: int, each: int) -> None:
    slots = spread(planned(lambda: [f"GPU-{n}" for n in range(gpus)], processes_per_gpu=each))
    assert len({slot.name for slot in slots}) == gpus * each
    for used in range(1, len(slots) + 1):
        busy = [sum(slot.gpu == f"GPU-{n}" for slot in slots[:used]) for n in range(gpus)]
        assert max(busy) - min(busy) <= 1


def test_slots_without_gpus_keep_their_order() -> None:
    assert spread(planned(processes=3)) == planned(processes=3)
