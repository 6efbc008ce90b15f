"""Runs the protocol on the shipped model, with the package itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from crosslatent.analysis.pair_choice import pilot_pair
from crosslatent.core.specs import COMPONENTS, check_component
from crosslatent.lens import Space, Trained, TrainSpec, evaluate, probe, train, train_answers
from crosslatent.lens.evaluation.evaluated_conditions import Condition, Steered, Transplanted, Tuned
from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.lens.text_streams import parallel_of_items, texts_of_items
from crosslatent.model import shipped_model
from crosslatent.runs import RunReader
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


NOTHING = "nothing: no setting was better"
"""The setting of a method of which the unmodified model was the best on `CHOOSE`."""

_CHOSEN, _NEXT = "chosen", "best that does something"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting that was chosen, and why.

    Attributes:
        name: of the method.
        setting: in words.
        tried: settings that were tried.
        target: accuracy on `CHOOSE`.
        central: likewise, in the central language; None where it was not measured.
        make: gives the condition for a seed; one that has no seed gives the same for all. None
            where nothing was chosen, and the answers are the unmodified ones.
        seeded: whether a seed changes anything.
    """

    name: str
    setting: str
    tried: int
    target: float
    central: float | None
    make: Callable[[int], Condition] | None
    seeded: bool


@dataclass(frozen=True, slots=True)
class Best:
    """The best of some settings on `CHOOSE`, beside the unmodified model.

    Attributes:
        at: which.
        target, central: its accuracy.
        nothing: the unmodified model's, target and central.
    """

    at: int
    target: float
    central: float | None
    nothing: tuple[float, float]

    @property
    def better(self) -> bool:
        """Whether it has more right answers than the unmodified model; if not, nothing is done."""
        return self.target > self.nothing[0]


