"""What a sweep costs: rows, tokens, operations and storage from its plan, time from a trial."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from crosslatent.core import costs
from crosslatent.core.errors import UsageError
from crosslatent.core.hardware import shape_of
from crosslatent.core.specs import AUTO
from crosslatent.engine import chosen_path
from crosslatent.engine.option_tree import OptionTree
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.work import RowWorker
from crosslatent.sweeps.work_units import RowRange
from crosslatent.tasks import Item


@dataclass(frozen=True, slots=True)
class Trial:
    """Some rows of a sweep that were answered to see how long all of them take.

    Attributes:
        rows: rows answered.
        seconds: what they took.
        low, high: seconds that all rows of the sweep would take, at the best rate seen, and at the
            last one with what a sweep does beside answering.
    """

    rows: int
    seconds: float
    low: float
    high: float


def tried(
    plan: SweepPlan, *, seconds: float = 5.0, engine: str = AUTO, batch_rows: int | None = None
) -> Trial:
    """Answer some of a sweep's rows, of items from all of it, and write nothing.

    Each try takes more rows than the one before, of other items. The first one warms up; rows of
    the controls ``mean`` and ``mean-main`` are left out, since they need the vectors of all items.

    Args:
        plan: the sweep.
        seconds: no try is begun later.
        engine: as in `RunSettings`.
        batch_rows: as in `RunSettings`.

    Raises:
        SweepError: one item after another fails.
        UsageError: an engine that does not serve the model.
    """
    worker = RowWorker(plan, chosen_path(plan.model, engine), batch_rows)
    items = sorted(plan.grid.items, key=lambda item: _tokens(plan, item))
    others = itertools.cycle(items[:: max(1, len(items) // _ITEMS)])
    began, rows, rates = time.monotonic(), 0, list[float]()
    for size in (2**number for number in itertools.count()):
        some = [next(others) for _ in range(min(size, len(items)))]
        ranges = [RowRange(item.id, _but_mean(plan, item)[: size * _ROWS]) for item in some]
        start = time.monotonic()
        done = sum(len(one.rows) for one in worker.answer(ranges))
        now = time.monotonic()
        rows += done
        rates.append(done / max(now - start, 1e-6))
        # The next try has up to four times as many rows.
        if now - began + 4 * (now - start) > seconds or rows >= plan.rows:
            break
    last = [rate for rate in rates[-2:] if rate] or [1.0]
    low, high = plan.rows / max(last), plan.rows / last[-1] * _MORE
    return Trial(rows, time.monotonic() - began, low, high)


_MEANS = ("mean", "mean-main")
_MORE = 1.6
"""A sweep takes up to so much longer than its rows alone: it writes, and reads pools for means."""
_BESIDE: tuple[Literal["attribution", "samples", "keep_vectors"], ...] = (
    "attribution",
    "samples",
    "keep_vectors",
)
"""Settings that ask for work beside the rows, which no trial times."""
_ROWS, _ITEMS = 4, 16
"""Rows of an item in the first try of a trial, and items that tries take turns with."""


def _tokens(plan: SweepPlan, item: Item) -> int:
    ends = plan.tokens.ends[item.id]
    return ends.main_length + ends.aux_length


def _but_mean(plan: SweepPlan, item: Item) -> list[int]:
    planned = plan.grid.planned(item)
    return [at for at, row in enumerate(planned) if row.variant.control not in _MEANS]


@dataclass(frozen=True, slots=True)
class SweepCost:
    """Rows of a sweep, and tokens through the model if every answer has full length.

    Attributes:
        items: items that can be run.
        rows: rows, those of controls, vanilla and translate-test included.
        tokens: with each item's prompts read once and their keys and values shared by its rows;
            see `core.costs.tokens_through` for what is left out.
        separate_tokens: if every row read both prompts again.
        parameters: of the model.
        flops: floating-point operations of products of matrices; of a model that `core.hardware`
            cannot count, two for each parameter and token.
        storage: of the rows, on disk.
        trial: some rows that were answered; None without one.
        untimed: settings whose work beside the rows is in no figure of time.
    """

    items: int
    rows: int
    tokens: int
    separate_tokens: int
    parameters: int
    flops: float
    storage: costs.Storage
    trial: Trial | None = None
    untimed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The estimate for people."""
        saved = self.separate_tokens / self.tokens
        low, high = costs.human_bytes(self.storage.low), costs.human_bytes(self.storage.high)
        took = self.trial
        pace = "not measured"
        if took is not None:
            pace = (
                f"{costs.duration(took.low)} to {costs.duration(took.high)} in one process of this "
                f"machine, as it is now ({took.rows:,} rows were answered in {took.seconds:.0f} s)"
            )
            more = " and ".join(f"--{name.replace('_', '-')}" for name in self.untimed)
            pace += f", and the work of {more}" if more else ""
        return [
            f"items   {self.items:,}",
            f"rows    up to {self.rows:,}",
            f"tokens  up to {self.tokens:,} through the model ({saved:.1f} times less than by row)",
            f"work    about {self.flops:.1e} floating-point operations",
            f"time    {pace}",
            f"disk    about {low}, up to {high} if all outputs are different",
        ]


