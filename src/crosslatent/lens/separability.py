"""How well a linear rule tells the languages apart, by layer, on texts that were held out.

The rule is the nearest language mean, which is linear: the squared distances to two means differ by
a linear function of the state. A subspace that holds what is specific to languages should tell them
apart as well as the whole space does (Lens, arXiv 2410.04407, section 3.1; `docs/methods.md`, 7.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crosslatent.lens.space import Layer, LayerSeparability
from crosslatent.stats import Estimate, clustered_means
from crosslatent.subspace import Subspace

Right = NDArray[np.bool_]
"""Whether each text was taken for what it is, texts."""


def separability(
    states: NDArray[np.floating],
    langs: Sequence[str],
    clusters: Sequence[str],
    subspaces: Sequence[Subspace],
    layers: Sequence[Layer],
    *,
    seed: int = 0,
) -> list[LayerSeparability]:
    """Share of held-out texts whose language the nearest mean gives, by layer.

    Args:
        states: of the held-out texts, texts layers d_model.
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
    right = [
        told
        for place, subspace in enumerate(subspaces)
        for told in _both(subspace, states[:, place], langs)
    ]
    found = clustered_means(np.stack(right, axis=1).astype(np.float64), clusters, seed=seed)
    chance = 1 / len(subspaces[0].languages)
    return [
        LayerSeparability(layer, *_pair(found, place), chance=chance, n=len(langs))
        for place, layer in enumerate(layers)
    ]


def _pair(found: Sequence[Estimate], place: int) -> tuple[Estimate, Estimate]:
    return found[2 * place], found[2 * place + 1]


def _both(
    subspace: Subspace, states: NDArray[np.floating], langs: Sequence[str]
) -> tuple[Right, Right]:
    """In the whole space, and in the specific subspace."""
    values = np.asarray(states, dtype=np.float64)
    truth = np.array([subspace.languages.index(lang) for lang in langs])
    inside = nearest(subspace.coordinates(values), subspace.coordinates(subspace.means))
    return nearest(values, subspace.means) == truth, inside == truth


def nearest(points: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the mean that is nearest to each point, points d and means d -> points."""
    # One mean after the other: all differences at once would be points x languages x d numbers.
    distances = [((points - mean) ** 2).sum(axis=1) for mean in means]
    found: NDArray[np.intp] = np.argmin(distances, axis=0)
    return found
