"""Which GPUs CUDA would show to this process, found through NVIDIA's management library and without loading torch.

`CUDA_VISIBLE_DEVICES` is read as CUDA reads it (CUDA Programming Guide, "CUDA Environment Variables"): indices and
UUIDs or their unique beginnings, -1 ends the list, empty means none. Where CUDA would quietly cut the list at a name
that it does not know, this is an error. Each GPU in MIG mode stands for its MIG devices.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedwatch.errors import ConfigError
from workers.nvml import slices_of, text_of

MASK, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


@dataclass(frozen=True)
class _Gpu:
    """`mig` has the UUIDs of its MIG devices; None when MIG mode is off."""

    uuid: str
    model: str
    mig: tuple[str, ...] | None

    @property
    def devices(self) -> tuple[str, ...]:
        return (self.uuid,) if self.mig is None else self.mig


def find(environ: Mapping[str, str] | None = None) -> list[str]:
    """`visible` by the installed library. Raises `ConfigError` also without the library or its driver."""
    try:
        import pynvml
    except ModuleNotFoundError:
        raise ConfigError(
            "--processes-per-gpu needs the package nvidia-ml-py, which is not installed here: "
            "pip install 'embedwatch[local]'"
        ) from None
    return visible(pynvml, os.environ if environ is None else environ)


def visible(nvml: Any, environ: Mapping[str, str]) -> list[str]:
    """UUIDs of the visible GPUs and MIG devices, in order. `nvml` is the module pynvml, or a stand-in for it in tests.

    Raises `ConfigError` when the driver does not answer, or `CUDA_VISIBLE_DEVICES` does not say which GPUs are meant.
    """
    try:
        nvml.nvmlInit()
        try:
            gpus = [gpu for index in range(nvml.nvmlDeviceGetCount()) if (gpu := _read(nvml, index)) is not None]
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise ConfigError(
            f"--processes-per-gpu: the NVIDIA driver does not answer: {error}; without an NVIDIA GPU use --processes N"
        ) from None
    mask = environ.get(MASK)
    if mask is None:
        return [device for gpu in gpus for device in gpu.devices]
    found: list[str] = []
    for entry in mask.split(","):
        name = entry.strip()
        if name in ("", "-1"):
            break
        for device in _named(name, gpus, environ.get(ORDER)):
            if device in found:
                raise ConfigError(f"{MASK}={mask}: {device} is named twice")
            found.append(device)
    return found


def _read(nvml: Any, index: int) -> _Gpu | None:
    """None for a GPU that this process may not use: NVML counts it, CUDA does not."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NO_PERMISSION:
            return None
        raise
    slices = slices_of(nvml, handle)
    mig = None if slices is None else tuple(text_of(nvml.nvmlDeviceGetUUID(each)) for each in slices)
    return _Gpu(text_of(nvml.nvmlDeviceGetUUID(handle)), text_of(nvml.nvmlDeviceGetName(handle)), mig)


def _named(name: str, gpus: list[_Gpu], order: str | None) -> tuple[str, ...]:
    """The devices that one entry of the mask names."""
    if name.isdecimal():
        # NVML counts in the order of the PCI bus. CUDA does so only with CUDA_DEVICE_ORDER=PCI_BUS_ID; by default it
        # puts the fastest GPU first. Among GPUs of one model there is no faster one, and schedulers that hand out
        # indices rely on that; among different ones an index does not say which GPU is meant. The children are given
        # UUIDs, which are the same in every order.
        if order != "PCI_BUS_ID" and len({gpu.model for gpu in gpus}) > 1:
            raise ConfigError(
                f"{MASK} names GPU {name} by its index, but there are different models here and CUDA's order is not "
                f"that of the driver: set {ORDER}=PCI_BUS_ID, or name GPUs by UUID (nvidia-smi -L)"
            )
        if int(name) >= len(gpus):
            raise ConfigError(f"{MASK} names GPU {name}, but there are only {len(gpus)} here, counted from 0")
        return gpus[int(name)].devices
    if name.startswith("GPU-"):
        matches = [gpu.devices for gpu in gpus if gpu.uuid.startswith(name)]
    elif name.startswith("MIG-"):
        matches = [(device,) for gpu in gpus for device in gpu.mig or () if device.startswith(name)]
    else:
        raise ConfigError(f"{MASK} names {name!r}, which is neither an index nor a UUID (see nvidia-smi -L)")
    if len(matches) != 1:
        what = "no device here" if not matches else f"{len(matches)} devices"
        raise ConfigError(f"{MASK} names {name!r}, which begins the UUID of {what} (see nvidia-smi -L)")
    return matches[0]
