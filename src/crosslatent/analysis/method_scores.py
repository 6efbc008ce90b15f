"""Methods of a comparison, scored from its run folder: gains, intervals, tests, English, price.

Every method is compared with the unmodified model on the same questions; p-values are corrected
for all methods (Holm). Intervals resample facts, and seeds where a method has several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from crosslatent.analysis.gain_split import GainPart
from crosslatent.analysis.inference import LEVEL
from crosslatent.analysis.method_rows import VANILLA, MethodRows
from crosslatent.stats import (
    Estimate,
    Floats,
    cluster_permutation,
    clustered_mean,
    holm,
    paired_difference,
)

LEAGUES = ("given", "made", "none")
MARGIN = 0.02
"""Of non-inferiority in English: 2 points."""
_ONE_SIDED = 0.90
"""Confidence of a two-sided interval whose ends are one-sided at 95 %."""
_RESAMPLES = 2000
_BOTH = "percentile bootstrap over facts and seeds"

Kept = Literal["kept", "lost", "undecided"]


@dataclass(frozen=True, slots=True)
class MethodScore:
    """One method on the test questions.

    Attributes:
        control: a control of another method: never the best, and not in the correction.
        reason: why it has no figures; then all estimates are None.
        accuracy: share of right answers; `change`: minus the unmodified model's, same questions.
        p_value: of the change; `holm`: corrected for all methods. None if nothing changed.
        repaired, broken: wrong -> right and right -> wrong, of the first seed.
        by_language: change in each language.
        english: accuracy on the English prompts; `english_change`: minus the unmodified model's.
        kept: whether English accuracy is within `MARGIN`, one-sided at 95 %.
        kl: divergence from the unmodified model on English prompts, nats per token.
        fidelity: share of answers in the language of the question.
        unnamed: share of answers that name no option.
        behind: the best of its league minus it; None for the best, and where there is none.
        peak_bytes: most memory beside the model's, to learn or to answer; None if not known.
        relative_tokens: tokens through the model for an answer, relative to the unmodified model.
    """

    name: str
    title: str
    league: str
    about: str
    source: str
    control: bool = False
    reason: str = ""
    accuracy: Estimate | None = None
    change: Estimate | None = None
    p_value: float | None = None
    holm: float | None = None
    repaired: int = 0
    broken: int = 0
    by_language: Mapping[str, Estimate] = field(default_factory=dict)
    english: Estimate | None = None
    english_change: Estimate | None = None
    kept: Kept | None = None
    kl: float | None = None
    fidelity: Estimate | None = None
    unnamed: float | None = None
    behind: Estimate | None = None
    seeds: int = 1
    tried: int = 0
    chosen: Sequence[Mapping[str, Any]] = ()
    fit_seconds: float | None = None
    answer_seconds: float | None = None
    tokens: float | None = None
    relative_tokens: float | None = None
    peak_bytes: int | None = None
    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    left_out: int = 0
    notes: Sequence[str] = ()

    @property
    def is_better(self) -> bool:
        """Shown to be better than the unmodified model."""
        below = self.holm is not None and self.holm < LEVEL
        return below and self.change is not None and self.change.above_zero

    @property
    def is_worse(self) -> bool:
        """Shown to be worse."""
        below = self.holm is not None and self.holm < LEVEL
        return below and self.change is not None and self.change.below_zero


@dataclass(frozen=True, slots=True)
class MethodTable:
    """All methods.

    Attributes:
        title: of the task; `model`: its name.
        scores: in the order of leagues, best first.
        questions, facts: that were tested on.
        pass_at: share of questions that luck would solve in as many attempts as transplants were
            tried: at least one of so many samples of the unmodified model is right.
        attempts: how many these are.
        parts: name of a transplant -> the four parts of its gain, and the whole.
    """

    title: str
    model: str
    languages: tuple[str, ...]
    scores: tuple[MethodScore, ...]
    questions: int
    facts: int
    pass_at: Estimate | None
    attempts: int
    seed: int
    parts: Mapping[str, Sequence[GainPart]] = field(default_factory=dict)

    def score(self, name: str) -> MethodScore:
        """One method.

        Raises:
            KeyError: it was not compared.
        """
        for one in self.scores:
            if one.name == name:
                return one
        raise KeyError(name)

    def of(self, league: str) -> list[MethodScore]:
        """A league, best first; those without figures last."""
        return [one for one in self.scores if one.league == league]

    def best(self, league: str) -> MethodScore | None:
        """The most accurate of those that are shown to be better than the unmodified model."""
        better = [one for one in self.of(league) if one.is_better and not one.control]
        return better[0] if better else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def table_of_methods(rows: MethodRows, manifest: Mapping[str, Any], seed: int = 0) -> MethodTable:
    """Score every method.

    Args:
        rows: the answers.
        manifest: run.json.
        seed: of intervals and tests.
    """
    changes = {name: _test(rows, name, seed) for name in rows.right if name != VANILLA}
    named = [name for name in changes if not rows.records[name]["control"]]
    adjusted = holm([changes[name] for name in named]).adjusted
    corrected = dict(zip(named, adjusted, strict=True))
    scores = [
        _Scoring(rows, name, seed).score(changes.get(name), corrected.get(name))
        for name in rows.records
    ]
    scores = _with_behind(scores, rows, seed)
    known = ~np.isnan(rows.right[VANILLA][:, 0]) if VANILLA in rows.right else np.zeros(0)
    luck = rows.luck if rows.attempts else np.full(len(rows.items), np.nan)
    pass_at = clustered_mean(luck, rows.clusters, seed=seed)
    return MethodTable(
        title=str((manifest.get("task") or {}).get("title") or ""),
        model=str((manifest.get("model") or {}).get("name") or ""),
        languages=tuple(dict.fromkeys(rows.langs)),
        scores=tuple(scores),
        questions=int(known.sum()),
        facts=len({one for one, there in zip(rows.clusters, known, strict=True) if there}),
        pass_at=None if pass_at.value is None else pass_at,
        attempts=rows.attempts,
        seed=seed,
    )


def _test(rows: MethodRows, name: str, seed: int) -> float | None:
    """P of a method's change, of the mean over its seeds."""
    right, was = rows.right[name].mean(axis=1), rows.right[VANILLA][:, 0]
    if np.isnan(right - was).all():
        return None
    return cluster_permutation(right, was, rows.clusters, seed=seed).p_two_sided


