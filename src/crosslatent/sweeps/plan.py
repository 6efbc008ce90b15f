"""A sweep resolved and checked before anything is run or written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crosslatent.answering import prompts_of
from crosslatent.answering.gradients import check_attribution
from crosslatent.core.errors import PairError, TaskError
from crosslatent.core.pairs import PairPlan, resolve_pairs
from crosslatent.core.settings import complete
from crosslatent.core.specs import (
    STRATA,
    AsChat,
    Chat,
    Component,
    check_controls,
)
from crosslatent.interventions.condition import Condition, conditions_of
from crosslatent.interventions.intervention import check_row, tail
from crosslatent.model import Model
from crosslatent.model.chat import thought_note
from crosslatent.sweeps.control import described
from crosslatent.sweeps.spec import SweepSpec, carried_by, chat_settings, check_spec, pairs_of
from crosslatent.sweeps.tokens import PromptTokens
from crosslatent.sweeps.work_units import SweepGrid
from crosslatent.tasks import Item, Task
from crosslatent.tasks.rules import LIKELIHOOD_MEAN


@dataclass(frozen=True)
class SweepPlan:
    """A sweep with everything resolved and checked, before anything is run or written.

    Attributes:
        spec: its settings; those below are resolved.
        scoring: whether whole options are scored.
        notes: what a user should know before rows are answered.
    """

    model: Model
    task: Task
    spec: SweepSpec
    components: tuple[Component, ...]
    pairs: PairPlan
    controls: tuple[str, ...]
    max_new_tokens: int
    scoring: bool
    chat: AsChat
    tokens: PromptTokens
    conditions: tuple[Condition, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The resolved settings, as run.json keeps them."""
        spec, splits = self.spec, self.spec["control_splits"]
        chat_args = self.chat.arguments if isinstance(self.chat, Chat) else {}
        conditions = [one.to_dict() for one in self.conditions]
        others = described(self.controls)
        return {
            "components": list(self.components),
            "pairs": self.pairs.to_dict(),
            "controls": list(self.controls),
            **({"other_controls": others} if others else {}),
            **({"conditions": conditions} if conditions else {}),
            "control_splits": None if splits is None else list(splits),
            "seed": spec["seed"],
            "max_new_tokens": self.max_new_tokens,
            "score_only": spec["score_only"],
            "score_options": self.scoring,
            "strength": float(spec["strength"]),
            "positions": spec["positions"],
            "exact": spec["exact"],
            "chat": bool(self.chat),
            # Only where there are some, so that runs of before them can be resumed.
            **({"chat_args": chat_args} if chat_args else {}),
            "attribution": spec["attribution"],
            "samples": spec["samples"],
            "keep_vectors": spec["keep_vectors"],
            # Donors are drawn from these; runs of another division do not mix.
            **({"donor_strata": list(STRATA)} if "shuffled" in self.controls else {}),
        }

    @property
    def failures(self) -> dict[str, str]:
        """Item id -> why it cannot be run."""
        return self.tokens.failures

    @property
    def rule(self) -> str:
        """The rule that judges the answers."""
        return LIKELIHOOD_MEAN if self.spec["score_only"] else self.task.rule

    @cached_property
    def grid(self) -> SweepGrid:
        """The rows of the items that can be run."""
        splits = self.spec["control_splits"]
        return SweepGrid(
            items=tuple(item for item in self.task.items if item.id in self.tokens),
            components=self.components,
            pairs=self.pairs,
            controls=self.controls,
            control_splits=None if splits is None else tuple(splits),
            seed=self.spec["seed"],
            conditions=tuple(one.id for one in self.conditions),
        )

    @property
    def rows(self) -> int:
        """Rows that the whole sweep has."""
        return self.grid.rows

    def rows_of(self, items: Iterable[Item]) -> int:
        """Rows that some of its items have."""
        return sum(self.grid.rows_of(item) for item in items if item.id in self.tokens)


def plan_sweep(
    model: Model, task: Task, spec: SweepSpec, failures: Mapping[str, str] | None = None
) -> SweepPlan:
    """Resolve and check a sweep without running it.

    Args:
        model: the model.
        task: the questions.
        spec: what to run.
        failures: item -> why it cannot be run, as far as that is known already.

    Raises:
        UsageError: something in the arguments does not fit the model or the task, or no item can be
            run at all.
    """
    spec = complete(SweepSpec, spec)
    check_spec(spec, model.n_layers)
    components = tuple(map(model.check_component, carried_by(spec)))
    if spec["attribution"]:
        check_attribution(model)
    new_tokens = _new_tokens(task, spec)
    pairs = resolve_pairs(pairs_of(spec), model.n_layers)
    conditions = conditions_of(model, spec["conditions"])
    left_out = failures or {}
    for lang in sorted({item.lang for item in task.items if item.id not in left_out}):
        pairs.for_language(lang)
    # Shares of a population compare with the probabilities of whole options.
    compared = any(item.shares is not None for item in task.items)
    scoring = spec["score_only"] or spec["score_options"] or compared
    chat = chat_settings(spec)
    tokens = PromptTokens(
        model,
        task.items,
        new_tokens=new_tokens,
        positions=max([spec["positions"], *(tail(one.row) for one in conditions)]),
        scoring=scoring,
        chat=chat,
        paraphrases="paraphrase" in spec["controls"],
        failures=failures,
    )
    if not tokens:
        raise TaskError(
            f"None of the {len(task.items)} items of {task.name!r} can be run; the first: "
            f"{next(iter(tokens.failures.values()), 'there is none.')}"
        )
    _check_spans(conditions, tokens)
    return SweepPlan(
        model=model,
        task=task,
        spec=spec,
        components=components,
        pairs=pairs,
        controls=check_controls(spec["controls"]),
        max_new_tokens=new_tokens,
        scoring=scoring,
        chat=chat,
        tokens=tokens,
        conditions=conditions,
        notes=_notes(model, task, tokens, chat, new_tokens),
    )


def _notes(
    model: Model, task: Task, tokens: PromptTokens, chat: AsChat, new_tokens: int
) -> tuple[str, ...]:
    """What a user should know of the prompts; they end alike, so the first item tells."""
    item = next(item for item in task.items if item.id in tokens)
    found = (
        thought_note(model, prompt, chat=chat, role=role, new_tokens=new_tokens)
        for role, prompt in zip(("main", "aux"), prompts_of(item), strict=True)
    )
    return tuple(note for note in found if note is not None)[:1]


def _new_tokens(task: Task, spec: SweepSpec) -> int:
    if spec["score_only"]:
        if not any(item.options or item.answer for item in task.items):
            raise TaskError(
                f"No item of {task.name!r} has options or a gold answer, so there is nothing to "
                "score: leave --score-only out."
            )
        return 1
    new_tokens = task.max_new_tokens if spec["max_new_tokens"] is None else spec["max_new_tokens"]
    if new_tokens < 1:
        raise TaskError(f"max_new_tokens is {new_tokens}: it must be 1 or more.")
    return new_tokens


def _check_spans(conditions: Iterable[Condition], tokens: PromptTokens) -> None:
    """Refuse conditions that change tokens which some prompt does not have.

    Raises:
        PairError: one does.
    """
    for one in conditions:
        for name, ends in tokens.ends.items():
            try:
                check_row(one.row, ends.main_length)
            except PairError as error:
                raise PairError(f"The condition {one.name!r} and item {name!r}: {error}") from error
