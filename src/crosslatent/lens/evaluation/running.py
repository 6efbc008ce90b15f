"""One evaluation under way: who answers what under each condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from crosslatent.controls import Variant, Vectors
from crosslatent.edits import Edit, Row
from crosslatent.engine import best_path, memory
from crosslatent.languages import same_language
from crosslatent.lens.evaluation import retention
from crosslatent.lens.evaluation.asking import Asking, Question, answer
from crosslatent.lens.evaluation.checks import check_same_tokens, language_in, opened
from crosslatent.lens.evaluation.conditions import (
    Condition,
    Steered,
    Transplanted,
    Tuned,
    Unmodified,
    sources_of,
    steered_of,
    transplanted_of,
)
from crosslatent.lens.evaluation.results import AnswerRow
from crosslatent.lens.evaluation.retention import Divergences, HeldOut
from crosslatent.lens.steer import steered
from crosslatent.model import Model
from crosslatent.specs import Site, check_component, resolve_layer
from crosslatent.sweeps.progress import Progress, Tracker

Show = Callable[[str, Progress], None]
"""Gets the name of a condition and how far it is."""


@dataclass(slots=True)
class Outcome:
    """What was found under one condition.

    Attributes:
        rows: its answers.
        divergences: of its models, if it has trained ones and there are texts.
        seconds: that answering the main prompts took, reading counterparts to transplant from
            included, and central counterparts left out.
        dtypes: types of numbers of its trained models.
    """

    rows: list[AnswerRow] = field(default_factory=list)
    divergences: list[Divergences] = field(default_factory=list)
    seconds: float = 0.0
    dtypes: set[str] = field(default_factory=set)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time that is spent here counts."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started


@dataclass(slots=True)
class Runner:
    """Answers the questions under one condition after the other.

    Attributes:
        asking: the questions.
        texts: held-out texts in the central language, if there are any.
        show: gets progress; None for nobody.
        unmodified: answers of the unmodified model, which must come first.
    """

    asking: Asking
    texts: HeldOut | None
    show: Show | None = None
    unmodified: list[AnswerRow] = field(default_factory=list)

    def run(self, condition: Condition) -> Outcome:
        """Answer everything under one condition.

        Raises:
            ModelError: a trained model cannot be loaded, or reads other tokens.
        """
        steps = _Steps(self.asking, condition, self.show, Outcome())
        if isinstance(condition, Tuned):
            self._tuned(condition, steps)
        else:
            self._on_base(condition, steps)
        if isinstance(condition, Unmodified):
            self.unmodified = steps.outcome.rows
        return steps.outcome

    def _on_base(self, condition: Condition, steps: _Steps) -> None:
        asking, base = self.asking, self.asking.model
        steering = steered_of(condition)
        best_path(base)  # the trial is no part of the time
        own = [each for each in asking.centrals if _changes(condition, each)]
        with steps.outcome.timed():
            edits = _edits(asking, transplanted_of(condition), steps.tracker)
            if steering is None:
                steps.ask(base, asking.targets, row=edits)
            else:
                for lang, questions in _by_language(asking.targets).items():
                    around = _steered(base, steering, lang)
                    steps.ask(base, questions, row=edits, around=around)
            steps.ask(base, [each for each in own if not each.of_aux], row=edits)
        steps.ask(base, [each for each in own if each.of_aux])
        # What a condition leaves as it is need not be answered again.
        left = {each.item.id for each in asking.centrals if not _changes(condition, each)}
        steps.outcome.rows += [
            replace(row, condition=condition.name)
            for row in self.unmodified
            if row.role == "central" and row.item in left
        ]

    def _tuned(self, condition: Tuned, steps: _Steps) -> None:
        for lang, source in sources_of(condition).items():
            self._trained(opened(source, self.asking.model), lang, steps)
            # What was loaded for this must go before the next one comes.
            memory.release(self.asking.model)

    def _trained(self, model: Model, lang: str | None, steps: _Steps) -> None:
        """One trained model: the questions in its language, the central ones, the texts."""
        base, outcome, centrals = self.asking.model, steps.outcome, self.asking.centrals
        check_same_tokens(base, model, self.asking)
        best_path(model)
        outcome.dtypes.add(str(model.dtype).removeprefix("torch."))
        with outcome.timed():
            steps.ask(model, asked_of(self.asking, lang))
            steps.ask(model, [each for each in centrals if not each.of_aux], variant=lang)
        steps.ask(model, [each for each in centrals if each.of_aux], variant=lang)
        if self.texts is not None:
            outcome.divergences.append(retention.divergences(base, model, self.texts))


def asked_of(asking: Asking, lang: str | None) -> list[Question]:
    """The target questions that a model for one language is asked; None for all languages."""
    return [
        each
        for each in asking.targets
        if lang is None or each.lang == lang or same_language(each.lang, lang)
    ]


@dataclass(slots=True)
class _Steps:
    """Answers under one condition, step by step."""

    asking: Asking
    condition: Condition
    show: Show | None
    outcome: Outcome
    tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        asking = self.asking
        models: list[str | None] = [None]
        if isinstance(self.condition, Tuned):
            models = list(sources_of(self.condition))
        rows = sum(len(asked_of(asking, lang)) + len(asking.centrals) for lang in models)
        self.tracker = Tracker(self._tell, 0, rows, rows)

    def _tell(self, state: Progress) -> None:
        if self.show is not None:
            self.show(self.condition.name, state)

    def ask(
        self,
        model: Model,
        questions: Sequence[Question],
        *,
        row: Callable[[Question], Row] | None = None,
        around: AbstractContextManager[None] | None = None,
        variant: str | None = None,
    ) -> None:
        """Answer questions; see `asking.answer`."""
        if not questions:
            return
        done = len(self.outcome.rows)
        self.outcome.rows += answer(
            self.asking,
            model,
            questions,
            condition=self.condition.name,
            row=row,
            around=around,
            variant=variant,
            advance=lambda rows: self._answered(done + rows),
        )

    def _answered(self, rows: float) -> None:
        self.tracker.done = int(rows)
        self.tracker.answered(rows)


def _steered(model: Model, steering: Steered, lang: str) -> AbstractContextManager[None]:
    towards = steering.towards(language_in(steering.space, lang))
    return steered(model, steering.space, towards)


def _edits(
    asking: Asking, transplant: Transplanted | None, tracker: Tracker
) -> Callable[[Question], Row] | None:
    """What a transplant changes for each question; the vectors are the unmodified model's."""
    if transplant is None:
        return None
    model, component = asking.model, check_component(transplant.component)
    source = resolve_layer(transplant.source, model.n_layers, "source")
    site = Site(component, resolve_layer(transplant.target, model.n_layers, "target"))
    items = [each.item for each in asking.questions if not each.of_aux]
    vectors = Vectors(model, items, asking.tokens, [component], (), 0, advance=tracker.captured)

    def row(question: Question) -> Row:
        layers = vectors.layers(question.item, Variant("none"), component)
        return (Edit(site, layers[source]),)

    return row


def _changes(condition: Condition, central: Question) -> bool:
    """Whether a condition of the unmodified model's weights changes a central question.

    Steering is for questions in other languages. A counterpart has none itself to transplant from;
    a main prompt in the central language has one, in culture tasks.
    """
    if isinstance(condition, Unmodified):
        return True
    return transplanted_of(condition) is not None and not central.of_aux


def _by_language(questions: Sequence[Question]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(question.lang, []).append(question)
    return found
