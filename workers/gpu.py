"""What the GPU is doing, through NVIDIA's management library. What cannot be known is None with a reason, never 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from embedwatch.events import GpuSample


class GpuProbe(Protocol):
    def sample(self) -> list[GpuSample]:
        """One sample for each GPU, or one whose `unavailable` says why there is none. Never raises."""


class NoGpu:
    """For a worker that uses none."""

    def __init__(self, reason: str) -> None:
        self._samples = [GpuSample(unavailable=reason)]

    def sample(self) -> list[GpuSample]:
        return self._samples


class NvmlProbe:
    """The GPUs with these UUIDs. `nvml` is the module pynvml (package nvidia-ml-py), or a stand-in for it in tests.

    `energy_joules` is the driver's counter since it was loaded: take differences.
    """

    def __init__(self, uuids: Sequence[str], nvml: Any) -> None:
        self._uuids = uuids
        self._nvml = nvml
        self._handles: list[tuple[int, Any]] | None = None

    def sample(self) -> list[GpuSample]:
        try:
            if self._handles is None:
                self._nvml.nvmlInit()
                self._handles = [self._open(uuid) for uuid in self._uuids]
            return [self._read(index, handle) for index, handle in self._handles]
        except self._nvml.NVMLError as error:
            self._handles = None  # a driver that comes back is asked anew
            return [GpuSample(unavailable=f"the NVIDIA driver does not answer: {error}")]

    def _open(self, uuid: str) -> tuple[int, Any]:
        handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        return int(self._nvml.nvmlDeviceGetIndex(handle)), handle

    def _read(self, index: int, handle: Any) -> GpuSample:
        nvml = self._nvml

        def ask(question: Callable[[], Any]) -> Any:
            """None where this device does not support the one question."""
            try:
                return question()
            except nvml.NVMLError:
                return None

        name = ask(lambda: nvml.nvmlDeviceGetName(handle))
        use = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        millijoules = ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        celsius = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        silent = all(value is None for value in (use, memory, milliwatts, millijoules, celsius))
        return GpuSample(
            index=index,
            name=name.decode() if isinstance(name, bytes) else name,
            utilization_pct=None if use is None else float(use.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            energy_joules=None if millijoules is None else millijoules / 1000,
            temperature_celsius=None if celsius is None else float(celsius),
            unavailable="the driver gives no reading for this GPU" if silent else None,
        )


def probe_for(device: str, uuids: Sequence[str]) -> GpuProbe:
    """The probe for the device a model runs on."""
    if not device.startswith("cuda"):
        return NoGpu(f"the model runs on {device}, which NVIDIA's driver does not measure")
    try:
        import pynvml
    except ModuleNotFoundError:
        return NoGpu("the package nvidia-ml-py is not installed")
    return NvmlProbe(uuids, pynvml)
