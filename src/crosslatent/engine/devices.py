"""Devices: free memory, out-of-memory errors, and other errors of a device."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch

from crosslatent.core.errors import DeviceError

_SHORT = (
    "out of memory",
    "out of device memory",
    "out of host memory",
    "out of resources",
    "resource exhausted",
    "can't allocate memory",
    "not enough memory",
    "alloc failed",
    "allocation failed",
    "bad alloc",
)
"""What the allocators of CPU, CUDA, cuBLAS, MPS, XPU and NPU say when memory is short."""

_DEVICES = re.compile(
    r"\b(devices?|[gntx]pu|hpu|mps|cuda|cu(blas|dnn|solver|sparse)\w*|hip\w*|rocm|nccl|triton)\b"
    r"|\bmeta tensor|\bcpu tensor|\bon cpu\b",
    re.IGNORECASE,
)
"""Words by which torch and its kernels name devices in their errors."""


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device.

    Raises:
        DeviceError: the device does not say.
    """
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    of_kind: Any = torch.get_device_module(device)
    ask = getattr(of_kind, "mem_get_info", None)
    ask = getattr(torch.accelerator, "get_memory_info", None) if ask is None else ask
    if ask is None:
        raise DeviceError(
            f"{device} does not say how much memory is free: say how many rows a batch may have "
            "(batch_rows, --batch-rows)."
        )
    free, _ = ask(device)
    unused = of_kind.memory_reserved(device) - of_kind.memory_allocated(device)
    return int(free + unused)


def release(devices: Iterable[torch.device]) -> None:
    """Give back what was freed on these devices, but is held for what comes next."""
    for kind in {device.type for device in devices} - {"cpu", "meta"}:
        torch.get_device_module(kind).empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an out-of-memory error of any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower().replace("_", " ")
    return isinstance(error, RuntimeError) and any(said in text for said in _SHORT)


def is_device_error(error: BaseException) -> bool:
    """Whether an exception is about devices: tensors on several that meet, or one that fails.

    A device that lacks an operation is none of these: what needs the operation cannot be done
    there, and another way may.
    """
    if isinstance(error, NotImplementedError):
        return False
    known = getattr(torch, "AcceleratorError", None)
    if known is not None and isinstance(error, known):
        return True
    return bool(_DEVICES.search(str(error)))
