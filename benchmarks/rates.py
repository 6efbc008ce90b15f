"""How fast this machine multiplies matrices: the denominator of the arithmetic limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.task import Shape

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
    wait = _waiter(device)
    best, tries, until = 0.0, 0, time.perf_counter() + seconds
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
