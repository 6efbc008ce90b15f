"""A model that learns on the tuning split which answer is right, from cheap features.

Logistic regression or gradient-boosted trees over the features of every possible answer; the answer
with the highest chance is taken. Settings are chosen by cross-validation over groups (items of one
cluster stay together), and that choice is itself inside an outer one, with the pairs to look at
ranked anew, so that the accuracy that fitting reports is not that of pairs and settings picked on
the same items (nested cross-validation, Varma and Simon 2006). ``without_aux`` leaves out the
answer to aux: with it, a selector can turn into translate-test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import COMPONENTS, TransplantSpec
from crosslatent.selectors.base import (
    Reads,
    Selector,
    SelectorState,
    among,
    mean_known,
    named,
    ranked,
    register_selector,
    restored_parts,
    stored,
)
from crosslatent.selectors.candidates import (
    Candidates,
    Labels,
    Mask,
    Places,
    Selection,
    Steps,
    always,
    looking_cost,
)
from crosslatent.selectors.signals import MEASURES, signals, top_probability
from crosslatent.stats import Floats

Method = Literal["logistic", "boosting"]
Settings = Mapping[str, float]
Scorer = Callable[[Floats], Floats]
"""Chance of being right of one example a row, shape (n, features) -> (n,)."""

_SETTINGS: Mapping[Method, Sequence[Settings]] = {
    "logistic": ({"C": 0.01}, {"C": 0.1}, {"C": 1.0}),
    "boosting": ({"max_depth": 1, "max_iter": 60}, {"max_depth": 3, "max_iter": 40}),
}
_ARRAYS = ("mean", "scale", "weights")


@register_selector("learned")
@dataclass(frozen=True, slots=True)
class Learned(Selector):
    """Learn which answer is right.

    Attributes:
        method: ``logistic`` or ``boosting``.
        most: candidates looked at, the best pairs of the tuning split; None = all.
        without_aux: leave out what is known of the answer to aux.
        folds: (outer, inner) of the nested cross-validation; fewer where there are few clusters.
        seed: of the boosting.
    """

    method: Method = "logistic"
    most: int | None = 8
    without_aux: bool = False
    folds: tuple[int, int] = (5, 3)
    seed: int = 0

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """Both methods, with and without the answer to aux."""
        for method in _SETTINGS:
            yield cls(method)
            yield cls(method, without_aux=True)

    @classmethod
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> _FittedLearned:
        """The opposite of `_FittedLearned.state`.

        Raises:
            ValueError: there is not one weight for each feature.
        """
        features = tuple(plain["features"])
        pairs, report = restored_parts(plain, arrays["weights"], len(features), "features")
        mean, scale, weights = (arrays[name] for name in _ARRAYS)
        scorer = _Logistic(mean, scale, weights, float(plain["intercept"]))
        return _FittedLearned(
            pairs, tuple(plain["languages"]), features, plain["with_aux"], scorer, report
        )

    @property
    def name(self) -> str:
        """``learned-logistic-8-without-aux``."""
        parts = ["learned", self.method, str(self.most or "all")]
        return "-".join(parts + ["without-aux"] * self.without_aux)

    @property
    def about(self) -> str:
        """What it does."""
        way = "logistic regression" if self.method == "logistic" else "boosted trees"
        aux = ", without the answer to aux" if self.without_aux else ""
        return f"{way} over cheap features of {among(self.most)}{aux}"

    def fit(self, seen: Candidates, labels: Labels) -> _FittedLearned:
        """Choose settings by cross-validation over clusters, then fit on everything.

        Raises:
            UsageError: the split has no gold answers.
        """
        places = ranked(seen, labels, self.most)
        languages = tuple(sorted(set(seen.lang.tolist())))
        examples = self._examples(seen, labels, places)
        settings = self._settings(examples)
        scorer = _fit(self.method, settings, examples, self.seed)
        report = {f"setting_{name}": float(value) for name, value in settings.items()}
        nested = self._nested(examples, seen, labels)
        if nested is not None:
            report["pilot_accuracy"] = nested
        pairs, with_aux = named(seen, places), not self.without_aux
        return _FittedLearned(pairs, languages, examples.names, with_aux, scorer, report)

    def _examples(self, seen: Candidates, labels: Labels, places: Sequence[int]) -> _Examples:
        languages = sorted(set(seen.lang.tolist()))
        right = np.column_stack([labels.vanilla, labels.correct[:, list(places)]])
        return _examples(seen, places, languages, with_aux=not self.without_aux, right=right)

    def _nested(self, whole: _Examples, seen: Candidates, labels: Labels) -> float | None:
        """Accuracy of what would be chosen, each fold by pairs and a fit that know it not."""
        right = np.full(len(seen), np.nan)
        for train, test in whole.folds(self.folds[0]):
            inside = np.zeros(len(seen), dtype=np.bool_)
            inside[train] = True
            examples = self._examples(seen, labels, ranked(seen, labels, self.most, items=inside))
            part = examples.take(train)
            scorer = _fit(self.method, self._settings(part), part, self.seed)
            unseen = examples.take(test)
            right[test] = unseen.chosen(unseen.scores(scorer))
        return mean_known(right)

    def _settings(self, examples: _Examples) -> Settings:
        """The settings whose choices are right most often, in cross-validation; ties: the first."""
        splits = examples.folds(self.folds[1])
        accuracies = []
        for settings in _SETTINGS[self.method] if splits else ():
            scores = np.full(examples.right.shape, np.nan)
            for train, test in splits:
                scorer = _fit(self.method, settings, examples.take(train), self.seed)
                scores[test] = examples.take(test).scores(scorer)
            accuracies.append(mean_known(examples.chosen(scores)) or 0.0)
        return _SETTINGS[self.method][int(np.argmax(accuracies)) if splits else 0]


@dataclass(frozen=True, slots=True)
class _Examples:
    """Possible answers with their features; column 0 is the unmodified answer.

    Attributes:
        values: shape (items, answers, features); what is not known is 0.
        valid: which answers there are, shape (items, answers).
        right: what is right of them, same shape; NaN = not known.
        cluster: of the items.
        names: of the features.
    """

    values: Floats
    valid: Mask
    right: Floats
    cluster: NDArray[np.str_]
    names: tuple[str, ...]

    def take(self, items: NDArray[np.intp]) -> _Examples:
        parts = (self.values[items], self.valid[items], self.right[items], self.cluster[items])
        return _Examples(*parts, self.names)

    def folds(self, most: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Train and test items of each fold; none if there are too few clusters."""
        from sklearn.model_selection import GroupKFold

        number = min(most, len(set(self.cluster.tolist())))
        if number < 2:
            return []
        return list(GroupKFold(number).split(self.right, groups=self.cluster))

    def scores(self, scorer: Scorer) -> Floats:
        """Chances of the answers, shape (items, answers); NaN where there is none."""
        flat = scorer(self.values.reshape(-1, self.values.shape[-1]))
        return np.where(self.valid, flat.reshape(self.valid.shape), np.nan)

    def chosen(self, scores: Floats) -> Floats:
        """Right or wrong of the highest-scored answers, shape (items,); NaN if none was scored."""
        best = _highest(scores)
        right = self.right[np.arange(len(best)), best]
        return np.where(np.isnan(scores).all(axis=1), np.nan, right)


