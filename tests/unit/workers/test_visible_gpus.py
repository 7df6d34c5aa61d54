from __future__ import annotations

import sys
from typing import Any

import pynvml
import pytest

from embedwatch.errors import ConfigError
from workers.visible_gpus import find, visible

A, B, C = "GPU-aa11-0", "GPU-aa22-0", "GPU-cc33-0"
M1, M2 = "MIG-11-0", "MIG-22-0"


class FakeNvml:
    """The calls of pynvml that find GPUs, with pynvml's own errors.

    `gpus`: (UUID, model), or an error code in place of a GPU that does not open. `mig`: UUIDs of MIG devices by GPU,
    None in place of one that is not there; a GPU that is not in it has MIG off, one of another model cannot have it.
    """

    NVMLError = pynvml.NVMLError
    NVML_ERROR_NO_PERMISSION = pynvml.NVML_ERROR_NO_PERMISSION
    NVML_ERROR_NOT_FOUND = pynvml.NVML_ERROR_NOT_FOUND
    NVML_ERROR_NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
    NVML_ERROR_FUNCTION_NOT_FOUND = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE

    def __init__(
        self,
        *gpus: tuple[str, str] | int,
        mig: dict[str, list[str | None]] | None = None,
        mig_error: int = pynvml.NVML_ERROR_NOT_FOUND,
    ) -> None:
        self._gpus = gpus
        self._mig = mig or {}
        self._mig_error = mig_error
        self.open = 0
        self.broken: int | None = None

    def nvmlInit(self) -> None:
        if self.broken is not None:
            raise pynvml.NVMLError(self.broken)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[str, str]:
        gpu = self._gpus[index]
        if isinstance(gpu, int):
            raise pynvml.NVMLError(gpu)
        return gpu

    def nvmlDeviceGetUUID(self, handle: tuple[str, str]) -> str:
        return handle[0]

    def nvmlDeviceGetName(self, handle: tuple[str, str]) -> bytes:
        return handle[1].encode()

    def nvmlDeviceGetMigMode(self, handle: tuple[str, str]) -> list[int]:
        if handle[1] != "H100":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(handle[0] in self._mig), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: tuple[str, str]) -> int:
        return len(self._mig[handle[0]])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: tuple[str, str], index: int) -> tuple[str, str]:
        device = self._mig[handle[0]][index]
        if device is None:
            raise pynvml.NVMLError(self._mig_error)
        return device, "MIG"


def three(**more: Any) -> FakeNvml:
    return FakeNvml((A, "H100"), (B, "H100"), (C, "H100"), **more)


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [
        (None, [A, B, C]),
        ("", []),
        ("-1", []),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,2,-1,1", [A, C]),
        ("1,", [B]),
        (B, [B]),
        (f"{C},{A}", [C, A]),
        ("GPU-aa1,GPU-c", [A, C]),
    ],
)
def test_the_mask_is_read_as_cuda_reads_it(mask: str | None, wanted: list[str]) -> None:
    nvml = three()
    assert visible(nvml, {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}) == wanted
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("3", ["GPU 3", "only 3"]),
        ("0,GPU-aa", ["'GPU-aa'", "2 devices"]),
        ("GPU-zz", ["'GPU-zz'", "no device here"]),
        ("MIG-1", ["'MIG-1'", "no device here"]),
        ("0,0", ["named twice", A]),
        ("0,GPU-aa1", ["named twice", A]),
        ("all", ["'all'", "neither an index nor a UUID"]),
        ("0:1", ["'0:1'"]),
    ],
)
def test_a_mask_that_does_not_say_which_gpu_is_an_error_and_no_shorter_list(mask: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        visible(three(), {"CUDA_VISIBLE_DEVICES": mask})
    for word in ["CUDA_VISIBLE_DEVICES", *words]:
        assert word in str(error.value)


def test_an_index_among_different_models_needs_the_order_of_the_bus() -> None:
    nvml = FakeNvml((A, "T4"), (B, "H100"))
    with pytest.raises(ConfigError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible(nvml, {"CUDA_VISIBLE_DEVICES": "0"})
    with pytest.raises(ConfigError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible(nvml, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert visible(nvml, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == [A]
    assert visible(nvml, {"CUDA_VISIBLE_DEVICES": B}) == [B]
    assert visible(nvml, {}) == [A, B]


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [
        (None, [A, M1, M2, C]),
        ("1", [M1, M2]),
        (B, [M1, M2]),
        ("MIG-2", [M2]),
        (f"{M2},0,{M1}", [M2, A, M1]),
    ],
)
@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION])
def test_a_gpu_in_mig_mode_stands_for_its_devices_whatever_gaps_there_are(
    mask: str | None, wanted: list[str], error: int
) -> None:
    nvml = three(mig={B: [None, M1, None, M2]}, mig_error=error)
    assert visible(nvml, {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}) == wanted


def test_a_gpu_in_mig_mode_without_devices_gives_none() -> None:
    assert visible(FakeNvml((A, "H100"), mig={A: [None]}), {}) == []


def test_a_gpu_of_someone_else_is_not_counted() -> None:
    nvml = FakeNvml((A, "T4"), pynvml.NVML_ERROR_NO_PERMISSION, (C, "T4"))
    assert visible(nvml, {}) == [A, C]
    assert visible(nvml, {"CUDA_VISIBLE_DEVICES": "1"}) == [C]


@pytest.mark.parametrize(
    "nvml",
    [
        FakeNvml((A, "T4"), pynvml.NVML_ERROR_GPU_IS_LOST),
        three(mig={B: [None]}, mig_error=pynvml.NVML_ERROR_UNKNOWN),
    ],
)
def test_a_gpu_in_trouble_is_told_and_not_left_out(nvml: FakeNvml) -> None:
    with pytest.raises(ConfigError, match="the NVIDIA driver does not answer"):
        visible(nvml, {})
    assert nvml.open == 0


def test_without_a_driver_it_is_said_what_to_do() -> None:
    nvml = three()
    nvml.broken = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    with pytest.raises(ConfigError, match="--processes N"):
        visible(nvml, {})


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ConfigError, match=r"embedwatch\[local\]"):
        find({})
