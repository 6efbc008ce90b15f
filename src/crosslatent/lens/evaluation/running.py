"""A running evaluation: which questions are answered under each condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from crosslatent.core.languages import same_language
from crosslatent.core.specs import Site, check_component, resolve_layer
from crosslatent.engine import best_path, memory
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds import Transplant
from crosslatent.interventions.patched import everywhere
from crosslatent.lens.evaluation import retention
from crosslatent.lens.evaluation.asking import Asking, Question, Row, answer
from crosslatent.lens.evaluation.checks import (
    check_same_tokens,
    language_in,
    opened,
)
from crosslatent.lens.evaluation.conditions import (
    Condition,
    Intervened,
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
from crosslatent.lens.steer import Steering, interventions_of
from crosslatent.model import Model
from crosslatent.sweeps.control import Variant
from crosslatent.sweeps.donors import Donors
from crosslatent.sweeps.progress import Progress, Tracker
from crosslatent.sweeps.vectors import PREPARED_TOGETHER, Vectors

Show = Callable[[str, Progress], None]
"""Gets the name of a condition and how far it is."""


@dataclass(slots=True)
class Outcome:
    """What was found under one condition.

    Attributes:
        rows: its answers.
        divergences: of each of its models or steerings, if there are texts; none of a transplant.
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
        show: called with the progress; None shows nothing.
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
        mains = [each for each in steps.centrals if not each.of_aux]
        counterparts = [each for each in steps.centrals if each.of_aux]
        with steps.outcome.timed():
            edits = _edits(asking, transplanted_of(condition), steps.tracker)
            for lang, questions in _together(asking, steering).items():
                steps.ask(base, questions, row=_row(base, condition, lang, edits))
            for lang in steps.variants:
                steps.ask(base, mains, row=_row(base, condition, lang, edits), variant=lang)
        for lang in steps.variants:
            steps.ask(base, counterparts, row=_row(base, condition, lang), variant=lang)
        if isinstance(condition, Steered) or (
            isinstance(condition, Intervened) and condition.changes_texts
        ):
            self._diverged(condition, steps)

    def _diverged(self, condition: Steered | Intervened, steps: _Steps) -> None:
        """How far a condition moves the texts, towards each of its languages."""
        base = self.asking.model
        for lang in steps.variants if self.texts is not None else ():
            assert self.texts is not None
            around = partial(everywhere, base, _fixed(base, condition, lang))
            found = retention.divergences(base, base, self.texts, around=around)
            steps.outcome.divergences.append(found)

    def _tuned(self, condition: Tuned, steps: _Steps) -> None:
        for lang, source in sources_of(condition).items():
            self._trained(opened(source, self.asking.model), lang, steps)
            # What was loaded for this must go before the next one comes.
            memory.release(self.asking.model.devices)

    def _trained(self, model: Model, lang: str | None, steps: _Steps) -> None:
        """One trained model: the questions in its language, the central ones, the texts."""
        base, outcome, centrals = self.asking.model, steps.outcome, steps.centrals
        check_same_tokens(base, model, self.asking)
        best_path(model)
        outcome.dtypes.add(str(model.dtype).removeprefix("torch."))
        with outcome.timed():
            steps.ask(model, asked_of(self.asking, lang))
            steps.ask(model, [each for each in centrals if not each.of_aux], variant=lang)
        steps.ask(model, [each for each in centrals if each.of_aux], variant=lang)
        if self.texts is not None:
            outcome.divergences.append(retention.divergences(base, model, self.texts))


def asked_centrally(asking: Asking, condition: Condition) -> list[Question]:
    """The central questions that are answered under a condition.

    A counterpart has none of its own to transplant from; a main prompt in the central language has
    one, in culture tasks.
    """
    if transplanted_of(condition) is None:
        return asking.centrals
    return [each for each in asking.centrals if not each.of_aux]


def variants_of(asking: Asking, condition: Condition) -> list[str | None]:
    """For each time that the central questions are answered, the language that it is for.

    Models for one language each answer them all, and so does every steering, towards each target
    language (of the space, if nothing is asked in any). None: for all languages at once.
    """
    if isinstance(condition, Tuned):
        return list(sources_of(condition))
    steering = steered_of(condition)
    if steering is None or steering.part != "direction":
        return [None]
    asked = dict.fromkeys(each.lang for each in asking.targets)
    space = steering.space
    return list(asked or (lang for lang in space.languages if lang != space.central))


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
    centrals: list[Question] = field(init=False)
    variants: list[str | None] = field(init=False)
    tracker: Tracker = field(init=False)

    def __post_init__(self) -> None:
        asking = self.asking
        self.centrals = asked_centrally(asking, self.condition)
        self.variants = variants_of(asking, self.condition)
        targets = asking.targets
        if isinstance(self.condition, Tuned):
            targets = [each for lang in self.variants for each in asked_of(asking, lang)]
        rows = len(targets) + len(self.variants) * len(self.centrals)
        self.tracker = Tracker(self._tell, 0, rows, rows)

    def _tell(self, state: Progress) -> None:
        if self.show is not None:
            self.show(self.condition.name, state)

    def ask(
        self,
        model: Model,
        questions: Sequence[Question],
        *,
        row: Row | None = None,
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
            variant=variant,
            advance=lambda rows: self._answered(done + rows),
        )

    def _answered(self, rows: float) -> None:
        self.tracker.done = int(rows)
        self.tracker.answered(rows)


def _towards(steering: Steered, lang: str | None) -> Steering:
    """The steering towards a language; without one, it is the same for all of them."""
    space = steering.space
    return steering.towards(space.central if lang is None else language_in(space, lang))


def _fixed(model: Model, condition: Condition, lang: str | None) -> tuple[Intervention, ...]:
    """The interventions of a condition that are the same for all questions of a language."""
    if isinstance(condition, Intervened):
        return condition.condition.row
    steering = steered_of(condition)
    if steering is None:
        return ()
    return interventions_of(model, steering.space, _towards(steering, lang))


def _row(
    model: Model, condition: Condition, lang: str | None, edits: Row | None = None
) -> Row | None:
    """The interventions on each question: the same for all of them, then a transplant."""
    fixed = _fixed(model, condition, lang)
    if not fixed:
        return edits
    return lambda question: (*fixed, *(() if edits is None else edits(question)))


def _edits(asking: Asking, transplant: Transplanted | None, tracker: Tracker) -> Row | None:
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

    def row(question: Question) -> tuple[Intervention, ...]:
        layers = vectors.layers(question.item, true, component)
        return (Transplant(site, layers[source]),)

    return row


def _together(asking: Asking, steering: Steered | None) -> dict[str | None, list[Question]]:
    """The target questions that are answered in one go, by what they are steered towards."""
    if steering is None:
        return {None: asking.targets}
    found: dict[str | None, list[Question]] = {}
    for question in asking.targets:
        found.setdefault(question.lang, []).append(question)
    return found
