from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from embedwatch import codec
from embedwatch.events import GpuSample, HeartbeatEvent
from workers.gpu import NOT_OF_A_SLICE, NvmlProbe, named_slice, probe_for

A, B = "GPU-aa-1", "GPU-bb-2"
M1, M2 = "MIG-11-5", "MIG-22-6"
QUESTIONS = ("MemoryInfo", "UtilizationRates", "PowerUsage", "TotalEnergyConsumption", "Temperature")
READINGS = ("utilization_pct", "memory_used_bytes", "memory_total_bytes", "power_watts", "energy_joules",
            "temperature_celsius")  # fmt: skip


class FakeNvml:
    """The calls of pynvml that the probe makes, with pynvml's own errors; a device is its own handle.

    `slices` has the MIG devices of each GPU that is split; None in place of one that is not there. `broken` maps a
    call, or a call and the device asked about, to an error code. The library answers only between its first start and
    the shutdown that ends it, and what it knows of the driver is what was there at its start.
    """

    NVMLError = pynvml.NVMLError

    def __init__(self, *gpus: str, slices: dict[str, list[str | None]] | None = None) -> None:
        self.gpus = list(gpus or (A,))
        self.slices = slices or {}
        self.broken: dict[str | tuple[str, str], int] = {}
        self.driver = 1
        self.starts = 0
        self._users = 0
        self._known: int | None = None

    def nvmlInit(self) -> None:
        self._fail("nvmlInit")
        if not self.driver:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self._users += 1
        if self._users == 1:
            self.starts += 1
            self._known = self.driver

    def nvmlShutdown(self) -> None:
        if not self._users:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self._users -= 1

    def nvmlDeviceGetCount(self) -> int:
        self._fail("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._fail("nvmlDeviceGetHandleByUUID", uuid)
        if uuid not in (*self.gpus, *(name for names in self.slices.values() for name in names)):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:
        self._fail("nvmlDeviceGetUUID", handle)
        return handle.encode()

    def nvmlDeviceGetIndex(self, handle: str) -> int:
        self._fail("nvmlDeviceGetIndex", handle)
        return self.gpus.index(handle)

    def nvmlDeviceIsMigDeviceHandle(self, handle: str) -> int:
        self._fail("nvmlDeviceIsMigDeviceHandle", handle)
        return int(handle.startswith("MIG-"))

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        return next(gpu for gpu, names in self.slices.items() if handle in names)

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:
        self._fail("nvmlDeviceGetMigMode", handle)
        return [int(handle in self.slices), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return len(self.slices[handle])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        name = self.slices[handle][index]
        if name is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return name

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self._fail("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(used=1, total=10) if handle.startswith("MIG-") else SimpleNamespace(used=5, total=80)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML_"):
            return getattr(pynvml, name)
        answers = {
            "nvmlDeviceGetName": b"H100",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87),
            "nvmlDeviceGetPowerUsage": 350_500,
            "nvmlDeviceGetTotalEnergyConsumption": 12_000,
            "nvmlDeviceGetTemperature": 61,
        }
        if name not in answers:
            raise AttributeError(name)

        def answer(handle: str, *_: Any) -> Any:
            self._fail(name, handle)
            # A driver may answer for the whole GPU where it is asked about a slice: then the probe must not ask.
            return answers[name]

        return answer

    def _fail(self, call: str, device: str = "") -> None:
        for key in (call, (call, device)):
            if key in self.broken:
                raise pynvml.NVMLError(self.broken[key])
        if call != "nvmlInit":
            if not self._users:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
            if self._known != self.driver:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


def readings(sample: GpuSample) -> list[Any]:
    return [getattr(sample, name) for name in READINGS]


def test_a_gpu_is_read_in_the_units_of_the_event() -> None:
    (sample,) = NvmlProbe([B], FakeNvml(A, B)).sample()
    assert (sample.index, sample.name, sample.utilization_pct, sample.uuid) == (1, "H100", 87.0, B)
    assert (sample.memory_used_bytes, sample.memory_total_bytes) == (5, 80)
    assert (sample.power_watts, sample.energy_joules, sample.temperature_celsius) == (350.5, 12.0, 61.0)
    assert (sample.unavailable, sample.missing) == (None, {})


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        ("nvmlDeviceGetPowerUsage", ["power_watts"]),
        ("nvmlDeviceGetTotalEnergyConsumption", ["energy_joules"]),
        ("nvmlDeviceGetUtilizationRates", ["utilization_pct"]),
        ("nvmlDeviceGetTemperature", ["temperature_celsius"]),
        ("nvmlDeviceGetMemoryInfo", ["memory_used_bytes", "memory_total_bytes"]),
        ("nvmlDeviceGetName", ["name"]),
        ("nvmlDeviceGetIndex", ["index"]),
    ],
)
def test_what_a_device_does_not_support_is_unknown_with_its_reason_and_not_zero(call: str, fields: list[str]) -> None:
    nvml = FakeNvml()
    nvml.broken = {call: pynvml.NVML_ERROR_NOT_SUPPORTED}
    (sample,) = NvmlProbe([A], nvml).sample()
    assert [getattr(sample, field) for field in fields] == [None] * len(fields)
    assert sample.missing == dict.fromkeys(fields, "the NVIDIA driver says: Not Supported")
    others = {*READINGS, "index", "name"} - set(fields)
    assert None not in [getattr(sample, field) for field in others]
    assert sample.unavailable is None


