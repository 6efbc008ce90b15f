"""Sizes of models, speeds of machines, and the time that counted work takes on them.

What a machine can do is what its maker publishes; `best_rate` measures what this one does.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import truediv
from pathlib import Path
from typing import Any

from crosslatent.core import costs
from crosslatent.core.costs import Shape, Workload
from crosslatent.core.errors import UsageError

SIZES = {
    "0.5B": Shape(24, 896, 4864, 14, 2, 64, 151936, tied=True),
    "1B": Shape(16, 2048, 8192, 32, 8, 64, 128256, tied=True),
    "3B": Shape(28, 3072, 8192, 24, 8, 128, 128256, tied=True),
    "7B": Shape(32, 4096, 11008, 32, 32, 128, 32000),
    "8B": Shape(32, 4096, 14336, 32, 8, 128, 128256),
    "13B": Shape(40, 5120, 13824, 40, 40, 128, 32000),
    "32B": Shape(64, 5120, 27648, 40, 8, 128, 152064),
    "70B": Shape(80, 8192, 28672, 64, 8, 128, 128256),
}
"""Standard architectures: those of Qwen2.5 (0.5B, 32B), Llama 2 (7B, 13B), Llama 3 (the others)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One accelerator, or the processors of one socket.

    Attributes:
        name: for people.
        peak: floating-point operations per second of dense matrix products, as published.
        bandwidth: bytes per second between memory and cores, as published.
        memory: bytes; None where a system has as much as one puts in.
        number: bytes of a number of the type that the peak is of: 2 bfloat16, 4 float32.
    """

    name: str
    peak: float
    bandwidth: float
    memory: float | None
    number: int = 2


MACHINES = {
    "h200": Machine("NVIDIA H200 SXM", 989e12, 4.8e12, 141e9),
    "h100": Machine("NVIDIA H100 SXM", 989e12, 3.35e12, 80e9),
    "a100": Machine("NVIDIA A100 SXM 80 GB", 312e12, 2.039e12, 80e9),
    "l40s": Machine("NVIDIA L40S", 362e12, 864e9, 48e9),
    "rtx4090": Machine("NVIDIA GeForce RTX 4090", 165.2e12, 1008e9, 24e9),
    # 96 cores at 2.4 GHz, 32 operations a cycle; twelve channels of DDR5-4800.
    "cpu": Machine("AMD EPYC 9654, 96 cores, float32", 7.37e12, 460.8e9, None, 4),
}
"""By name. GPUs: bfloat16 without sparsity, float32 accumulation."""

_NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    "vocab": ("vocab_size",),
}
"""How configs call the sizes that each of them has."""
_KEY_VALUE = ("num_key_value_heads", "num_kv_heads")
_INNER = ("intermediate_size", "n_inner", "ffn_dim")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_UNGATED = (
    "apertus", "arcee", "biogpt", "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gpt_neox_japanese", "gptj", "jais2", "mpt", "nanochat", "nemotron", "opt",
    "persimmon", "phi", "starcoder2", "xglm",
)  # fmt: skip
"""Model types whose feed-forward has two matrices."""


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The sizes that a model's config states.

    Args:
        config: as in config.json.

    Raises:
        UsageError: it lacks a size; or the model has an encoder or experts, of which not every
            token sees every weight.
    """
    config = config.get("text_config") or config
    sizes = _sizes(config)
    hidden, heads = sizes["hidden"], sizes["heads"]
    return Shape(
        **sizes,
        intermediate=_first(config, _INNER) or 4 * hidden,
        kv_heads=_first(config, _KEY_VALUE) or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        gated=config.get("model_type") not in _UNGATED,
        tied=bool(config.get("tie_word_embeddings")),
    )


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    experts = _first(config, _EXPERTS)
    if config.get("is_encoder_decoder") or (isinstance(experts, int) and experts > 1):
        kind = "an encoder" if config.get("is_encoder_decoder") else "experts"
        raise UsageError(
            f"The model has {kind}, and multiply-adds are counted for decoders without experts "
            "alone: use another model, or a size such as 7B."
        )
    sizes = {name: _first(config, names) for name, names in _NAMES.items()}
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise UsageError(
                f"The model's config has no usable {_NAMES[name][0]!r} ({size!r}): give a folder "
                "whose config.json states the sizes of a decoder, or a size such as 7B."
            )
    return sizes


def _first(config: Mapping[str, Any], names: Sequence[str]) -> Any:
    """What a config states under the first of some names that it has; None if it has none."""
    return next((config[name] for name in names if config.get(name) is not None), None)


