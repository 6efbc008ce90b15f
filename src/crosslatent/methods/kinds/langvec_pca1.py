"""The first principal component of the states of two languages, as a language vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from crosslatent.methods.language_vectors import LanguageVector
from crosslatent.methods.method import register_method

Floats = NDArray[np.float64]


@register_method("langvec-pca1")
class LanguageVectorPCA(LanguageVector):
    """The part of the difference of means along the first principal component; arXiv 2510.13849.

    With two languages that are far apart it is nearly that difference.
    """

    title = "language vector (first principal component)"
    about = (
        "Adds the first principal component of the states of two languages, as long as the "
        "languages lie apart along it, to the output of one block at every token."
    )
    source = "arXiv 2510.13849"

    def directions(
        self, states: Mapping[str, Floats], target: str, central: str
    ) -> Float64[Floats, "layers d_model"]:
        """See `LanguageVector.directions`."""
        difference: Floats = super().directions(states, target, central)
        both = np.concatenate([states[target], states[central]])
        axes = np.stack([_first_axis(both[:, k]) for k in range(both.shape[1])])
        along: Floats = (difference * axes).sum(-1, keepdims=True) * axes
        return along


def _first_axis(values: Floats) -> Float64[Floats, " width"]:
    """The direction of length 1 in which centred values vary most."""
    axis: Floats = np.linalg.svd(values - values.mean(0), full_matrices=False)[2][0]
    return axis
