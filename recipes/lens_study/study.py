"""Runs the protocol on the shipped model, with the package itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from crosslatent.demo import shipped_model
from crosslatent.lens import Space, Trained, TrainSpec, evaluate, probe, train, train_answers
from crosslatent.lens.evaluation.conditions import Condition, Steered, Transplanted, Tuned
from crosslatent.lens.evaluation.results import ALL, ConditionResult, Evaluation
from crosslatent.lens.texts.streams import parallel_of_items, texts_of_items
from crosslatent.select import pilot_pair
from crosslatent.specs import COMPONENTS, check_component
from crosslatent.store import RunReader
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Task, load_task
from recipes.lens_study.protocol import (
    CENTRAL,
    CHOOSE,
    MOST_LOST,
    REPORT,
    SEEDS,
    STEER_ALPHAS,
    TASK,
    TRAIN,
    Method,
    methods,
)

_COMPONENTS = ("ffn", "attn")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting that was chosen, and why.

    Attributes:
        name: of the method.
        setting: in words.
        tried: settings that were tried.
        target, central: accuracy on `CHOOSE`.
        make: gives the condition for a seed; one that has no seed gives the same for all.
        seeded: whether a seed changes anything.
    """

    name: str
    setting: str
    tried: int
    target: float
    central: float
    make: Callable[[int], Condition]
    seeded: bool


class Study:
    """The shipped model, its questions by split, and its space."""

    def __init__(self) -> None:
        """Load model and task."""
        self.model = shipped_model()
        self.task = load_task(TASK)
        self.losses: dict[str, list[Mapping[str, float]]] = {}
        """Method -> held-out terms before training and after, of the first seed."""

    def split(self, name: str) -> Task:
        """The questions of one split."""
        return self.task.select(splits=(name,))

    @cached_property
    def space(self) -> Space:
        """Language subspaces, from the questions of `TRAIN`."""
        items = self.split(TRAIN).items
        languages = (CENTRAL, *dict.fromkeys(item.lang for item in items))
        return probe(self.model, texts_of_items(items, languages), central=CENTRAL)

    def judged(self, conditions: Sequence[Condition], split: str, **more: Any) -> Evaluation:
        """Conditions on the questions of one split."""
        return evaluate(self.model, conditions, self.split(split), **more)

    def trained(self, method: Method, spec: TrainSpec) -> Trained:
        """The model, trained on the questions of `TRAIN`."""
        items = self.split(TRAIN).items
        if method.objective == "answers":
            return train_answers(self.model, items, spec=spec)
        return train(self.model, self.space, parallel_of_items(items), central=CENTRAL, spec=spec)

    def chosen(self) -> Iterator[Chosen]:
        """One setting of every method, the best on `CHOOSE`."""
        yield self._steering()
        for method in methods():
            yield self._training(method)
        yield self._transplant()

    def report(self, chosen: Sequence[Chosen]) -> dict[int, Evaluation]:
        """The final questions, by seed; divergence on the central prompts of `CHOOSE`."""
        texts = list(dict.fromkeys(item.aux for item in self.split(CHOOSE).items))
        found = {}
        for seed in SEEDS:
            asked = [one for one in chosen if one.seeded or seed == SEEDS[0]]
            conditions = [one.make(seed) for one in asked]
            found[seed] = self.judged(conditions, REPORT, central_texts=texts)
        return found

    def _training(self, method: Method) -> Chosen:
        specs = method.settings
        conditions = [
            Tuned(str(at), self.trained(method, spec).model) for at, spec in enumerate(specs)
        ]
        best, found = self._best(conditions)
        spec = specs[best]

        def make(seed: int) -> Condition:
            trained = self.trained(method, replace(spec, seed=seed))
            held_out = trained.record.points("held_out")
            ends = [held_out[0].terms, held_out[-1].terms]
            self.losses.setdefault(method.name, ends)
            return Tuned(method.name, trained.model)

        setting = f"learning rate {spec.lr:g}, {spec.epochs} epoch{'s' * (spec.epochs > 1)}"
        return _chosen(method.name, setting, len(specs), found, make, seeded=True)

    def _steering(self) -> Chosen:
        tried = [
            Steered(f"{part} {layer} {alpha}", self.space, alpha, (layer,), cast(Any, part))
            for part, alphas in STEER_ALPHAS.items()
            for layer in range(self.model.n_layers)
            for alpha in alphas
        ]
        best, found = self._best(tried)
        one = tried[best]
        setting = f"{one.part}, block {one.layers[0]}, alpha {one.alpha:g}"
        same = Steered("steering, chosen", self.space, one.alpha, one.layers, one.part)
        return _chosen("steering, chosen", setting, len(tried), found, lambda _: same, seeded=False)

    def _transplant(self) -> Chosen:
        """The pair with most right answers on `TRAIN`; which component, `CHOOSE` decides."""
        pairs = [self._pair(component) for component in _COMPONENTS]
        best, found = self._best(pairs)
        one = pairs[best]
        setting = f"{one.component}, block {one.source} to block {one.target}"
        same = Transplanted("XTransplant, chosen", one.component, one.source, one.target)
        tried = self.model.n_layers**2 * len(_COMPONENTS)
        return _chosen("XTransplant, chosen", setting, tried, found, lambda _: same, seeded=False)

    def _pair(self, component: str) -> Transplanted:
        assert component in COMPONENTS
        with TemporaryDirectory() as folder:
            spec = SweepSpec(components=(component,), pairs="all")
            run = run_sweep(self.model, self.split(TRAIN), spec, Path(folder) / "run")
            pair = pilot_pair(RunReader(run.path), check_component(component), split=TRAIN)
        return Transplanted(component, component, pair.source, pair.target)

    def _best(self, conditions: Sequence[Condition]) -> tuple[int, ConditionResult]:
        """Most right answers in the target languages, among those that keep the central one."""
        results = self.judged(conditions, CHOOSE).conditions
        unmodified, tried = results[0], results[1:]
        least = _value(unmodified, CENTRAL) - MOST_LOST
        for one in tried:
            _LOG.info("%s: %.3f %.3f", one.name, _value(one, ALL), _value(one, CENTRAL))
        kept = [at for at, one in enumerate(tried) if _value(one, CENTRAL) >= least]
        # With no setting that keeps it, the one that loses least.
        ranked = kept or [max(range(len(tried)), key=lambda at: _value(tried[at], CENTRAL))]
        best = max(ranked, key=lambda at: _value(tried[at], ALL))
        return best, tried[best]


def _chosen(
    name: str,
    setting: str,
    tried: int,
    found: ConditionResult,
    make: Callable[[int], Condition],
    *,
    seeded: bool,
) -> Chosen:
    target, central = _value(found, ALL), _value(found, CENTRAL)
    return Chosen(name, setting, tried, target, central, make, seeded)


def _value(result: ConditionResult, lang: str) -> float:
    value = result.accuracy[lang].value
    assert value is not None, "every question of the shipped tasks has a gold answer"
    return value