def test_a_gpu_that_supports_no_question_at_all_says_so_and_is_not_opened_again() -> None:
    nvml = FakeNvml()
    nvml.broken = {f"nvmlDeviceGet{what}": pynvml.NVML_ERROR_NOT_SUPPORTED for what in QUESTIONS}
    probe = NvmlProbe([A], nvml)
    for _ in range(2):
        assert probe.sample() == [
            GpuSample(uuid=A, unavailable="no reading of this GPU; the NVIDIA driver says: Not Supported")
        ]
    assert nvml.starts == 1


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUUID", "nvmlDeviceGetMigMode"])
def test_without_a_driver_there_is_one_sample_with_the_reason_and_a_later_driver_is_found(call: str) -> None:
    nvml = FakeNvml()
    probe = NvmlProbe([A], nvml)
    nvml.broken = {call: pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
    for _ in range(2):
        (sample,) = probe.sample()
        assert "the NVIDIA driver does not" in (sample.unavailable or "")
        assert (readings(sample), sample.uuid) == ([None] * 6, A)
    nvml.broken = {}
    assert probe.sample()[0].utilization_pct == 87.0


def test_a_driver_that_goes_away_is_said_and_read_again_when_it_is_back() -> None:
    nvml = FakeNvml()
    probe = NvmlProbe([A], nvml)
    assert probe.sample()[0].unavailable is None
    nvml.driver = 0
    first, second = probe.sample()[0], probe.sample()[0]
    assert "GPU is lost" in (first.unavailable or "")
    assert "the NVIDIA driver does not answer" in (second.unavailable or "")
    assert readings(first) == readings(second) == [None] * 6
    nvml.driver = 2
    assert [probe.sample()[0].utilization_pct for _ in range(3)] == [87.0] * 3
    assert nvml.starts == 2


def test_a_driver_that_was_changed_between_two_samples_is_read_by_the_one_after() -> None:
    nvml = FakeNvml()
    probe = NvmlProbe([A], nvml)
    probe.sample()
    nvml.driver = 2
    assert [sample.utilization_pct for _ in range(2) for sample in probe.sample()] == [None, 87.0]


def test_of_several_gpus_each_is_read_and_one_that_is_lost_hides_no_other() -> None:
    nvml = FakeNvml(A, B)
    probe = NvmlProbe([B, A], nvml)
    assert [(s.uuid, s.index, s.unavailable) for s in probe.sample()] == [(B, 1, None), (A, 0, None)]
    nvml.broken = {(f"nvmlDeviceGet{what}", A): pynvml.NVML_ERROR_GPU_IS_LOST for what in QUESTIONS}
    for _ in range(2):
        well, lost = probe.sample()
        assert (well.uuid, well.utilization_pct) == (B, 87.0)
        assert (lost.uuid, readings(lost)) == (A, [None] * 6)
        assert "GPU is lost" in (lost.unavailable or "")
    nvml.broken = {("nvmlDeviceGetHandleByUUID", A): pynvml.NVML_ERROR_GPU_IS_LOST}
    assert [s.unavailable is None for s in probe.sample()] == [True, False]
    nvml.broken = {}
    assert [s.utilization_pct for s in probe.sample()] == [87.0, 87.0]


def test_a_gpu_the_driver_does_not_know_is_named_in_the_reason() -> None:
    (sample,) = NvmlProbe(["GPU-zz"], FakeNvml()).sample()
    assert sample == GpuSample(uuid="GPU-zz", unavailable="the NVIDIA driver knows no device GPU-zz")


def test_gpus_and_drivers_older_than_mig_are_whole() -> None:
    for code in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND):
        nvml = FakeNvml()
        nvml.broken = {"nvmlDeviceIsMigDeviceHandle": code, "nvmlDeviceGetMigMode": code}
        assert NvmlProbe([A], nvml).sample()[0].energy_joules == 12.0