@dataclass(frozen=True, slots=True)
class _Logistic:
    """Logistic regression on standardised features; arrays of shape (features,)."""

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def __call__(self, values: Floats) -> Floats:
        logits = ((values - self.mean) / self.scale) @ self.weights + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _FittedLearned:
    """A learned scorer with the names of its features, and the languages that have one."""

    pairs: tuple[TransplantSpec, ...]
    languages: tuple[str, ...]
    features: tuple[str, ...]
    with_aux: bool
    scorer: Scorer
    report: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = field(default="answers", init=False)

    @property
    def cost(self) -> float:
        """The unmodified answer, the run over aux, and every candidate."""
        return looking_cost(len(self.pairs))

    def choose(self, seen: Candidates) -> Selection:
        """The answer with the highest chance; the unmodified one first if several have it.

        Raises:
            UsageError: the features are not those that the scorer knows.
        """
        places = seen.places(self.pairs)
        examples = _examples(seen, places, self.languages, with_aux=self.with_aux)
        if examples.names != self.features:
            raise UsageError(
                "The selector was fitted on other features than this version computes: fit it "
                "again with `crosslatent select`."
            )
        best = _highest(examples.scores(self.scorer))
        return always(np.array([-1, *places], dtype=np.int64)[best], len(seen), self.cost)

    def state(self) -> SelectorState | None:
        """Weights as arrays; None for boosted trees, which scikit-learn can only pickle."""
        if not isinstance(self.scorer, _Logistic):
            return None
        plain = stored(
            self,
            languages=list(self.languages),
            features=list(self.features),
            with_aux=self.with_aux,
            intercept=self.scorer.intercept,
        )
        return SelectorState("learned", plain, {n: getattr(self.scorer, n) for n in _ARRAYS})


def _highest(scores: Floats) -> NDArray[np.intp]:
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1))


def _fit(method: Method, settings: Settings, examples: _Examples, seed: int) -> Scorer:
    """Fit on every answer that is there and judged.

    Raises:
        UsageError: there is none.
    """
    known: Mask = examples.valid & ~np.isnan(examples.right)
    values, right = examples.values[known], examples.right[known]
    if not len(right):
        raise UsageError("The tuning split has no rows with gold answers: sweep it first.")
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    if right.min() == right.max():
        return _Logistic(mean, scale, np.zeros(len(mean)), 0.0)  # nothing to tell apart
    if method == "boosting":
        return _boosted(settings, values, right, seed)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=settings["C"], max_iter=300).fit((values - mean) / scale, right)
    return _Logistic(mean, scale, np.asarray(fitted.coef_[0]), float(fitted.intercept_[0]))


