"""A running evaluation: which questions are answered under each condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from crosslatent.core.specs import Site, check_component, resolve_layer
from crosslatent.engine import best_path, memory
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import everywhere
from crosslatent.lens.evaluation.asking import EvalPrompt, EvaluationPlan, Row, answer, is_in
from crosslatent.lens.evaluation.checks import check_same_tokens, language_in, opened
from crosslatent.lens.evaluation.evaluated_conditions import (
    Condition,
    Intervened,
    Steered,
    Transplanted,
    Tuned,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.evaluation_record import AnswerRow
from crosslatent.lens.evaluation.retention import Divergences, HeldOut, divergences
from crosslatent.lens.steering import interventions_of
from crosslatent.model import Model
from crosslatent.sweeps.bookkeeping import Progress, Tracker
from crosslatent.sweeps.control import Donors, Variant
from crosslatent.sweeps.vectors import PREPARED_TOGETHER, Vectors

Show = Callable[[str, Progress], None]
"""Gets the name of a condition and how far it is."""


@dataclass(slots=True)
class ConditionRun:
    """Answers under one condition, step by step.

    Attributes:
        show: called with the progress; None shows nothing.
        texts: held-out texts in the central language, if there are any.
        rows: the answers.
        divergences: of each of its models or steerings, if there are texts; none of a transplant.
        seconds: that answering the main prompts took, reading counterparts to transplant from
            included, and central counterparts left out.
        dtypes: types of numbers of its trained models.
    """

    asking: EvaluationPlan
    condition: Condition
    show: Show | None = None
    texts: HeldOut | None = None
    rows: list[AnswerRow] = field(default_factory=list, init=False)
    divergences: list[Divergences] = field(default_factory=list, init=False)
    seconds: float = field(default=0.0, init=False)
    dtypes: set[str] = field(default_factory=set, init=False)
    _variants: list[str | None] = field(init=False)
    _mains: list[EvalPrompt] = field(init=False)
    _counterparts: list[EvalPrompt] = field(init=False)
    _tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        asking = self.asking
        centrals = asked_centrally(asking, self.condition)
        self._variants = variants_of(asking, self.condition)
        self._mains = [each for each in centrals if not each.of_aux]
        self._counterparts = [each for each in centrals if each.of_aux]
        targets = asking.targets
        if isinstance(self.condition, Tuned):
            targets = [each for lang in self._variants for each in asked_of(asking, lang)]
        rows = len(targets) + len(self._variants) * len(centrals)
        self._tracker = Tracker(self._tell, 0, rows, rows)

    def _tell(self, state: Progress) -> None:
        if self.show is not None:
            self.show(self.condition.name, state)

    def run(self) -> None:
        """Answer everything.

        Raises:
            ModelError: a trained model cannot be loaded, or reads other tokens.
        """
        base = self.asking.model
        if not isinstance(self.condition, Tuned):
            self._on_base(base)
            return
        for lang, source in sources_of(self.condition).items():
            self._trained(opened(source, base), lang)
            # What was loaded for this must go before the next one comes.
            memory.release(base.devices)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Time that is spent here counts."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def _on_base(self, base: Model) -> None:
        """The unmodified model under the condition: the questions, the central ones, the texts."""
        condition, steering = self.condition, steered_of(self.condition)
        best_path(base)  # the trial is no part of the time
        together: dict[str | None, list[EvalPrompt]] = {}
        for question in self.asking.targets:
            lang = None if steering is None else question.lang
            together.setdefault(lang, []).append(question)
        with self._timed():
            edits = _edits(self.asking, transplanted_of(condition), self._tracker)
            for lang, questions in together.items():
                self._ask(base, questions, row=_row(base, condition, lang, edits))
            for lang in self._variants:
                self._ask(base, self._mains, row=_row(base, condition, lang, edits), variant=lang)
        for lang in self._variants:
            self._ask(base, self._counterparts, row=_row(base, condition, lang), variant=lang)
        moves = isinstance(condition, Intervened) and condition.changes_texts
        if self.texts is not None and (moves or isinstance(condition, Steered)):
            for lang in self._variants:
                around = partial(everywhere, base, _fixed(base, condition, lang))
                self.divergences.append(divergences(base, base, self.texts, around=around))

    def _trained(self, model: Model, lang: str | None) -> None:
        """One trained model: the questions in its language, the central ones, the texts."""
        base = self.asking.model
        check_same_tokens(self.asking, model)
        best_path(model)
        self.dtypes.add(str(model.dtype).removeprefix("torch."))
        with self._timed():
            self._ask(model, asked_of(self.asking, lang))
            self._ask(model, self._mains, variant=lang)
        self._ask(model, self._counterparts, variant=lang)
        if self.texts is not None:
            self.divergences.append(divergences(base, model, self.texts))

    def _ask(
        self,
        model: Model,
        questions: Sequence[EvalPrompt],
        *,
        row: Row | None = None,
        variant: str | None = None,
    ) -> None:
        """Answer questions; see `asking.answer`."""
        done, name = len(self.rows), self.condition.name

        def answered(rows: float) -> None:
            self._tracker.done = int(done + rows)
            self._tracker.answered(done + rows)

        if questions:
            self.rows += answer(self.asking, model, questions, name, row, variant, answered)


def asked_centrally(asking: EvaluationPlan, condition: Condition) -> list[EvalPrompt]:
    """The central questions that are answered under a condition.

    A counterpart has none of its own to transplant from; a main prompt in the central language has
    one, in culture tasks.
    """
    if transplanted_of(condition) is None:
        return asking.centrals
    return [each for each in asking.centrals if not each.of_aux]


def variants_of(asking: EvaluationPlan, condition: Condition) -> list[str | None]:
    """For each time that the central questions are answered, the language that it is for.

    Models for one language each answer them all, and so does every steering, towards each target
    language (of the space, if nothing is asked in any). None: for all languages at once.
    """
    if isinstance(condition, Tuned):
        return list(sources_of(condition))
    steering = steered_of(condition)
    if steering is None or steering.part != "direction":
        return [None]
    return list(dict.fromkeys(each.lang for each in asking.targets) or steering.space.targets)


def asked_of(asking: EvaluationPlan, lang: str | None) -> list[EvalPrompt]:
    """The target questions that a model for one language is asked; None for all languages."""
    return [each for each in asking.targets if lang is None or is_in(each.lang, lang)]


def _fixed(model: Model, condition: Condition, lang: str | None) -> tuple[Intervention, ...]:
    """The interventions of a condition that are the same for all questions of a language."""
    if isinstance(condition, Intervened):
        return condition.condition.row
    steering = steered_of(condition)
    if steering is None:
        return ()
    space = steering.space
    # Without a language, steering is the same for all of them.
    towards = space.central if lang is None else language_in(space, lang)
    return interventions_of(model, space, steering.towards(towards))


def _row(
    model: Model, condition: Condition, lang: str | None, edits: Row | None = None
) -> Row | None:
    """The interventions on each question: the same for all of them, then a transplant."""
    fixed = _fixed(model, condition, lang)
    if not fixed:
        return edits
    return lambda question: (*fixed, *(() if edits is None else edits(question)))


def _edits(asking: EvaluationPlan, transplant: Transplanted | None, tracker: Tracker) -> Row | None:
    """What a transplant changes for each question; the vectors are the unmodified model's."""
    if transplant is None:
        return None
    model, component = asking.model, check_component(transplant.component)
    source = resolve_layer(transplant.source, model.n_layers, "source")
    site = Site(component, resolve_layer(transplant.target, model.n_layers, "target"))
    items = [each.item for each in asking.questions if not each.of_aux]
    true = Variant("none")
    # All are kept: later, while something is steered, they would not be the unmodified model's.
    vectors = Vectors(model, Donors(items), asking.tokens, [component], room=sys.maxsize)
    for done in range(0, len(items), PREPARED_TOGETHER):
        together = items[done : done + PREPARED_TOGETHER]
        vectors.prepare((item, [true]) for item in together)
        tracker.captured(done + len(together), len(items))

    def row(question: EvalPrompt) -> tuple[Intervention, ...]:
        layers = vectors.layers(question.item, true, component)
        return (Transplant(site, layers[source]),)

    return row
