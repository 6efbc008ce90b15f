"""Devices: their errors, their free memory, and how many rows a batch may have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch

from crosslatent.core.errors import DeviceError
from crosslatent.engine.requests import Request
from crosslatent.model import Model
from crosslatent.model.structure import text_config

_SHORT = re.compile(
    "out of (device |host )?memory|out of resources|resource exhausted|can't allocate memory"
    "|not enough memory|alloc failed|allocation failed|bad alloc"
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
    ask = getattr(of_kind, "mem_get_info", getattr(torch.accelerator, "get_memory_info", None))
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
    return isinstance(error, RuntimeError) and bool(_SHORT.search(text))


def is_device_error(error: BaseException) -> bool:
    """Whether an exception is about devices: tensors on several that meet, or one that fails.

    A device that lacks an operation is none of these: what needs the operation cannot be done
    there, and another way may.
    """
    if isinstance(error, NotImplementedError):
        return False
    known = getattr(torch, "AcceleratorError", ())
    return isinstance(error, known) or bool(_DEVICES.search(str(error)))


T = TypeVar("T")

_SHARE = 0.5
"""Part of the free memory that a batch may take: the estimate below is rough."""
MOST_ROWS = {"cpu": 512}
MOST_ROWS_ELSEWHERE = 4096
"""More rows make a batch hardly faster."""
MOST_TOKENS = {"cpu": 4096}
MOST_TOKENS_ELSEWHERE = 16384
"""Prompt tokens that are read together."""


def most_tokens(model: Model) -> int:
    """How many prompt tokens are read in one batch."""
    return MOST_TOKENS.get(model.device.type, MOST_TOKENS_ELSEWHERE)


def rows_that_fit(
    model: Model, requests: Sequence[Request], max_new_tokens: int, *, copies_prefix: bool = False
) -> int:
    """Rows of these prompts that free memory holds, at least 1; see `bytes_per_row`."""
    most = MOST_ROWS.get(model.device.type, MOST_ROWS_ELSEWHERE)
    free = min(map(free_bytes, model.devices))
    need = bytes_per_row(model, requests, max_new_tokens, copies_prefix=copies_prefix)
    return max(1, min(most, int(free * _SHARE / need)))


def bytes_per_row(
    model: Model, requests: Sequence[Request], max_new_tokens: int, *, copies_prefix: bool = False
) -> int:
    """A generous estimate of what one row of a batch takes.

    Args:
        model: the model.
        requests: the prompts that rows belong to.
        max_new_tokens: most new tokens.
        copies_prefix: whether every row holds keys and values of the whole prompt; twice, while
            options of all rows are scored.
    """
    config = text_config(model.hf)
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or model.d_model // heads
    length = max(len(request.main) for request in requests)
    options = max(sum(map(len, request.options)) for request in requests)
    own = max(request.tail for request in requests) + max(max_new_tokens, options)
    at_once = max(1, *map(_read_at_once, requests))
    copies = 1 + any(request.options and not request.plain_only for request in requests)
    held = own + length * copies if copies_prefix else own
    cache = 2 * model.n_layers * kv_heads * width * held * model.dtype.itemsize
    # Scores and their softmax are float32, as are logits where they are compared.
    scores = 3 * heads * (length + own) * at_once * 4
    logits = 3 * config.vocab_size * at_once * 4
    wide = getattr(config, "intermediate_size", None) or 4 * model.d_model
    hidden = (6 * model.d_model + 3 * wide) * at_once * model.dtype.itemsize
    return int(cache + scores + logits + hidden)


def _read_at_once(request: Request) -> int:
    """Tokens of options that its rows read at once, on average."""
    tokens = sum(map(len, request.options))
    if not request.plain_only:
        return tokens
    return math.ceil(tokens * len(request.plain) / max(1, len(request.rows)))


def attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """Do some work.

    Returns:
        Its result; or, if memory ran out, None and what was said. Nothing of what failed is held on
        to then, as the exception would.
    """
    try:
        return work(), ""
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, next(iter(str(error).splitlines()), "out of memory")
