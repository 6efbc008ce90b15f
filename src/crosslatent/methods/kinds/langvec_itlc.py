"""Language vectors in the space that tells languages apart best (ITLC)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from crosslatent.methods.language_vectors import LanguageVector
from crosslatent.methods.method import Bench, register_method

Floats = NDArray[np.float64]

COMPONENTS = 100
"""Most components that discriminate; there is one fewer than languages in any case."""
LEAST_WEIGHT = 0.01
"""Components on which the probe for the language puts less are left out."""
SHRINKAGE = 0.1
"""How far the spread of the texts of a language is moved towards one that is alike in all
directions: there are fewer texts than directions, and languages differ in the others too."""
_TOLERANCE = 1e-4
"""Components that discriminate less, as a share of the best, are left out."""


@register_method("langvec-itlc")
class LanguageVectorITLC(LanguageVector):
    """Linear discriminant analysis of all languages, in the middle block; arXiv 2506.12450.

    The source's probe is a logistic regression on the components; here it is one by least squares,
    and the analysis is a shrunken one, since pilots have few texts.
    """

    title = "language vector (ITLC)"
    about = (
        "Adds the difference of the languages' means, in the components that discriminate between "
        "languages, to the output of the middle block at every token."
    )
    source = "arXiv 2506.12450"
    others = True
    alphas = (0.5, -0.5, 1.0, -1.0, 0.25, -0.25, 2.0, -2.0)

    def layers(self, bench: Bench) -> Sequence[int | str]:
        """The block whose output is `hidden_states[N/2]`."""
        return [max(bench.model.n_layers // 2 - 1, 0)]

    def directions(
        self, states: Mapping[str, Floats], target: str, central: str
    ) -> Float64[Floats, "layers d_model"]:
        """See `LanguageVector.directions`."""
        if target == central:
            return np.zeros(states[target].shape[1:])
        langs = list(states)
        labels = np.repeat(np.arange(len(langs)), [len(states[lang]) for lang in langs])
        values = np.concatenate([states[lang] for lang in langs])
        pair = (langs.index(target), langs.index(central))
        return np.stack([_vector(values[:, k], labels, pair) for k in range(values.shape[1])])


class Discriminants(NamedTuple):
    """Components that discriminate between classes.

    Attributes:
        projection: standardised values to components.
        scale: what values are divided by.
    """

    projection: Float64[Floats, "width components"]
    scale: Float64[Floats, " width"]


def discriminants(values: Floats, labels: NDArray[np.intp]) -> Discriminants:
    """Linear discriminant analysis; texts of a class vary by 1 along every component.

    Args:
        values: texts width.
        labels: the class of each text, from 0.
    """
    deviation = values.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    scaled = (values - values.mean(0)) / scale
    counts = np.bincount(labels)
    means = np.stack([scaled[labels == one].mean(0) for one in range(len(counts))])
    inside = (scaled - means[labels]) / np.sqrt(max(len(labels) - len(counts), 1))
    whiten = _whitening(inside)
    _, sizes, axes = np.linalg.svd(whiten(np.sqrt(counts)[:, None] * means), full_matrices=False)
    most = min(COMPONENTS, len(counts) - 1, int((sizes > _TOLERANCE * sizes.max()).sum()))
    return Discriminants(whiten(axes[:most]).T, scale)


def _whitening(inside: Floats) -> Callable[[Floats], Floats]:
    """Multiplies rows by the inverse root of a shrunken covariance of centred values.

    That is I / b + V (1 / a - 1 / b) V^T, where b^2 is the shrunken variance outside of the
    directions V of the values, and a^2 that along them: nothing is width by width.
    """
    _, sizes, axes = np.linalg.svd(inside, full_matrices=False)
    everywhere = SHRINKAGE * float((sizes**2).sum()) / inside.shape[1]
    if not everywhere:  # All texts of a language are alike: nothing to whiten.
        return lambda rows: rows
    outside = everywhere**-0.5
    along = ((1 - SHRINKAGE) * sizes**2 + everywhere) ** -0.5 - outside
    return lambda rows: outside * rows + ((rows @ axes.T) * along) @ axes


def _vector(values: Floats, labels: NDArray[np.intp], pair: tuple[int, int]) -> Floats:
    """From the second class of a pair to the first, back in the space of the values."""
    found = discriminants(values, labels)
    coordinates = ((values - values.mean(0)) / found.scale) @ found.projection
    chosen = np.eye(labels.max() + 1)[labels]
    weights = np.linalg.lstsq(coordinates, chosen - chosen.mean(0), rcond=None)[0]
    used = np.abs(weights[:, list(pair)]).max(1) > LEAST_WEIGHT
    target, central = (coordinates[labels == one].mean(0) for one in pair)
    back = np.linalg.pinv(found.projection[:, used])
    vector: Floats = ((target - central)[used] @ back) * found.scale
    return vector
