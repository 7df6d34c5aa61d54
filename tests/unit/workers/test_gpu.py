from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from workers.gpu import NvmlProbe, probe_for

UUID = "GPU-1"


class FakeNvml:
    """The calls of pynvml that the probe makes, with pynvml's own errors. `broken` maps a call to an error code."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self) -> None:
        self.broken: dict[str, int] = {}
        self.inits = 0

    def _answer(self, call: str, value: Any) -> Any:
        if call in self.broken:
            raise pynvml.NVMLError(self.broken[call])
        return value

    def nvmlInit(self) -> None:
        self.inits += 1
        self._answer("nvmlInit", None)

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetIndex": 3,
            "nvmlDeviceGetName": "H100",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5, total=80),
            "nvmlDeviceGetPowerUsage": 350_500,
            "nvmlDeviceGetTotalEnergyConsumption": 12_000,
            "nvmlDeviceGetTemperature": 61,
        }
        if name not in answers:
            raise AttributeError(name)
        return lambda *_: self._answer(name, answers[name])


def test_a_gpu_is_read_in_the_units_of_the_event() -> None:
    (sample,) = NvmlProbe([UUID], FakeNvml()).sample()
    assert (sample.index, sample.name, sample.utilization_pct) == (3, "H100", 87.0)
    assert (sample.memory_used_bytes, sample.memory_total_bytes) == (5, 80)
    assert (sample.power_watts, sample.energy_joules, sample.temperature_celsius) == (350.5, 12.0, 61.0)
    assert sample.unavailable is None


def test_what_a_device_does_not_support_is_unknown_and_not_zero() -> None:
    nvml = FakeNvml()
    nvml.broken = {"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED}
    (sample,) = NvmlProbe([UUID], nvml).sample()
    assert (sample.power_watts, sample.utilization_pct, sample.unavailable) == (None, 87.0, None)


def test_a_gpu_that_gives_no_reading_at_all_says_so() -> None:
    nvml = FakeNvml()
    nvml.broken = {
        f"nvmlDeviceGet{what}": pynvml.NVML_ERROR_NOT_SUPPORTED
        for what in ("UtilizationRates", "MemoryInfo", "PowerUsage", "TotalEnergyConsumption", "Temperature")
    }
    (sample,) = NvmlProbe([UUID], nvml).sample()
    assert sample.unavailable == "the driver gives no reading for this GPU"


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetIndex"])
def test_without_a_driver_there_is_one_sample_with_the_reason_and_a_later_driver_is_found(call: str) -> None:
    nvml = FakeNvml()
    probe = NvmlProbe([UUID], nvml)
    nvml.broken = {call: pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}
    (sample,) = probe.sample()
    assert "the NVIDIA driver does not answer" in (sample.unavailable or "")
    assert sample.utilization_pct is None
    nvml.broken = {}
    assert probe.sample()[0].utilization_pct == 87.0
    probe.sample()
    assert nvml.inits == 2


def test_the_real_library_without_a_driver_is_a_reason_too() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        (sample,) = probe_for("cuda:0", [UUID]).sample()
        assert "the NVIDIA driver does not answer" in (sample.unavailable or "")
    else:
        pytest.skip("this machine has a driver")


def test_a_model_on_the_cpu_measures_no_gpu() -> None:
    (sample,) = probe_for("cpu", ()).sample()
    assert "the model runs on cpu" in (sample.unavailable or "")
