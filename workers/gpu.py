"""What the GPU is doing, through NVIDIA's management library. What cannot be known is None with a reason, never 0.

A GPU may be split into slices (MIG). A slice has memory of its own; the rest is measured for the whole GPU only, which
others use too, and is not booked to a slice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from embedwatch.errors import ConfigError
from embedwatch.events import GpuSample
from workers.nvml import slices_of, text_of
from workers.visible_gpus import MASK, visible

GPU, MIG = "GPU-", "MIG-"
NOT_OF_A_SLICE = "NVIDIA measures this for a whole GPU, not for a MIG slice of it"
LONGEST_REASON = 256


class GpuProbe(Protocol):
    def sample(self) -> list[GpuSample]:
        """One sample for each GPU, or one whose `unavailable` says why there is none. Never raises."""


class NoGpu:
    """For a worker that uses none."""

    def __init__(self, reason: str) -> None:
        self._samples = [GpuSample(unavailable=reason)]

    def sample(self) -> list[GpuSample]:
        return self._samples


@dataclass(frozen=True)
class _Device:
    """One that is open. `gpu` is the whole GPU that it is, or is a slice of."""

    uuid: str
    handle: Any
    gpu: Any
    is_slice: bool


class _Unknown(Exception):
    """The device that is meant cannot be told, and why."""


class NvmlProbe:
    """The GPUs and MIG devices with these UUIDs. `nvml` is the module pynvml (package nvidia-ml-py), or a stand-in for
    it in tests.

    CUDA names a MIG device by a UUID of its own or by that of its GPU, depending on the version, and torch writes no
    prefix: `GPU-x` is therefore also looked for as `MIG-x`, and a GPU that is split stands for its slice if it has but
    one.
    """

    def __init__(self, uuids: Sequence[str], nvml: Any) -> None:
        self._uuids = uuids
        self._nvml = nvml
        self._started = False
        self._lost = False
        self._devices: dict[str, _Device] = {}

    def sample(self) -> list[GpuSample]:
        try:
            if not self._started:
                self._nvml.nvmlInit()
                self._started = True
        except self._nvml.NVMLError as error:
            return [_without(uuid, f"the NVIDIA driver does not answer: {error}") for uuid in self._uuids]
        samples = [self._sample(uuid) for uuid in self._uuids]
        if self._lost:
            self._start_anew()
        return samples

    def _sample(self, uuid: str) -> GpuSample:
        """Whatever is wrong with one GPU, the others are read."""
        try:
            device = self._devices.get(uuid)
            if device is None:
                device = self._devices[uuid] = self._open(uuid)
            return self._read(device)
        except _Unknown as error:
            return _without(uuid, str(error))
        except self._nvml.NVMLError as error:
            self._lost = True
            return _without(uuid, f"the NVIDIA driver does not find this GPU: {error}")

    def _start_anew(self) -> None:
        """A driver that was away, or a GPU that was lost, is known again only to a library that was started since.

        The library counts who has started it: it ends when as many have shut it down.
        """
        self._devices.clear()
        self._started = self._lost = False
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return  # it has ended by itself

    def _open(self, uuid: str) -> _Device:
        nvml = self._nvml
        found = self._find(uuid)
        if found is None and uuid.startswith(GPU):
            found = self._find(MIG + uuid.removeprefix(GPU))
        if found is None and uuid.startswith(MIG):
            found = self._find_by_beginning(uuid)
        if found is None:
            self._lost = True
            raise _Unknown(f"the NVIDIA driver knows no device {uuid}")
        if self._is_slice(found):
            return self._slice(found)
        slices = slices_of(nvml, found)
        if slices is None:
            return _Device(text_of(nvml.nvmlDeviceGetUUID(found)), found, found, is_slice=False)
        if len(slices) != 1:
            raise _Unknown(
                f"this GPU is split into {len(slices)} MIG slices, and which one is used cannot be told: "
                f"name it in {MASK} (see nvidia-smi -L)"
            )
        return self._slice(slices[0])

    def _find(self, uuid: str) -> Any | None:
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
                return None
            raise

    def _find_by_beginning(self, name: str) -> Any | None:
        """CUDA takes the beginning of a UUID where no other begins so."""
        try:
            (uuid,) = visible(self._nvml, {MASK: name})
        except ConfigError:
            return None
        return self._find(uuid)

    def _is_slice(self, handle: Any) -> bool:
        nvml = self._nvml
        try:
            return bool(nvml.nvmlDeviceIsMigDeviceHandle(handle))
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                return False  # a GPU, or a driver, that is older than MIG
            raise

    def _slice(self, handle: Any) -> _Device:
        nvml = self._nvml
        gpu = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        return _Device(text_of(nvml.nvmlDeviceGetUUID(handle)), handle, gpu, is_slice=True)

    def _read(self, device: _Device) -> GpuSample:
        nvml, handle = self._nvml, device.handle
        missing: dict[str, str] = {}
        refused: list[int] = []

        def ask(question: Callable[[], Any], *fields: str, whole: bool = False) -> Any:
            """None, with the reason in `missing`, where this one question has no answer."""
            try:
                if not (whole and device.is_slice):
                    return question()
                reason = NOT_OF_A_SLICE
            except nvml.NVMLError as error:
                reason = f"the NVIDIA driver says: {error}"
                refused.append(error.value)
            missing.update(dict.fromkeys(fields, reason[:LONGEST_REASON]))
            return None

        memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle), "memory_used_bytes", "memory_total_bytes")
        use = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle), "utilization_pct", whole=True)
        milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle), "power_watts", whole=True)
        millijoules = ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle), "energy_joules", whole=True)
        celsius = ask(
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU), "temperature_celsius", whole=True
        )
        if all(value is None for value in (use, memory, milliwatts, millijoules, celsius)):
            self._lost |= any(value != nvml.NVML_ERROR_NOT_SUPPORTED for value in refused)
            return _without(device.uuid, f"no reading of this GPU; {missing['memory_used_bytes']}")
        index = ask(lambda: nvml.nvmlDeviceGetIndex(device.gpu), "index")
        name = ask(lambda: nvml.nvmlDeviceGetName(handle), "name")
        return GpuSample(
            index=None if index is None else int(index),
            name=None if name is None else text_of(name),
            utilization_pct=None if use is None else float(use.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            energy_joules=None if millijoules is None else millijoules / 1000,
            temperature_celsius=None if celsius is None else float(celsius),
            uuid=device.uuid,
            missing=missing,
        )


def probe_for(device: str, uuids: Sequence[str], environ: Mapping[str, str] | None = None) -> GpuProbe:
    """The probe for the device a model runs on; `uuids` are those of its GPUs as the backend knows them."""
    if not device.startswith("cuda"):
        return NoGpu(f"the model runs on {device}, which NVIDIA's driver does not measure")
    try:
        import pynvml
    except ModuleNotFoundError:
        return NoGpu("the package nvidia-ml-py is not installed")
    named = named_slice(device, os.environ if environ is None else environ)
    if named is None and not uuids:
        return NoGpu("the backend does not say which GPU it uses")
    return NvmlProbe(uuids if named is None else [named], pynvml)


def named_slice(device: str, environ: Mapping[str, str]) -> str | None:
    """The MIG device by which `CUDA_VISIBLE_DEVICES` names `device` (cuda:0 is its first entry), else None.

    It is surer than what CUDA says of its device, which may be the UUID of the whole GPU.
    """
    number = device.partition(":")[2] or "0"
    entries = [entry.strip() for entry in environ.get(MASK, "").split(",")]
    if not number.isdecimal() or int(number) >= len(entries):
        return None
    entry = entries[int(number)]
    return entry if entry.startswith(MIG) else None


def _without(uuid: str, reason: str) -> GpuSample:
    return GpuSample(uuid=uuid[:256], unavailable=reason[:LONGEST_REASON])