def _boosted(settings: Settings, values: Floats, right: Floats, seed: int) -> Scorer:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_depth=int(settings["max_depth"]),
        max_iter=int(settings["max_iter"]),
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
    # Tables are small: threads wait for each other longer than they work.
    with threadpool_limits(1, "openmp"):
        model.fit(values, right)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)


def _examples(
    seen: Candidates,
    places: Sequence[int],
    languages: Sequence[str],
    *,
    with_aux: bool,
    right: Floats | None = None,
) -> _Examples:
    """Features of the unmodified answer and of some candidates (-1 for one that is not there).

    `languages` are those with a feature of their own; `right` has shape (items, 1 + candidates).
    """
    columns = [max(place, 0) for place in places]
    there = np.array([place >= 0 for place in places], dtype=np.bool_)
    answers = np.column_stack([seen.vanilla.answer, seen.steps.answer[:, columns]])
    valid = np.column_stack([np.ones(len(seen), np.bool_), seen.ran[:, columns] & there])
    features: dict[str, Floats] = {}
    for measure in MEASURES:
        vanilla, candidates = signals(seen, measure)
        features[measure] = np.column_stack([vanilla, candidates[:, columns]])
        features[f"{measure}_change"] = features[measure] - vanilla[:, None]
    features |= _agreement(seen, answers, valid)
    features |= _of_aux(seen, answers) if with_aux else {}
    features |= _of_pairs(seen, named(seen, columns))
    features |= {f"lang_{lang}": _spread(seen.lang == lang, answers.shape) for lang in languages}
    values = np.nan_to_num(np.stack(list(features.values()), axis=-1))
    known = np.full(answers.shape, np.nan) if right is None else right
    return _Examples(values, valid, known, seen.cluster, tuple(features))


def _agreement(seen: Candidates, answers: Places, valid: Mask) -> dict[str, Floats]:
    """Whether an answer names anything, and which share of the others gives it."""
    given = answers >= 0
    same = answers[:, :, None] == answers[:, None, :]
    voters = (valid & given)[:, None, :]
    share = (same & voters).sum(axis=2) / np.maximum(voters.sum(axis=2), 1)
    return {
        "named": given.astype(np.float64),
        "agrees_vanilla": _equal(answers, seen.vanilla.answer),
        "vanilla_probability": _probability(seen.vanilla, answers),
        "agreeing": np.where(given, share, 0.0),
    }


def _of_aux(seen: Candidates, answers: Places) -> dict[str, Floats]:
    """What is known of the answer to aux: with it, a selector can turn into translate-test."""
    agrees = _equal(seen.vanilla.answer[:, None], seen.aux.answer)
    return {
        "agrees_aux": _equal(answers, seen.aux.answer),
        "aux_probability": _probability(seen.aux, answers),
        "aux_sure": _spread(top_probability(seen.aux), answers.shape),
        "aux_agrees_vanilla": _spread(agrees[:, 0], answers.shape),
    }


def _of_pairs(seen: Candidates, pairs: Sequence[TransplantSpec]) -> dict[str, Floats]:
    """Where the transplant is: relative layers and component; 0 for the unmodified answer."""
    last = max(seen.n_layers - 1, 1)
    rows = {
        "unmodified": [1.0, *(0.0 for _ in pairs)],
        "source": [0.0, *(pair.source / last for pair in pairs)],
        "target": [0.0, *(pair.target / last for pair in pairs)],
    }
    for component in COMPONENTS:
        rows[component] = [0.0, *(float(pair.component == component) for pair in pairs)]
    for pair in pairs:
        # How good a pair is is no line along its layers: each of the few may have its own level.
        name = f"pair_{pair.component}_{pair.source}_{pair.target}"
        rows[name] = [0.0, *(float(pair == other) for other in pairs)]
    shape = (len(seen), 1 + len(pairs))
    return {name: np.broadcast_to(np.array(row), shape) for name, row in rows.items()}


def _equal(answers: Places, other: Places) -> Floats:
    """Whether answers, shape (items, k), name what another one of the item names."""
    same: Mask = (answers == other[:, None]) & (answers >= 0)
    return same.astype(np.float64)


def _probability(steps: Steps, answers: Places) -> Floats:
    """Probability that a distribution over the options gives to other rows' answers."""
    if not steps.options.shape[-1]:
        return np.zeros(answers.shape)
    inside = (answers >= 0) & (answers < steps.options.shape[-1])
    values = np.take_along_axis(steps.options, np.where(inside, answers, 0), axis=1)
    return np.where(inside, np.nan_to_num(values), 0.0)


def _spread(values: Floats | Mask, shape: tuple[int, ...]) -> Floats:
    """A value of each item for all of its answers."""
    return np.broadcast_to(values[:, None].astype(np.float64), shape)