def over_seeds(
    values: Floats, clusters: Sequence[str], seed: int, confidence: float = 0.95
) -> Estimate:
    """Mean of observations of several seeds, with an interval by facts and seeds.

    One seed: `stats.clustered_mean` of differences. Several: facts and seeds are drawn with
    replacement, apart.

    Args:
        values: shape (items, seeds); items with NaN in any seed are left out.
        clusters: of each item.
        seed: of the draws.
        confidence: coverage.
    """
    if values.shape[1] == 1:
        return clustered_mean(
            values[:, 0], clusters, seed=seed, confidence=confidence, difference=True
        )
    known = ~np.isnan(values).any(axis=1)
    names, places = np.unique(np.asarray(clusters)[known], return_inverse=True)
    if not known.any():
        return Estimate(None, None, None, 0, 0, seed, _BOTH, confidence)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, places, values[known])
    sizes = np.bincount(places).astype(np.float64)
    rng = np.random.default_rng(seed)
    facts = rng.multinomial(len(names), [1 / len(names)] * len(names), _RESAMPLES)
    seeds = rng.multinomial(values.shape[1], [1 / values.shape[1]] * values.shape[1], _RESAMPLES)
    drawn = np.einsum("rc,cs,rs->r", facts, sums, seeds) / ((facts @ sizes) * seeds.sum(axis=1))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(values[known].mean())
    if low == high:
        low = high = None
    return Estimate(value, low, high, int(known.sum()), len(names), seed, _BOTH, confidence)


_SAID = ("name", "title", "league", "about", "source", "control")
"""What a record says of itself."""


