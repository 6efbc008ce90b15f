"""What a sweep costs before it is run: tokens, floating-point operations, storage (methods.md, 2).

Plain arithmetic on plain numbers: `crosslatent sweep --dry-run` and docs/scale.md use the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BYTES_PER_NUMBER = 5.3
"""On disk, of a float32 that no other row repeats, as measured."""
BYTES_PER_ROW = 2.0
"""On disk, of what many rows of a part share: item, layers, control, verdicts."""
BYTES_PER_TOKEN = (0.7, 6.0)
"""On disk, of an output's text and ids, by token: where a question has some hundred different
outputs, and where no two rows have the same one."""
_ALWAYS = 5
"""Numbers of every row: gold_logprob, three of the first token, and the smallest margin."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes on disk: if most outputs of a question are alike, and if all are different."""

    low: float
    high: float


def storage(rows: float, tokens: float, options: float, *, scored: bool = False) -> Storage:
    """What rows take on disk.

    Args:
        rows: how many.
        tokens: of an output, on average; 0 if nothing is decoded.
        options: of a question, on average.
        scored: whole options are scored, too: two numbers for each, and one for the gold answer.
    """
    numbers = _ALWAYS + options + (2 * options + 1 if scored else 0)
    same = BYTES_PER_ROW + BYTES_PER_NUMBER * numbers
    low, high = (rows * (same + rate * tokens) for rate in BYTES_PER_TOKEN)
    return Storage(low, high)


def share_left(targets: Sequence[int], layers: int) -> float:
    """Share of the model from the edited block on: all for target 0, about half for all pairs.

    Args:
        targets: layer of each pair that is edited, from 0; without any, all of it is left.
        layers: of the model.
    """
    return 1 - sum(targets) / len(targets) / layers if targets else 1.0


def tokens_through(prompts: float, rows: float, new_tokens: float, left: float) -> float:
    """Tokens through the model with each item's prompts read once.

    A row starts at the last token of the prompt. Below its target block that token is the same in
    all rows, so only the blocks from there on are left to do for it.

    Left out: an item whose rows are cut into several slices has its prompts read again by each, and
    every worker reads the aux prompts of a whole pool once for the control `mean`.

    Args:
        prompts: tokens of all prompts, main and aux.
        rows: rows of all items.
        new_tokens: of an answer; 1 if options are only scored by their first token.
        left: share of the model that is left, on average; see `share_left`.
    """
    return prompts + rows * (new_tokens - 1 + left)


def tokens_apart(prompts_of_item: float, rows: float, new_tokens: float) -> float:
    """Tokens through the model if every row read both prompts again.

    Args:
        prompts_of_item: tokens of main and aux of one item, on average.
        rows: rows of all items.
        new_tokens: of an answer.
    """
    return rows * (prompts_of_item + new_tokens - 1)


def operations(tokens: float, parameters: float) -> float:
    """Floating-point operations of the weights: a multiplication and an addition for each."""
    return 2.0 * parameters * tokens


def attention_operations(tokens: float, context: float, layers: int, width: int) -> float:
    """Floating-point operations of attention itself.

    Every token's query meets the keys of its context, and their values are added up: 4 operations
    for each layer, position and unit of the width.

    Args:
        tokens: through the model.
        context: positions that a token sees, on average.
        layers: of the model.
        width: heads times the size of a head; key-value heads that are shared save memory only.
    """
    return 4.0 * tokens * context * layers * width


def cache_bytes(positions: float, layers: int, key_value_width: int, size: int = 2) -> float:
    """Memory of the keys and values of some positions.

    Args:
        positions: tokens that are kept.
        layers: of the model.
        key_value_width: key-value heads times the size of a head.
        size: bytes of a number; 2 in bfloat16.
    """
    return 2.0 * positions * layers * key_value_width * size


def gpu_hours(flops: float, peak: float, utilisation: float) -> float:
    """Hours of one GPU.

    Args:
        flops: floating-point operations.
        peak: operations per second that its maker states.
        utilisation: share of them that is reached, 0 to 1.
    """
    return flops / (peak * utilisation) / 3600


def human_bytes(size: float) -> str:
    """A size for people: 1.5 GB, with powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 99.5 or unit == "bytes" else f"{size:.2g} {unit}"


def duration(seconds: float) -> str:
    """A time span for people: "8 s", "2 min 05 s", "3 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