@dataclass(frozen=True, slots=True)
class Shares:
    """What is reached of what a maker publishes, 0 to 1; assumptions.

    Attributes:
        compute: of the peak, while prompts are read.
        bandwidth: of the memory bandwidth.
    """

    compute: float = 0.4
    bandwidth: float = 0.7


REACHED = Shares()


@dataclass(frozen=True, slots=True)
class Planned:
    """The time of a batch of equal questions on a machine.

    Attributes:
        first: seconds until every question has its first new token.
        token: seconds of each further one.
        memory: bytes of weights, keys and values.
        devices: how many such machines hold that.
        limits: whether reading prompts, and decoding, wait for "compute" or "memory".
    """

    first: float
    token: float
    memory: float
    devices: int
    limits: tuple[str, str]


_USABLE = 0.9
"""Share of a device's memory that weights, keys and values may fill."""


def planned(
    shape: Shape, work: Workload, new_tokens: int, batch: int, machine: Machine, shares: Shares
) -> Planned:
    """Time as the longer of computing and moving bytes, for reading prompts and for decoding.

    Weights move once for each forward of the batch, keys and values once for each step that sees
    them; forks share those of their prompt. On several devices, the work is divided evenly, and
    what they tell each other takes no time.
    """
    counted = costs.count(shape, work, new_tokens)
    per_token = batch * costs.cache_bytes(1, shape.layers, shape.key_value_width, machine.number)
    prompts, steps = sum(work.answered), new_tokens - 1
    memory = shape.parameters * machine.number + per_token * (prompts + work.rows * steps)
    devices = 1 if machine.memory is None else math.ceil(memory / (_USABLE * machine.memory))
    weights, forwards = shape.moved * machine.number, bool(work.read) + bool(work.answered)
    seen = per_token * (prompts + work.rows * (steps + 1) / 2)
    speed = devices * machine.peak * shares.compute, devices * machine.bandwidth * shares.bandwidth
    read = forwards * weights + per_token * (prompts + sum(work.read))
    first = (batch * counted.prefill.flop, read)
    token = (batch * counted.decode.flop / steps, weights + seen) if steps else (0.0, 0.0)
    both = [tuple(map(truediv, each, speed)) for each in (first, token)]
    waits: Any = tuple("compute" if one >= other else "memory" for one, other in both)
    return Planned(max(both[0]), max(both[1]), memory, devices, waits)


SQUARES = (1024, 2048)
"""Sides of the large square products; an accelerator needs larger ones."""

Product = tuple[int, int, int]
"""m, k, n of a product of (m, k) and (k, n)."""


def products(
    shape: Shape, rows: int, prompt: int, squares: Sequence[int] = SQUARES
) -> list[Product]:
    """Large squares, and the products that the model makes with all rows or a prompt as a batch."""
    inner = [
        (batch, shape.hidden, width)
        for batch in sorted({rows, prompt})
        for width in (shape.intermediate, shape.vocab)
    ]
    back = [(batch, shape.intermediate, shape.hidden) for batch in sorted({rows, prompt})]
    return [(side, side, side) for side in squares] + inner + back


def best_rate(
    sizes: list[Product], dtype: Any, device: str = "cpu", seconds: float = 0.05
) -> float:
    """The highest rate over some products, in floating-point operations per second."""
    return max(rate(size, dtype, device, seconds) for size in sizes)


def rate(size: Product, dtype: Any, device: str, seconds: float) -> float:
    """Floating-point operations per second of one product: the best of several tries.

    Args:
        size: of the product.
        dtype: of the matrices.
        device: torch device.
        seconds: how long to keep trying, at least three times.
    """
    import torch

    m, k, n = size
    left = torch.randn(m, k, dtype=dtype, device=device)
    right = torch.randn(n, k, dtype=dtype, device=device).T  # as a linear layer holds its weights
    wait, best, tries, until = _waiter(device), 0.0, 0, time.perf_counter() + seconds
    while tries < 4 or time.perf_counter() < until:
        started = time.perf_counter()
        left @ right
        wait()
        best = max(best, 2 * m * k * n / (time.perf_counter() - started))
        tries += 1
    return best


def _waiter(device: str) -> Callable[[], None]:
    """What waits until a device has done all it was given."""
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, threads used, interpreter and torch."""
    import torch

    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20),
        "threads": threads,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _field(path: str, name: str) -> str | None:
    """The first value of a name in a file of /proc."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(name))
    return next(found, None)