class _Scoring:
    """One method."""

    def __init__(self, rows: MethodRows, name: str, seed: int) -> None:
        self.rows, self.name, self.seed = rows, name, seed
        self.record = rows.records[name]

    def score(self, p_value: float | None, corrected: float | None) -> MethodScore:
        """All figures, or the reason why there are none."""
        record, rows = self.record, self.rows
        plain = {
            key: record[key] for key in ("name", "title", "league", "about", "source", "control")
        }
        if record["reason"]:
            return MethodScore(**plain, reason=record["reason"], tried=record["tried"])
        right, was = rows.right[self.name], rows.right[VANILLA][:, :1]
        change = right - was
        vanilla = rows.records[VANILLA]["tokens"]
        price = (
            "fit_seconds",
            "tokens",
            "trained",
            "labelled",
            "unlabelled",
            "tried",
            "kl",
            "notes",
        )
        return MethodScore(
            **plain,
            accuracy=self._share(right),
            change=over_seeds(change, rows.clusters, self.seed),
            p_value=p_value,
            holm=corrected,
            repaired=int((change[:, 0] > 0).sum()),
            broken=int((change[:, 0] < 0).sum()),
            by_language=self._by_language(change),
            **self._english(),
            fidelity=self._share(rows.faithful[self.name]),
            unnamed=float(1 - np.nanmean(rows.named[self.name])),
            seeds=right.shape[1],
            chosen=record["chosen"],
            answer_seconds=rows.seconds[self.name],
            relative_tokens=record["tokens"] / vanilla if record["tokens"] and vanilla else None,
            left_out=len(record["left_out"]),
            **{key: record[key] for key in (*price, "kl", "peak_bytes", "notes")},
        )

    def _share(self, values: Floats) -> Estimate:
        if values.shape[1] == 1:
            return clustered_mean(values[:, 0], self.rows.clusters, seed=self.seed)
        return over_seeds(values, self.rows.clusters, self.seed)

    def _by_language(self, change: Floats) -> dict[str, Estimate]:
        langs = np.array(self.rows.langs)
        clusters = np.array(self.rows.clusters)
        return {
            lang: over_seeds(change[langs == lang], clusters[langs == lang].tolist(), self.seed)
            for lang in dict.fromkeys(self.rows.langs)
        }

    def _english(self) -> dict[str, Any]:
        """English accuracy, and whether it is kept."""
        found, was = self.rows.english.get(self.name), self.rows.english.get(VANILLA)
        if found is None or was is None:
            return {}
        english = self._share(found)
        if self.name == VANILLA:
            return {"english": english}
        change = over_seeds(found - was[:, :1], self.rows.clusters, self.seed, _ONE_SIDED)
        return {"english": english, "english_change": change, "kept": _kept(change)}


def _kept(change: Estimate) -> Kept:
    """Whether a loss is below the margin: one-sided, at 95 %.

    Where no fact changes, the share that might is bounded exactly: 1 - 0.05^(1/n) with n facts.
    """
    if change.value is None:
        return "undecided"
    low, high = change.low, change.high
    if low is None or high is None:
        bound = 1 - 0.05 ** (1 / max(change.clusters, 1))
        low, high = change.value - bound, change.value + bound
    if low > -MARGIN:
        return "kept"
    return "lost" if high < -MARGIN else "undecided"


def _with_behind(scores: Sequence[MethodScore], rows: MethodRows, seed: int) -> list[MethodScore]:
    """Leagues in order, best first, with how far each method is behind the best of its league."""
    found = []
    for league in LEAGUES:
        own = [one for one in scores if one.league == league]
        own.sort(key=lambda one: (bool(one.reason), -_value(one.accuracy)))
        best = next((one for one in own if one.is_better and not one.control), None)
        for one in own:
            if best is None or one is best or one.reason:
                found.append(one)
                continue
            mean = rows.right[best.name].mean(axis=1)
            behind = paired_difference(
                mean, rows.right[one.name].mean(axis=1), rows.clusters, seed=seed
            )
            found.append(replace(one, behind=behind))
    return found


def _value(estimate: Estimate | None) -> float:
    return estimate.value if estimate is not None and estimate.value is not None else -1.0
