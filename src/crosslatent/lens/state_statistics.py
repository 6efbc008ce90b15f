"""Statistics of the states of texts by language: running sums, a sample, and separability.

How well linear rules tell the languages apart is measured by layer, on texts that were held out, by
three rules (`docs/methods.md`, 7.1). One is learned, so it says how much a linear rule can do. The
other two take the nearest language mean, in the whole space and in the specific subspace, so they
say how much the means alone do: the squared distances to two means differ by a linear function of
the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray

from crosslatent.core.specs import Layer
from crosslatent.core.subspace import Floats, Subspace
from crosslatent.lens.space import LayerSeparability
from crosslatent.stats import Estimate, clustered_means

States = Float[NDArray[np.floating], "layers d_model"]
"""Of one text."""


@dataclass(slots=True)
class Sums:
    """Of the states of one language, in float64.

    Attributes:
        total: sum of the states.
        squares: sum of their squared lengths.
        n: how many they are.
    """

    total: Float64[Floats, "layers d_model"]
    squares: Float64[Floats, " layers"]
    n: int = 0

    @classmethod
    def zero(cls, layers: int, d_model: int) -> Sums:
        """Of no states."""
        return cls(np.zeros((layers, d_model)), np.zeros(layers))

    def add(self, state: States) -> None:
        """One more text."""
        value = state.astype(np.float64)
        self.total += value
        self.squares += np.einsum("ld,ld->l", value, value)
        self.n += 1

    @property
    def mean(self) -> Float64[Floats, "layers d_model"]:
        """Of the states."""
        mean: Floats = self.total / self.n
        return mean

    @property
    def variance(self) -> Float64[Floats, " layers"]:
        """Mean squared distance of a state from the mean."""
        variance: Floats = np.maximum(self.squares / self.n - (self.mean**2).sum(axis=1), 0.0)
        return variance


def between(sums: Sequence[Sums]) -> list[float | None]:
    """Per layer, the share of the variance of states that lies between the languages' means.

    Every language counts alike. None where there is no variance.
    """
    means = np.stack([one.mean for one in sums])
    across = ((means - means.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
    total = across + np.mean([one.variance for one in sums], axis=0)
    return [float(a / t) if t > 0 else None for a, t in zip(across, total, strict=True)]


@dataclass(frozen=True, slots=True)
class Held:
    """A text that may be held out.

    Attributes:
        key: see `key_of`.
        row: number of the row that holds the text.
        state: of all layers.
    """

    key: int
    row: int
    state: States


@dataclass(slots=True)
class DrawnTexts:
    """The texts of one language with the smallest keys, at most `room` of them.

    Which ones these are does not depend on the order in which they come.
    """

    room: int
    _seen: int = 0
    _heap: list[tuple[int, int, Held]] = field(default_factory=list)

    def put(self, held: Held) -> Held | None:
        """Take one more; returns the one that there is no room for."""
        if not self.room or (self._full and held.key >= -self._heap[0][0]):
            return held
        # Not a view, which would keep the states of a whole batch in memory.
        own = replace(held, state=held.state.copy())
        # The running number keeps states from being compared where keys are equal.
        self._seen += 1
        entry = (-held.key, self._seen, own)
        if self._full:
            return heappushpop(self._heap, entry)[2]
        heappush(self._heap, entry)
        return None

    def smallest_first(self) -> list[Held]:
        """All of them, by their keys."""
        return sorted((entry[2] for entry in self._heap), key=lambda held: held.key)

    @property
    def _full(self) -> bool:
        return len(self._heap) >= self.room


def key_of(text: str, seed: int) -> int:
    """A number from 0 to 2^64 - 1 that a text's content and the seed decide."""
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest())


FOLDS = 5
"""Folds of cross-validation: a rule learned from the others classifies the texts of each."""

Right = Bool[NDArray[np.bool_], " texts"]
"""Whether each text's language was predicted correctly."""


def separability(
    states: Float[NDArray[np.floating], "texts layers d_model"],
    langs: Sequence[str],
    clusters: Sequence[str],
    subspaces: Sequence[Subspace],
    layers: Sequence[Layer],
    *,
    seed: int = 0,
) -> list[LayerSeparability]:
    """Share of held-out texts whose language linear rules give, by layer.

    Args:
        states: of the held-out texts.
        langs: language of each text.
        clusters: what is independent, one name for each text: parallel lines share one.
        subspaces: of each layer, fitted on other texts.
        layers: what they are called.
        seed: of the intervals.

    Returns:
        One entry a layer; none without texts.
    """
    if not len(langs):
        return []
    by_layer = [states[:, index] for index in range(len(layers))]
    means = [
        right
        for subspace, values in zip(subspaces, by_layer, strict=True)
        for right in _both(subspace, values, langs)
    ]
    rules = (learned_rule(values, langs, clusters) for values in by_layer)
    learned = [right for right in rules if right is not None]
    right = np.stack([*means, *learned], axis=1).astype(np.float64)
    estimates = clustered_means(right, clusters, seed=seed)
    chance, n = 1 / len(subspaces[0].languages), len(langs)
    by_learning: Sequence[Estimate | None] = estimates[len(means) :] or [None] * len(layers)
    by_mean = estimates[: len(means)]
    return [
        LayerSeparability(layer, full, specific, chance, n, linear)
        for layer, full, specific, linear in zip(
            layers, by_mean[::2], by_mean[1::2], by_learning, strict=True
        )
    ]


def learned_rule(
    states: Float[NDArray[np.floating], "texts d_model"],
    langs: Sequence[str],
    clusters: Sequence[str],
) -> Right | None:
    """Held-out accuracy of a ridge regression onto the languages, cross-validated.

    Dimensions are scaled by their spread; the penalty is chosen within the training folds. Texts of
    one cluster are in the same fold.

    Args:
        states: of one layer.
        langs: language of each text.
        clusters: what is independent, one name for each text.

    Returns:
        Whether each text was classified correctly; None if a language has fewer than `FOLDS`
        clusters, since some rule would then be fitted without it.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth, groups = np.asarray(langs), np.asarray(clusters)
    if any(len(set(groups[truth == lang])) < FOLDS for lang in set(langs)):
        return None
    rule: Any = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 5, 6)))
    folds = GroupKFold(FOLDS)
    predicted = cross_val_predict(
        rule, np.asarray(states, dtype=np.float64), truth, groups=groups, cv=folds
    )
    right: Right = predicted == truth
    return right


def _both(
    subspace: Subspace, states: Float[NDArray[np.floating], "texts d_model"], langs: Sequence[str]
) -> tuple[Right, Right]:
    """In the whole space, and in the specific subspace."""
    values = np.asarray(states, dtype=np.float64)
    truth = np.array([subspace.languages.index(lang) for lang in langs])
    inside = nearest(subspace.coordinates(values), subspace.coordinates(subspace.means))
    return nearest(values, subspace.means) == truth, inside == truth


def nearest(
    points: Float64[Floats, "points width"], means: Float64[Floats, "means width"]
) -> Int[NDArray[np.intp], " points"]:
    """Index of the mean that is nearest to each point."""
    # One mean after the other: all differences at once would be points x languages x d numbers.
    distances = [((points - mean) ** 2).sum(axis=1) for mean in means]
    found: NDArray[np.intp] = np.argmin(distances, axis=0)
    return found
