"""What is measured: shapes, prompts and modes, and which contenders take part in each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.contenders import CONTENDERS, LIMIT, OURS
from benchmarks.instance import make_task
from benchmarks.task import Component, Mode, Task
from crosslatent.core.costs import Shape

MAIN = Shape(
    layers=12, hidden=512, intermediate=1376, heads=8, kv_heads=2, head_dim=64, vocab=32000
)
TINY = Shape(layers=3, hidden=32, intermediate=64, heads=4, kv_heads=2, head_dim=8, vocab=300)

EVERYONE = tuple(name for name, contender in CONTENDERS.items() if not contender.optional)
GROWING = (OURS, "nnsight-expanded", "hooks", LIMIT)
"""The best batched peer stands for the others, hooks for what goes a pair at a time."""

SAMPLE = 12
"""Pairs that stand for all where a slow contender is only needed for its growth."""


@dataclass(frozen=True, slots=True)
class Case:
    """One instance to measure.

    Attributes:
        group: the table that it belongs to, and what `--cases` chooses by.
        shape: of the model.
        component: what is carried across.
        mode: "full" decodes `new_tokens`; "scoring" wants the logits after the prompt only.
        prompt: tokens of main, and of aux.
        new_tokens: per row, in full mode.
        contenders: who takes part.
        sample: pairs that contenders which go pair by pair are measured on; None for all.
    """

    group: str
    shape: Shape
    component: Component
    mode: Mode
    prompt: int
    new_tokens: int
    contenders: tuple[str, ...]
    sample: int | None = None

    @property
    def title(self) -> str:
        """What stands above its table."""
        tokens = f"{self.new_tokens} new tokens" if self.mode == "full" else "scoring"
        return f"{self.component}, {tokens}, {self.shape.layers} layers, prompts of {self.prompt}"

    def task(self) -> Task:
        """All pairs of the case."""
        return make_task(self.shape, self.component, self.mode, self.prompt, self.new_tokens)


def cases(*, quick: bool = False) -> list[Case]:
    """All cases; `quick` ones have tiny shapes and only show that everything runs."""
    if quick:
        return _cases(TINY, (2, 3), prompt=12, prompts=(6, 12), new_tokens=4, tokens=(1, 4))
    return _cases(
        MAIN, (6, 12, 24), prompt=150, prompts=(50, 150, 600), new_tokens=20, tokens=(1, 20, 100)
    )


def _cases(
    shape: Shape,
    layers: tuple[int, ...],
    *,
    prompt: int,
    prompts: tuple[int, ...],
    new_tokens: int,
    tokens: tuple[int, ...],
) -> list[Case]:
    main = [
        Case("main", shape, component, mode, prompt, new_tokens, EVERYONE)
        for component in ("attn", "ffn")
        for mode in ("full", "scoring")
    ]
    middle = Case("growth", shape, "ffn", "full", prompt, new_tokens, GROWING, SAMPLE)
    grown = [replace(middle, shape=replace(shape, layers=count)) for count in layers]
    grown += [replace(middle, prompt=length) for length in prompts if length != prompt]
    grown += [replace(middle, new_tokens=count) for count in tokens if count != new_tokens]
    large = replace(
        middle,
        group="memory",
        shape=replace(shape, layers=layers[-1]),
        prompt=prompts[-1],
        contenders=(OURS, "expanded", LIMIT),
    )
    return [*main, *grown, large]