@pytest.mark.parametrize(
    ("asked", "slices"),
    [
        (M2, {A: [M1, M2]}),
        ("GPU-22-6", {A: [M1, M2]}),  # torch writes no prefix, and the backend takes it for a GPU
        (A, {A: [None, M2, None]}),  # CUDA named the whole GPU, and this container has one slice of it
        ("MIG-2", {A: [M1, M2]}),  # the beginning of a UUID, as CUDA_VISIBLE_DEVICES may have it
    ],
)
def test_a_slice_has_its_own_memory_and_nothing_that_was_measured_for_the_whole_gpu(
    asked: str, slices: dict[str, list[str | None]]
) -> None:
    (sample,) = NvmlProbe([asked], FakeNvml(B, A, slices=slices)).sample()
    assert (sample.uuid, sample.index, sample.memory_used_bytes, sample.memory_total_bytes) == (M2, 1, 1, 10)
    whole = ("utilization_pct", "power_watts", "energy_joules", "temperature_celsius")
    assert [getattr(sample, name) for name in whole] == [None] * 4
    assert sample.missing == dict.fromkeys(whole, NOT_OF_A_SLICE)
    assert sample.unavailable is None


def test_which_of_several_slices_is_used_is_not_guessed() -> None:
    nvml = FakeNvml(slices={A: [M1, M2]})
    probe = NvmlProbe([A], nvml)
    for _ in range(2):
        (sample,) = probe.sample()
        assert readings(sample) == [None] * 6
        assert "split into 2 MIG slices" in (sample.unavailable or "")
        assert "CUDA_VISIBLE_DEVICES" in (sample.unavailable or "")
    assert nvml.starts == 1


@pytest.mark.parametrize("name", ["MIG-", "MIG-zz"])
def test_a_beginning_of_two_slices_or_of_none_is_no_slice(name: str) -> None:
    (sample,) = NvmlProbe([name], FakeNvml(slices={A: [M1, M2]})).sample()
    assert sample == GpuSample(uuid=name, unavailable=f"the NVIDIA driver knows no device {name}")


@pytest.mark.parametrize(
    ("device", "mask", "named"),
    [
        ("cuda:0", M1, M1),
        ("cuda", f" {M1} ,{M2}", M1),
        ("cuda:1", f"{A},{M2}", M2),
        ("cuda:0", f"{A},{M2}", None),
        ("cuda:1", M1, None),
        ("cuda:0", "0", None),
        ("cuda:0", "", None),
        ("cuda:0", None, None),
    ],
)
def test_a_slice_named_by_cuda_visible_devices_is_the_one_that_is_read(
    device: str, mask: str | None, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}
    assert named_slice(device, environ) == named
    nvml = FakeNvml(slices={A: [M1, M2]} if named else {})
    for name in ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceIsMigDeviceHandle", "nvmlDeviceGetUUID",
                 "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMigMode"):  # fmt: skip
        monkeypatch.setattr(pynvml, name, getattr(nvml, name))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", lambda handle: A)
    for question in ("UtilizationRates", "PowerUsage", "TotalEnergyConsumption", "Temperature", "Name", "Index"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{question}", getattr(nvml, f"nvmlDeviceGet{question}"))
    (sample,) = probe_for(device, [A], environ).sample()
    assert sample.uuid == (named or A)


def test_the_environment_is_looked_at_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-none-such")
    (sample,) = probe_for("cuda:0", [A]).sample()
    assert sample.uuid == "MIG-none-such"


def test_the_real_library_without_a_driver_is_a_reason_too() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        (sample,) = probe_for("cuda:0", [A], {}).sample()
        assert "the NVIDIA driver does not answer" in (sample.unavailable or "")
    else:
        pytest.skip("this machine has a driver")


def test_a_model_on_the_cpu_measures_no_gpu() -> None:
    (sample,) = probe_for("cpu", ()).sample()
    assert "the model runs on cpu" in (sample.unavailable or "")


def test_a_backend_that_names_no_gpu_is_a_reason() -> None:
    (sample,) = probe_for("cuda:0", (), {}).sample()
    assert sample.unavailable == "the backend does not say which GPU it uses"


def test_every_reason_fits_the_event() -> None:
    nvml = FakeNvml(slices={A: [M1]})
    sent = []
    for uuid in (M1, "GPU-" + "z" * 400, "MIG-" + "z" * 400):
        gpus = NvmlProbe([uuid], nvml).sample()
        sent.append(HeartbeatEvent(event_id="e", time_seconds=0, worker="w", model="m", state="running", gpus=gpus))
    assert [codec.decode_metric(codec.encode(event)) for event in sent] == sent
