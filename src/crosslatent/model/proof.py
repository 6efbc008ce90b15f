"""Proof that two modules of a block are what it adds to the residual stream.

Of one probe forward: the block's output must be its input + attention output + feed-forward output,
up to rounding and element by element. What families do beside that is looked for and proven, too:

- a norm after a module: a child of the block, without any matrix of weights, that was given exactly
  what the module returned;
- a norm of the stream itself (post-norm blocks): such a child that was given exactly
  input + attention output;
- a scale: one number for each module, the same for all tokens and dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import torch
from torch import Tensor

from crosslatent.model.trace import BlockTrace, Call

_TOLERANCE = {
    torch.float64: 1e-5,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
}
_TOLERANCE_ELSEWHERE = 4e-2
"""Allowed rounding, as a share of the sum of what is added, element by element."""
_LEAST_SCALE = 1e-3
"""A module that counts less than that is not what the block adds."""


def makes_up(seen: BlockTrace, *paths: str) -> bool:
    """Whether the modules at some paths, in the order of addition, make up what a block adds."""
    if not all(in_stream_shape(seen, path) for path in paths):
        return False
    norms = [call for path in seen.norms.difference(paths) for call in seen.calls[path]]
    ends = [seen.left, *(call.entered for call in norms if same(call.left, seen.left))]
    added = [_forms(seen.calls[path][-1].left, norms) for path in paths]
    return any(
        _reaches(ends, start, parts, norms)
        for start in _forms(seen.entered, norms)
        for parts in product(*added)
    )


def in_stream_shape(seen: BlockTrace, path: str) -> bool:
    """Whether the module at a path was called, and returned what has the stream's shape."""
    calls = seen.calls.get(path, [])
    return len(calls) > 0 and calls[-1].left.shape == seen.left.shape


def difference(seen: BlockTrace, *paths: str) -> float:
    """How far input + what some modules return is from the block's output, relative."""
    added = sum(seen.calls[path][-1].left.double() for path in paths)
    return relative(seen.left, seen.entered.double() + added)


def that_make_up(seen: BlockTrace, count: int) -> Iterator[tuple[str, ...]]:
    """All groups of modules that were seen to make up what a block adds, in the order of calls."""
    paths = [path for path in seen.calls if in_stream_shape(seen, path) and path not in seen.norms]
    return (group for group in combinations(paths, count) if makes_up(seen, *group))


def relative(expected: Tensor, value: Tensor) -> float:
    """Largest difference, relative to the largest expected value (or 1, if that is more)."""
    if expected.shape != value.shape:
        return float("inf")
    scale = expected.double().abs().max().clamp_min(1.0)
    return float((expected.double() - value.double()).abs().max() / scale)


def tolerance(dtype: torch.dtype) -> float:
    """Rounding that is allowed, as a share."""
    return _TOLERANCE.get(dtype, _TOLERANCE_ELSEWHERE)


def _reaches(
    ends: Sequence[Tensor], start: Tensor, parts: Sequence[Tensor], norms: Sequence[Call]
) -> bool:
    """Whether adding parts, with norms of the stream between or not, leads from start to an end."""
    if any(_is_sum(end, start, parts) for end in ends):
        return True
    return any(
        _reaches(ends, middle, parts[count:], norms)
        for count in range(1, len(parts))
        for middle in _normed_sums(start, parts[:count], norms)
    )


def _forms(value: Tensor, norms: Sequence[Call]) -> list[Tensor]:
    """A value, and what norms made of it."""
    return [value, *(call.left for call in norms if same(call.entered, value))]


def _normed_sums(start: Tensor, parts: Sequence[Tensor], norms: Sequence[Call]) -> list[Tensor]:
    """What norms made of the stream after some additions."""
    return [call.left for call in norms if _is_sum(call.entered, start, parts)]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two values are one and the same, up to rounding."""
    return one.shape == other.shape and _within(one, other, one.double().abs())


def _is_sum(total: Tensor, start: Tensor, parts: Sequence[Tensor]) -> bool:
    """Whether total = start + parts, each part as it is or scaled by a number."""
    shapes = {value.shape for value in (total, start, *parts)}
    if len(shapes) != 1:
        return False
    ones = [1.0] * len(parts)
    return _adds_up(total, start, parts, ones) or _adds_up(
        total, start, parts, _scales(total, start, parts)
    )


def _scales(total: Tensor, start: Tensor, parts: Sequence[Tensor]) -> list[float]:
    """The scales under which the parts come closest."""
    columns = torch.stack([part.double().flatten() for part in parts], -1)
    wanted = (total.double() - start.double()).flatten()[:, None]
    if not (columns.isfinite().all() and wanted.isfinite().all()):
        return [1.0] * len(parts)
    found: list[float] = torch.linalg.lstsq(columns, wanted, driver="gelsd").solution[:, 0].tolist()
    return found


def _adds_up(
    total: Tensor, start: Tensor, parts: Sequence[Tensor], scales: Sequence[float]
) -> bool:
    if min(map(abs, scales)) < _LEAST_SCALE:
        return False
    added = [scale * part.double() for scale, part in zip(scales, parts, strict=True)]
    summed = start.double() + sum(added)
    size = start.double().abs() + sum(part.abs() for part in added)
    dtypes = [value.dtype for value in (total, start, *parts)]
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    return _within(total, summed, size, coarsest)


def _within(
    expected: Tensor, value: Tensor, size: Tensor, dtype: torch.dtype | None = None
) -> bool:
    """Whether two values agree, element by element, for numbers of some size."""
    allowed = tolerance(dtype or expected.dtype) * size + 1e-6
    return bool(((expected.double() - value.double()).abs() <= allowed).all())
