"""What a sweep will cost, before it is run (docs/methods.md, 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosslatent.sweeps import SweepPlan


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows of a sweep, and tokens through the model if every answer has full length.

    Attributes:
        items: items that can be run.
        rows: rows, those of controls, vanilla and translate-test included.
        tokens: with each item's prompts read once and their keys and values shared by its rows.
        separate_tokens: if every row read both prompts again.
        parameters: of the model; a token costs about twice as many floating-point operations.
    """

    items: int
    rows: int
    tokens: int
    separate_tokens: int
    parameters: int

    def lines(self) -> list[str]:
        """The estimate for people."""
        flops = 2.0 * self.parameters * self.tokens
        saved = self.separate_tokens / self.tokens
        return [
            f"items   {self.items:,}",
            f"rows    up to {self.rows:,}",
            f"tokens  up to {self.tokens:,} through the model ({saved:.1f} times less than by row)",
            f"work    about {flops:.1e} floating-point operations",
        ]


def estimate(plan: SweepPlan) -> Estimate:
    """Estimate a sweep from its plan; no forward pass is run."""
    prompts = [ends.main_length + ends.aux_length for ends in plan.tokens.ends.values()]
    mean = sum(prompts) / len(prompts)
    new = plan.max_new_tokens
    return Estimate(
        items=len(prompts),
        rows=plan.rows,
        tokens=round(sum(prompts) + plan.rows * (new - 0.5) + _option_tokens(plan)),
        separate_tokens=round(plan.rows * (mean + new - 1) + _option_tokens(plan)),
        parameters=plan.model.hf.num_parameters(),
    )


def _option_tokens(plan: SweepPlan) -> int:
    """Tokens of options that are read to score them, in all rows."""
    if not plan.score_options:
        return 0
    from crosslatent.engine.options import OptionTree
    from crosslatent.scoring import continuations

    return sum(
        plan.rows_of([item]) * len(OptionTree.of(continuations(plan.model, item)).tokens)
        for item in plan.task.items
        if item.id in plan.tokens
    )
