"""A model that learns on the tuning split which answer is right, from cheap features.

Logistic regression or gradient-boosted trees over the features of every possible answer; the answer
with the highest chance is taken. Settings are chosen by cross-validation over groups (items of one
cluster stay together), and that choice is itself inside an outer one, with the pairs to look at
ranked anew, so that the accuracy that fitting reports is not that of pairs and settings picked on
the same items (nested cross-validation, Varma and Simon 2006). ``without_aux`` leaves out the
answer to aux: with it, a selector can turn into translate-test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import (
    Candidates,
    Labels,
    Mask,
    Reads,
    Selection,
    Selector,
    SelectorState,
    always,
    looking_cost,
)
from crosslatent.selectors.features import Examples, example_labels, examples
from crosslatent.selectors.fixed import pair_of
from crosslatent.selectors.ranking import named, ranked
from crosslatent.selectors.registry import register_selector
from crosslatent.stats import Floats

Method = Literal["logistic", "boosting"]
Settings = Mapping[str, float]

_SETTINGS: Mapping[Method, Sequence[Settings]] = {
    "logistic": ({"C": 0.01}, {"C": 0.1}, {"C": 1.0}),
    "boosting": ({"max_depth": 1, "max_iter": 60}, {"max_depth": 3, "max_iter": 40}),
}


class Scorer(Protocol):
    """Chance of being right of one example a row, shape (n, features) -> (n,)."""

    def __call__(self, values: Floats) -> Floats:
        """Score every row."""
        ...


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
    def restored(cls, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedLearned:
        """The opposite of `FittedLearned.state`.

        Raises:
            UsageError: weights and features are not as many.
        """
        features = tuple(plain["features"])
        if len(features) != len(arrays["weights"]):
            raise UsageError(
                f"The saved selector has {len(arrays['weights'])} weights for {len(features)} "
                "features: its two files do not belong together."
            )
        scorer = Logistic(
            arrays["mean"], arrays["scale"], arrays["weights"], float(plain["intercept"])
        )
        pairs = tuple(pair_of(data) for data in plain["pairs"])
        languages = tuple(plain["languages"])
        return FittedLearned(
            pairs, languages, features, plain["with_aux"], scorer, dict(plain["report"])
        )

    @property
    def name(self) -> str:
        """``learned-logistic-8-without-aux``."""
        parts = ["learned", self.method, str(self.most or "all")]
        return "-".join(parts + ["without-aux"] * self.without_aux)

    @property
    def about(self) -> str:
        """What it does."""
        among = "all pairs" if self.most is None else f"the {self.most} best pilot pairs"
        way = "logistic regression" if self.method == "logistic" else "boosted trees"
        aux = ", without the answer to aux" if self.without_aux else ""
        return f"{way} over cheap features of {among}{aux}"

    def fit(self, seen: Candidates, labels: Labels) -> FittedLearned:
        """Choose settings by cross-validation over clusters, then fit on everything.

        Raises:
            UsageError: the split has no gold answers.
        """
        places = ranked(seen, labels, self.most or len(seen.pairs))
        languages = tuple(sorted(set(seen.lang.tolist())))
        data = self._data(seen, labels, places)
        settings = self._settings(data, self.folds[1])
        scorer = _fit(self.method, settings, data, self.seed)
        report = {f"setting_{name}": float(value) for name, value in settings.items()}
        nested = self._nested(data, seen, labels)
        if nested is not None:
            report["pilot_accuracy"] = nested
        return FittedLearned(
            named(seen, places), languages, data.cases.names, not self.without_aux, scorer, report
        )

    def _data(self, seen: Candidates, labels: Labels, places: Sequence[int]) -> _Data:
        languages = tuple(sorted(set(seen.lang.tolist())))
        cases = examples(seen, places, languages, with_aux=not self.without_aux)
        return _Data(cases, example_labels(labels, places), seen.cluster)

    def _nested(self, whole: _Data, seen: Candidates, labels: Labels) -> float | None:
        """Accuracy of what would be chosen, each fold by pairs and a fit that know it not."""
        right = np.full(len(seen), np.nan)
        for train, test in whole.folds(self.folds[0]):
            inside = np.zeros(len(seen), dtype=np.bool_)
            inside[train] = True
            most = self.most or len(seen.pairs)
            data = self._data(seen, labels, ranked(seen, labels, most, items=inside))
            part = data.take(train)
            scorer = _fit(self.method, self._settings(part, self.folds[1]), part, self.seed)
            right[test] = data.take(test).chosen(_scores(scorer, data.cases, test))
        return _mean(right)

    def _settings(self, data: _Data, folds: int) -> Settings:
        """The settings whose choices are right most often, in cross-validation; ties: the first."""
        every = _SETTINGS[self.method]
        splits = data.folds(folds)
        if len(every) == 1 or not splits:
            return every[0]
        found = []
        for settings in every:
            scores = np.full(data.right.shape, np.nan)
            for train, test in splits:
                scorer = _fit(self.method, settings, data.take(train), self.seed)
                scores[test] = _scores(scorer, data.cases, test)
            found.append(data.accuracy(scores) or 0.0)
        return every[int(np.argmax(found))]


@dataclass(frozen=True, slots=True)
class _Data:
    """Examples with what is right of them, shape (items, answers), and the items' clusters."""

    cases: Examples
    right: Floats
    cluster: NDArray[np.str_]

    def take(self, items: NDArray[np.intp]) -> _Data:
        cases = Examples(self.cases.values[items], self.cases.valid[items], self.cases.names)
        return _Data(cases, self.right[items], self.cluster[items])

    def folds(self, most: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Train and test items of each fold; none if there are too few clusters."""
        from sklearn.model_selection import GroupKFold

        number = min(most, len(set(self.cluster.tolist())))
        if number < 2:
            return []
        return list(GroupKFold(number).split(self.right, groups=self.cluster))

    def accuracy(self, scores: Floats) -> float | None:
        """Share of items whose highest-scored answer is right; None if none was scored."""
        return _mean(self.chosen(scores))

    def chosen(self, scores: Floats) -> Floats:
        """Right or wrong of the highest-scored answers, shape (items,); NaN if none was scored."""
        best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
        right = self.right[np.arange(len(best)), best]
        return np.where(np.isnan(scores).all(axis=1), np.nan, right)


@dataclass(frozen=True, slots=True)
class Logistic:
    """Logistic regression on standardised features.

    Attributes:
        mean, scale, weights: shape (features,).
        intercept: on the standardised features.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def __call__(self, values: Floats) -> Floats:
        """Chance of being right of every row, shape (n,)."""
        logits = ((values - self.mean) / self.scale) @ self.weights + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Boosting:
    """Gradient-boosted trees, which scikit-learn can only pickle: they are not saved."""

    model: Any

    def __call__(self, values: Floats) -> Floats:
        """Chance of being right of every row, shape (n,)."""
        return np.asarray(self.model.predict_proba(values)[:, 1], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class FittedLearned:
    """A learned scorer with what it looks at.

    Attributes:
        pairs: candidates.
        languages: those that have a feature.
        features: their names, in order.
        with_aux: whether the answer to aux is among them.
        scorer: chance of being right.
        report: what fitting measured beside: accuracy in nested cross-validation, settings.
    """

    pairs: tuple[TransplantSpec, ...]
    languages: tuple[str, ...]
    features: tuple[str, ...]
    with_aux: bool
    scorer: Scorer
    report: Mapping[str, float] = field(default_factory=dict)

    @property
    def reads(self) -> Reads:
        """Agreement is among the features."""
        return "answers"

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
        cases = examples(seen, places, self.languages, with_aux=self.with_aux)
        if cases.names != self.features:
            raise UsageError(
                "The selector was fitted on other features than this version computes: fit it "
                "again with `crosslatent select`."
            )
        scores = _scores(self.scorer, cases, np.arange(len(seen)))
        best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
        choice = np.array([-1, *places], dtype=np.int64)[best]
        return always(choice, len(seen), self.cost)

    def state(self) -> SelectorState | None:
        """Weights as arrays; None for boosted trees."""
        if not isinstance(self.scorer, Logistic):
            return None
        plain = {
            "pairs": [asdict(pair) for pair in self.pairs],
            "languages": list(self.languages),
            "features": list(self.features),
            "with_aux": self.with_aux,
            "intercept": self.scorer.intercept,
            "report": dict(self.report),
        }
        names = ("mean", "scale", "weights")
        return SelectorState("learned", plain, {name: getattr(self.scorer, name) for name in names})


def _mean(right: Floats) -> float | None:
    """Share of what is known to be right or wrong; None if nothing is."""
    known = right[~np.isnan(right)]
    return float(known.mean()) if len(known) else None


def _scores(scorer: Scorer, cases: Examples, items: NDArray[Any]) -> Floats:
    """Chances of the answers to some items, shape (items, answers); NaN where there is none."""
    values = cases.values[items]
    flat = scorer(values.reshape(-1, values.shape[-1])).reshape(values.shape[:2])
    return np.where(cases.valid[items], flat, np.nan)


def _fit(method: Method, settings: Settings, data: _Data, seed: int) -> Scorer:
    """Fit on every answer that is there and judged.

    Raises:
        UsageError: there is none.
    """
    known: Mask = data.cases.valid & ~np.isnan(data.right)
    values, right = data.cases.values[known], data.right[known]
    if not len(right):
        raise UsageError("The tuning split has no rows with gold answers: sweep it first.")
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    if right.min() == right.max():
        return Logistic(mean, scale, np.zeros(len(mean)), 0.0)  # nothing to tell apart
    if method == "boosting":
        return _boosted(settings, values, right, seed)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=settings["C"], max_iter=300).fit((values - mean) / scale, right)
    return Logistic(mean, scale, np.asarray(fitted.coef_[0]), float(fitted.intercept_[0]))


def _boosted(settings: Settings, values: Floats, right: Floats, seed: int) -> Boosting:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_depth=int(settings["max_depth"]),
        max_iter=int(settings["max_iter"]),
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
    return Boosting(model.fit(values, right))
