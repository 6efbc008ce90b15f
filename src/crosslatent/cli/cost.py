"""What a sweep will cost, before it is run (docs/methods.md, 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosslatent.core.costs import (
    Storage,
    human_bytes,
    operations,
    share_left,
    storage,
    tokens_apart,
    tokens_through,
)

if TYPE_CHECKING:
    from crosslatent.sweeps import SweepPlan


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows of a sweep, and tokens through the model if every answer has full length.

    Attributes:
        items: items that can be run.
        rows: rows, those of controls, vanilla and translate-test included.
        tokens: with each item's prompts read once and their keys and values shared by its rows;
            see `core.costs.tokens_through` for what is left out.
        separate_tokens: if every row read both prompts again.
        parameters: of the model; a token costs about twice as many floating-point operations.
        storage: of the rows, on disk.
    """

    items: int
    rows: int
    tokens: int
    separate_tokens: int
    parameters: int
    storage: Storage

    def lines(self) -> list[str]:
        """The estimate for people."""
        flops = operations(self.tokens, self.parameters)
        saved = self.separate_tokens / self.tokens
        low, high = human_bytes(self.storage.low), human_bytes(self.storage.high)
        return [
            f"items   {self.items:,}",
            f"rows    up to {self.rows:,}",
            f"tokens  up to {self.tokens:,} through the model ({saved:.1f} times less than by row)",
            f"work    about {flops:.1e} floating-point operations",
            f"disk    about {low}, up to {high} if all outputs are different",
        ]


def estimate(plan: SweepPlan) -> Estimate:
    """Estimate a sweep from its plan; no forward pass is run."""
    prompts = [ends.main_length + ends.aux_length for ends in plan.tokens.ends.values()]
    options = [len(item.options or ()) for item in plan.task.items if item.id in plan.tokens]
    new, scored = plan.max_new_tokens, _option_tokens(plan)
    mean = sum(prompts) / len(prompts)
    return Estimate(
        items=len(prompts),
        rows=plan.rows,
        tokens=round(tokens_through(sum(prompts), plan.rows, new, _left(plan)) + scored),
        separate_tokens=round(tokens_apart(mean, plan.rows, new) + scored),
        parameters=plan.model.hf.num_parameters(),
        storage=storage(
            plan.rows,
            0 if plan.spec["score_only"] else new,
            sum(options) / len(options),
            scored=plan.scoring,
        ),
    )


def _left(plan: SweepPlan) -> float:
    """Share of the model that is left to do for a row's first token, on average over all rows."""
    done = 0.0
    for item in plan.grid.items:
        targets = [target for _, target in plan.pairs.for_language(item.lang)]
        done += plan.grid.rows_of(item) * share_left(targets, plan.model.n_layers)
    return done / plan.rows


def _option_tokens(plan: SweepPlan) -> int:
    """Tokens of options that are read to score them, in all rows."""
    if not plan.scoring:
        return 0
    from crosslatent.engine.option_tree import OptionTree

    return sum(
        plan.rows_of([item])
        * len(OptionTree.of(plan.tokens.answers[item.id].main.continuations).tokens)
        for item in plan.task.items
        if item.id in plan.tokens
    )