def estimate(plan: SweepPlan, trial: Trial | None = None) -> SweepCost:
    """Estimate a sweep from its plan, and its time from a trial; runs nothing itself."""
    prompts = [ends.main_length + ends.aux_length for ends in plan.tokens.ends.values()]
    n_options = [len(item.options or ()) for item in plan.task.items if item.id in plan.tokens]
    new, scored = plan.max_new_tokens, _option_tokens(plan)
    mean = sum(prompts) / len(prompts)
    tokens = round(costs.tokens_through(sum(prompts), plan.rows, new, _left(plan)) + scored)
    return SweepCost(
        items=len(prompts),
        rows=plan.rows,
        tokens=tokens,
        separate_tokens=round(costs.tokens_apart(mean, plan.rows, new) + scored),
        parameters=plan.model.hf.num_parameters(),
        flops=_flops(plan, tokens, scored),
        storage=costs.storage(
            plan.rows,
            0 if plan.spec["score_only"] else new,
            sum(n_options) / len(n_options),
            scored=plan.scoring,
        ),
        untimed=tuple(name for name in _BESIDE if plan.spec[name]),
        trial=trial,
    )


def _left(plan: SweepPlan) -> float:
    """Share of the model that is left to do for a row's first token, on average over all rows."""
    return sum(plan.grid.rows_of(one) * _left_of(plan, one) for one in plan.grid.items) / plan.rows


def _left_of(plan: SweepPlan, item: Item) -> float:
    targets = [target for _, target in plan.pairs.for_language(item.lang)]
    return costs.share_left(targets, plan.model.n_layers)


def _flops(plan: SweepPlan, tokens: int, scored: int) -> float:
    """Floating-point operations of all rows, with those of the options that are scored."""
    try:
        shape = shape_of(plan.model.hf.config.to_dict())
    except UsageError:
        return costs.operations(tokens, plan.model.hf.num_parameters())
    found = 0.0
    for item in plan.grid.items:
        ends = plan.tokens.ends[item.id]
        work = costs.Workload(
            (ends.aux_length,),
            (ends.main_length,),
            plan.grid.rows_of(item),
            _left_of(plan, item),
        )
        found += costs.count(shape, work, plan.max_new_tokens).flop
    mean = sum(ends.main_length for ends in plan.tokens.ends.values()) / len(plan.tokens.ends)
    return found + costs.forward(shape, 1, mean, logits=1).times(scored).flop


def _option_tokens(plan: SweepPlan) -> int:
    """Tokens of options that are read to score them, in all rows."""
    if not plan.scoring:
        return 0
    return sum(
        plan.rows_of([item])
        * len(OptionTree.of(plan.tokens.answers[item.id].main.continuations).tokens)
        for item in plan.task.items
        if item.id in plan.tokens
    )
