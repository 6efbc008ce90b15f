"""The least arithmetic that one sweep instance needs, counted in multiply-adds.

What has to pass through the model (METHODS, section 2), with Q aux tokens, P main tokens, R rows
(all pairs) and T new tokens: aux once and main once (Q + P tokens); for every row the part of the
last prompt token above its target block, half of the blocks on average (1/2 token), and the T - 1
tokens that are fed back. The T-th token is chosen and not fed back, so

    tokens = Q + P + R (T - 1/2)

A token costs, per block: the linear layers (query, key, value, output; gate, up, down), and the
attention products with the keys it sees (scores, then values). Every new token needs one vector of
logits, so there are R T products with the head. Norms, rotations, activations, softmax and the
embedding look-up are left out: they are no matrix products and cost little.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.task import Shape, Task


@dataclass(frozen=True, slots=True)
class Operations:
    """Multiply-adds of one instance, by where they are; one is two floating-point operations."""

    linear: float
    attention: float
    head: float

    @property
    def total(self) -> float:
        """All multiply-adds."""
        return self.linear + self.attention + self.head

    @property
    def flop(self) -> float:
        """Floating-point operations: a multiplication and an addition each."""
        return 2 * self.total


def of_task(shape: Shape, task: Task) -> Operations:
    """The least work of a task."""
    return count(shape, len(task.aux), len(task.main), len(task.pairs), task.new_tokens)


def count(shape: Shape, aux: int, main: int, rows: int, new_tokens: int) -> Operations:
    """The least work of an instance.

    Args:
        shape: of the model.
        aux: tokens of the auxiliary prompt (Q).
        main: tokens of the prompt that is answered (P).
        rows: pairs (R).
        new_tokens: per row (T).
    """
    tokens = aux + main + rows * (new_tokens - 0.5)
    fed_back = sum(range(main + 1, main + new_tokens))
    keys = _triangle(aux) + _triangle(main) + rows * (main / 2 + fed_back)
    return Operations(
        linear=tokens * shape.layers * _linear(shape),
        attention=keys * shape.layers * 2 * shape.heads * shape.head_dim,
        head=rows * new_tokens * shape.hidden * shape.vocab,
    )


def _linear(shape: Shape) -> int:
    """Weights of one block's linear layers: multiply-adds per token."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return shape.hidden * (2 * query + 2 * key + 3 * shape.intermediate)


def _triangle(length: int) -> int:
    """Keys that the tokens of a causal prompt see, each its own and all before it."""
    return length * (length + 1) // 2
