"""How well linear rules tell the languages apart, by layer, on texts that were held out.

Three rules (`docs/methods.md`, 7.1). One is learned, so it says how much a linear rule can do. The
other two take the nearest language mean, in the whole space and in the specific subspace, so they
say how much the means alone do: the squared distances to two means differ by a linear function of
the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray

from crosslatent.core.specs import Layer
from crosslatent.core.subspace import Floats, Subspace
from crosslatent.lens.space import LayerSeparability
from crosslatent.stats import Estimate, clustered_means

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
    means = [
        right_by_mean
        for place, subspace in enumerate(subspaces)
        for right_by_mean in _both(subspace, states[:, place], langs)
    ]
    learned = [
        right_by_rule
        for place in range(len(layers))
        if (right_by_rule := learned_rule(states[:, place], langs, clusters)) is not None
    ]
    right = np.stack([*means, *learned], axis=1).astype(np.float64)
    found = clustered_means(right, clusters, seed=seed)
    chance = 1 / len(subspaces[0].languages)
    by_learning: Sequence[Estimate | None] = found[len(means) :] or [None] * len(layers)
    return [
        LayerSeparability(layer, found[2 * k], found[2 * k + 1], chance, len(langs), by_learning[k])
        for k, layer in enumerate(layers)
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
