"""What is asked of NVIDIA's management library in more than one place. `nvml` is the module pynvml, or a stand-in."""

from __future__ import annotations

from typing import Any


def slices_of(nvml: Any, gpu: Any) -> list[Any] | None:
    """Handles of the MIG devices of a GPU; None when it is not split. Raises the library's own error otherwise."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(gpu)
    except nvml.NVMLError as error:
        # A GPU, or a driver, that is older than MIG.
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return None
        raise
    if current != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        except nvml.NVMLError as error:
            # There may be gaps, and slices that were given to another container.
            if error.value not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION):
                raise
    return found


def text_of(value: str | bytes) -> str:
    """Older releases of the library give bytes."""
    return value.decode() if isinstance(value, bytes) else value
