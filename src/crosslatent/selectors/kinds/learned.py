"""A model that learns on the tuning split which answer is right, from cheap features.

Logistic regression or gradient-boosted trees over the features of every possible answer; the answer
with the highest chance is taken. Settings are chosen by cross-validation over groups (items of one
cluster stay together), and that choice is itself inside an outer one, with the pairs to look at
ranked anew, so that the accuracy that fitting reports is not that of pairs and settings picked on
the same items (nested cross-validation, Varma and Simon 2006). ``without_aux`` leaves out the
answer to aux: with it, a selector can turn into translate-test. With ``other``, that answer is one
of those that can be taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.answer_features import (
    AnswerFeatures,
    Scorer,
    TakenAnswers,
    highest_scored,
)
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
    Selection,
    always,
    looking_cost,
)
from crosslatent.stats import Floats

Method = Literal["logistic", "boosting"]
Settings = Mapping[str, float]
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
        other: may answer with the answer to aux.
        folds: (outer, inner) of the nested cross-validation; fewer where there are few clusters.
        seed: of the boosting.
    """

    method: Method = "logistic"
    most: int | None = 8
    without_aux: bool = False
    other: bool = False
    folds: tuple[int, int] = (5, 3)
    seed: int = 0

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """Both methods: with the answer to aux, without it, and as one of the answers."""
        for method in _SETTINGS:
            yield cls(method)
            yield cls(method, without_aux=True)
            yield cls(method, other=True)

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
        rows = TakenAnswers(tuple(plain["languages"]), plain["with_aux"], plain.get("other", False))
        return _FittedLearned(pairs, rows, features, scorer, report)

    @property
    def name(self) -> str:
        """``learned-logistic-8-without-aux``."""
        parts = ["learned", self.method, str(self.most or "all")]
        return "-".join(parts + ["without-aux"] * self.without_aux + ["other"] * self.other)

    @property
    def about(self) -> str:
        """What it does."""
        way = "logistic regression" if self.method == "logistic" else "boosted trees"
        aux = ", without the answer to aux" if self.without_aux else ""
        aux += ", or the answer to aux" if self.other else ""
        return f"{way} over cheap features of {among(self.most)}{aux}"

    def fit(self, seen: Candidates, labels: Labels) -> _FittedLearned:
        """Choose settings by cross-validation over clusters, then fit on everything.

        Raises:
            UsageError: the split has no gold answers.
        """
        from threadpoolctl import threadpool_limits

        # Tables are small: threads wait for each other longer than they work.
        with threadpool_limits(1):
            return self._fit(seen, labels)

    def _fit(self, seen: Candidates, labels: Labels) -> _FittedLearned:
        places = ranked(seen, labels, self.most)
        rows = self._rows(seen)
        examples = rows.examples(seen, places, labels)
        settings = self._settings(examples)
        scorer = _fit(self.method, settings, examples, self.seed)
        report = {f"setting_{name}": float(value) for name, value in settings.items()}
        nested = self._nested(examples, seen, labels)
        if nested is not None:
            report["pilot_accuracy"] = nested
        return _FittedLearned(named(seen, places), rows, examples.names, scorer, report)

    def _rows(self, seen: Candidates) -> TakenAnswers:
        languages = tuple(sorted(set(seen.lang.tolist())))
        return TakenAnswers(languages, not self.without_aux, self.other)

    def _nested(self, whole: AnswerFeatures, seen: Candidates, labels: Labels) -> float | None:
        """Accuracy of what would be chosen, each fold by pairs and a fit that know it not."""
        right = np.full(len(seen), np.nan)
        for train, test in whole.folds(self.folds[0]):
            inside = np.zeros(len(seen), dtype=np.bool_)
            inside[train] = True
            places = ranked(seen, labels, self.most, items=inside)
            examples = self._rows(seen).examples(seen, places, labels)
            part = examples.take(train)
            scorer = _fit(self.method, self._settings(part), part, self.seed)
            unseen = examples.take(test)
            right[test] = unseen.chosen(unseen.scores(scorer))
        return mean_known(right)

    def _settings(self, examples: AnswerFeatures) -> Settings:
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
    """A learned scorer, what it scores, and the names of the features."""

    pairs: tuple[TransplantSpec, ...]
    rows: TakenAnswers
    features: tuple[str, ...]
    scorer: Scorer
    report: Mapping[str, float] = field(default_factory=dict)
    reads: Reads = field(default="answers", init=False)

    @property
    def cost(self) -> float:
        """The unmodified answer, the run over aux, and every candidate."""
        return looking_cost(len(self.pairs))

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that it was fitted on."""
        return self.rows.languages

    def choose(self, seen: Candidates) -> Selection:
        """The answer with the highest chance; the unmodified one first if several have it.

        Raises:
            UsageError: the features are not those that the scorer knows.
        """
        places = seen.places(self.pairs)
        from threadpoolctl import threadpool_limits

        examples = self.rows.examples(seen, places)
        if examples.names != self.features:
            raise UsageError(
                "The selector was fitted on other features than this version computes: fit it "
                "again with `crosslatent select`."
            )
        with threadpool_limits(1):  # as in `Learned.fit`
            best = highest_scored(examples.scores(self.scorer))
        choices = np.array([*self.rows.without, *places], dtype=np.int64)
        return always(choices[best], len(seen), self.cost)

    def state(self) -> SelectorState | None:
        """Weights as arrays; None for boosted trees, which scikit-learn can only pickle."""
        if not isinstance(self.scorer, _Logistic):
            return None
        plain = stored(
            self,
            languages=list(self.languages),
            features=list(self.features),
            with_aux=self.rows.with_aux,
            other=self.rows.other,
            intercept=self.scorer.intercept,
        )
        return SelectorState("learned", plain, {n: getattr(self.scorer, n) for n in _ARRAYS})


def _fit(method: Method, settings: Settings, examples: AnswerFeatures, seed: int) -> Scorer:
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

    model = HistGradientBoostingClassifier(
        max_depth=int(settings["max_depth"]),
        max_iter=int(settings["max_iter"]),
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(values, right)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)