class Study:
    """The shipped model, its questions by split, and its space."""

    def __init__(self) -> None:
        """Load model and task."""
        self.model = shipped_model()
        self.task = load_task(TASK)
        self.losses: dict[str, list[Mapping[str, float]]] = {}
        """Method -> held-out terms before training and after, of the first seed."""
        self._trained: dict[tuple[str, str], Trained] = {}
        self._cache = TemporaryDirectory(prefix="lens-study-")

    def split(self, name: str) -> Task:
        """The questions of one split."""
        return self.task.select(splits=(name,))

    @cached_property
    def space(self) -> Space:
        """Language subspaces, from the questions of `TRAIN`."""
        items = self.split(TRAIN).items
        languages = (CENTRAL, *dict.fromkeys(item.lang for item in items))
        return probe(self.model, texts_of_items(items, languages), central=CENTRAL)

    def judged(self, conditions: Sequence[Condition], task: Task, **more: Any) -> Evaluation:
        """Conditions on questions."""
        return evaluate(self.model, conditions, task, **more)

    def trained(self, method: Method, spec: TrainSpec) -> Trained:
        """The model, trained on the questions of `TRAIN`; once for each setting and seed."""
        key = (method.objective, repr(spec))  # some of its fields are mappings
        if key not in self._trained:
            _LOG.info("training: %s, %s", method.name, spec)
            self._trained[key] = self._train(method.objective, spec)
        return self._trained[key]

    def _train(self, objective: str, spec: TrainSpec) -> Trained:
        items, cache = self.split(TRAIN).items, Path(self._cache.name)
        if objective == "answers":
            return train_answers(self.model, items, spec=spec, cache=cache)
        rows = parallel_of_items(items)
        return train(self.model, self.space, rows, central=CENTRAL, spec=spec, cache=cache)

    def chosen(self) -> Iterator[Chosen]:
        """One setting of every method, the best on `CHOOSE`."""
        yield from self._steering()
        for method in methods():
            yield from self._training(method)
        yield from self._transplant()

    def report(self, chosen: Sequence[Chosen]) -> dict[int, Evaluation]:
        """The final questions, by seed; divergence on the central prompts of `CHOOSE`."""
        texts = list(dict.fromkeys(item.aux for item in self.split(CHOOSE).items))
        found = {}
        for seed in SEEDS:
            asked = [one for one in chosen if one.seeded or seed == SEEDS[0]]
            conditions = [one.make(seed) for one in asked if one.make is not None]
            found[seed] = self.judged(conditions, self.split(REPORT), central_texts=texts)
        return found

    def _training(self, method: Method) -> Iterator[Chosen]:
        specs = [self._limited(method, spec) for spec in method.settings]
        tried = [self.trained(method, spec) for spec in specs]
        best = self._best([Tuned(str(at), one.model) for at, one in enumerate(tried)])
        spec = specs[best.at]

        def maker(name: str) -> Callable[[int], Condition]:
            def make(seed: int) -> Condition:
                trained = self.trained(method, replace(spec, seed=seed))
                held_out = trained.record.points("held_out")
                self.losses.setdefault(name, [held_out[0].terms, held_out[-1].terms])
                return Tuned(name, trained.model)

            return make

        setting = f"learning rate {spec.lr:g}, {tried[best.at].record.steps} steps"
        yield from _rows(method.name, setting, len(specs), best, maker, seeded=True)

    def _limited(self, method: Method, spec: TrainSpec) -> TrainSpec:
        """As many steps for answers as for Lens, where a row is a fact in all its languages."""
        if method.objective == "lens":
            return spec
        rows = len(list(parallel_of_items(self.split(TRAIN).items)))
        kept = rows - round(rows * spec.held_out)
        return replace(spec, max_steps=spec.epochs * -(-kept // spec.batch_size))

    def _steering(self) -> Iterator[Chosen]:
        tried = [
            Steered(f"{part} {layer} {alpha}", self.space, alpha, (layer,), cast(Any, part))
            for part, alphas in STEER_ALPHAS.items()
            for layer in range(self.model.n_layers)
            for alpha in alphas
        ]
        best = self._best(tried)
        one = tried[best.at]
        setting = f"{one.part}, block {one.layers[0]}, alpha {one.alpha:g}"

        def maker(name: str) -> Callable[[int], Condition]:
            return lambda _: Steered(name, self.space, one.alpha, one.layers, one.part)

        yield from _rows("steering, chosen", setting, len(tried), best, maker, seeded=False)

    def _transplant(self) -> Iterator[Chosen]:
        """The pair with most right answers on `TRAIN`; which component, `CHOOSE` decides."""
        pairs = [self._pair(component) for component in _COMPONENTS]
        best = self._best(pairs)
        one = pairs[best.at]
        setting = f"{one.component}, block {one.source} to block {one.target}"
        tried = self.model.n_layers**2 * len(_COMPONENTS)

        def maker(name: str) -> Callable[[int], Condition]:
            return lambda _: Transplanted(name, one.component, one.source, one.target)

        yield from _rows("XTransplant, chosen", setting, tried, best, maker, seeded=False)

    def _pair(self, component: str) -> Transplanted:
        assert component in COMPONENTS
        with TemporaryDirectory() as folder:
            spec = SweepSpec(component=(component,), pairs="all")
            run = run_sweep(self.model, self.split(TRAIN), spec, Path(folder) / "run")
            pair = pilot_pair(RunReader(run.path), check_component(component), split=TRAIN)
        return Transplanted(component, component, pair.source, pair.target)

    def _best(self, conditions: Sequence[Condition]) -> Best:
        """Most right answers in the target languages, among those that keep the central one.

        The central questions are asked from the best in the target languages downwards, until one
        setting keeps them; where they cannot be asked, they decide nothing.
        """
        whole = self.split(CHOOSE)
        bare = replace(whole, items=tuple(replace(item, aux="") for item in whole.items))
        paired = any(isinstance(one, Transplanted) for one in conditions)
        first, *tried = self.judged(conditions, whole if paired else bare).conditions
        right = [_known(one, ALL) for one in tried]
        for one, target in zip(tried, right, strict=True):
            _LOG.info("%s: %.3f", one.name, target)
        found: list[Best] = []
        for at in sorted(range(len(tried)), key=lambda at: -right[at]):
            before, after = self.judged([conditions[at]], whole).conditions
            nothing, central = _known(before, CENTRAL), _value(after, CENTRAL)
            found.append(Best(at, right[at], central, (_known(first, ALL), nothing)))
            _LOG.info("%s: %s of the central questions", after.name, central)
            if central is None or central >= nothing - MOST_LOST:
                return found[-1]
        # With no setting that keeps it, the one that loses least.
        return max(found, key=lambda one: one.central or 0.0)


def _rows(
    name: str,
    setting: str,
    tried: int,
    best: Best,
    maker: Callable[[str], Callable[[int], Condition]],
    *,
    seeded: bool,
) -> Iterator[Chosen]:
    """What is reported: the chosen setting; if it is to do nothing, the best of the others too.

    A method with one setting has nothing to choose.
    """
    if best.better or _CHOSEN not in name:
        yield Chosen(name, setting, tried, best.target, best.central, maker(name), seeded)
        return
    yield Chosen(name, NOTHING, tried, *best.nothing, None, seeded=False)
    other = name.replace(_CHOSEN, _NEXT)
    yield Chosen(other, setting, tried, best.target, best.central, maker(other), seeded)


def _value(result: ConditionResult, lang: str) -> float | None:
    found = result.accuracy.get(lang)
    return None if found is None else found.value


def _known(result: ConditionResult, lang: str) -> float:
    value = _value(result, lang)
    assert value is not None, "every question of the shipped tasks has a gold answer"
    return value
