"""Language subspaces of the hidden states of one layer (Lens, arXiv 2410.04407, section 3.1).

Algebra on arrays, in float64; `docs/methods.md`, 7.1, has the formulas. `M` holds the mean state of
every language in a column, d_model by languages; ``m`` is the mean of its columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray

from crosslatent.core.errors import SpaceError

Floats = NDArray[np.float64]

_NOT_SHARED = 1e-6
"""How far from equal the languages may lie along the agnostic direction, relative."""


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """What the languages share in one layer, and where they differ.

    Attributes:
        languages: their codes, in the order of `means`.
        central: the language that directions start from, usually English.
        means: H_l, the mean state of each language.
        agnostic: M_a, along which every language has the same mean. Its length says where: the
            projection of every mean onto it is M_a itself (at full rank).
        specific: M_s, an orthonormal basis of where the languages differ; orthogonal to `agnostic`.
            Signs of its columns mean nothing.
        singular_values: of M - m 1^T, from the largest.
    """

    languages: tuple[str, ...]
    central: str
    means: Float64[Floats, "languages d_model"]
    agnostic: Float64[Floats, " d_model"]
    specific: Float64[Floats, "d_model rank"]
    singular_values: Float64[Floats, " languages-1"]

    @property
    def rank(self) -> int:
        """Dimensions of the language-specific subspace."""
        return int(self.specific.shape[1])

    @property
    def d_model(self) -> int:
        """Width of the states."""
        return int(self.means.shape[1])

    @property
    def explained(self) -> Float64[Floats, " components"]:
        """Share of the variance between the languages' means of each component.

        NaN if there is none at all.
        """
        squares = self.singular_values**2
        total = squares.sum()
        shares: Floats = squares / total if total > 0 else np.full_like(squares, np.nan)
        return shares

    def mean(self, lang: str) -> Float64[Floats, " d_model"]:
        """H_l.

        Raises:
            SpaceError: the language is not among those that the subspace was fitted on.
        """
        return np.asarray(self.means[self._place(lang)])

    def direction(self, lang: str) -> Float64[Floats, " d_model"]:
        """D_l, from the central language to `lang` in the specific subspace.

        Zero for the central language; at full rank it is H_l - H_central.

        Raises:
            SpaceError: the language is not among those that the subspace was fitted on.
        """
        return self.specific_part(self.mean(lang) - self.mean(self.central))

    def agnostic_part(self, states: ArrayLike) -> Float64[Floats, "*states d_model"]:
        """P_a h, what of the states lies along the agnostic direction."""
        values = np.asarray(states, dtype=np.float64)
        unit = self.agnostic / np.linalg.norm(self.agnostic)
        part: Floats = (values @ unit)[..., None] * unit
        return part

    def specific_part(self, states: ArrayLike) -> Float64[Floats, "*states d_model"]:
        """P_s h, what of the states lies in the specific subspace."""
        part: Floats = self.coordinates(states) @ self.specific.T
        return part

    def coordinates(self, states: ArrayLike) -> Float64[Floats, "*states rank"]:
        """The specific part of states in the basis `specific`."""
        values: Floats = np.asarray(states, dtype=np.float64) @ self.specific
        return values

    def angles(self) -> Float64[Floats, "languages languages"]:
        """Angles in degrees between the languages' means, seen from the mean of them all.

        Within the specific subspace. NaN where a mean is that point itself.
        """
        rays = self.coordinates(self.means - self.means.mean(axis=0))
        lengths = np.linalg.norm(rays, axis=1)
        tiny = lengths <= 1e-12 * max(float(np.linalg.norm(self.means)), np.finfo(float).tiny)
        with np.errstate(invalid="ignore", divide="ignore"):
            units = rays / np.where(tiny, np.nan, lengths)[:, None]
        found: Floats = np.degrees(np.arccos(np.clip(units @ units.T, -1.0, 1.0)))
        np.fill_diagonal(found, np.where(tiny, np.nan, 0.0))
        return found

    def _place(self, lang: str) -> int:
        if lang not in self.languages:
            raise SpaceError(
                f"The subspaces know no language {lang!r}: they were fitted on "
                f"{', '.join(self.languages)}."
            )
        return self.languages.index(lang)


def fit_subspaces(
    states: Mapping[str, ArrayLike], *, central: str, rank: int | None = None
) -> Subspace:
    """Subspaces of one layer from its hidden states (Lens, arXiv 2410.04407, section 3.1).

    Args:
        states: language -> states, samples d_model; languages may have different numbers of them.
        central: the language that directions start from.
        rank: dimensions of the specific subspace; None for languages - 1, at which the
            decomposition of the means is exact.

    Raises:
        SpaceError: see `fit_means`; a language without samples, or with states that are no numbers.
    """
    return fit_means(
        {lang: _mean_of(lang, values) for lang, values in states.items()},
        central=central,
        rank=rank,
    )


def fit_means(means: Mapping[str, ArrayLike], *, central: str, rank: int | None = None) -> Subspace:
    """Subspaces of one layer from the languages' mean states; see `fit_subspaces`.

    Args:
        means: language -> H_l, d_model.
        central: the language that directions start from.
        rank: dimensions of the specific subspace; None for languages - 1.

    Raises:
        SpaceError: fewer than two languages; the central one is missing; a rank that is not
            between 1 and languages - 1, or above the dimensions that the means span; no direction
            that all languages share.
    """
    languages = tuple(means)
    kept = check_rank(languages, central, rank)
    columns = _matrix(means)
    centre = columns.mean(axis=1, keepdims=True)
    left, values, right = np.linalg.svd(columns - centre, full_matrices=False)
    _check_spread(values, columns, kept)
    lowered = centre + (left[:, :kept] * values[:kept]) @ right[:kept]
    agnostic = _agnostic(lowered, kept)
    specific = np.linalg.svd(lowered - agnostic[:, None], full_matrices=False)[0][:, :kept]
    return Subspace(
        languages=languages,
        central=central,
        means=np.ascontiguousarray(columns.T),
        agnostic=agnostic,
        specific=np.ascontiguousarray(specific),
        singular_values=values[: len(languages) - 1],
    )


def check_rank(languages: tuple[str, ...], central: str, rank: int | None) -> int:
    """The rank that is meant, if languages, central language and rank go together.

    Raises:
        SpaceError: they do not.
    """
    if len(languages) < 2:
        raise SpaceError(
            f"Language subspaces need two languages or more, and there is "
            f"{languages[0] if languages else 'none'}: name others beside {central!r}."
        )
    if central not in languages:
        raise SpaceError(
            f"The central language {central!r} is not among the languages "
            f"({', '.join(languages)}): add it, or name another central one."
        )
    most = len(languages) - 1
    if rank is not None and not 1 <= rank <= most:
        raise SpaceError(
            f"The rank is {rank}, but {len(languages)} languages differ in at most {most} "
            f"dimensions: give 1 to {most}."
        )
    return most if rank is None else rank


def _mean_of(lang: str, values: ArrayLike) -> Float64[Floats, " d_model"]:
    states = np.asarray(values, dtype=np.float64)
    if states.ndim != 2:
        raise SpaceError(
            f"The states of {lang!r} have shape {states.shape}: give samples by d_model."
        )
    if not len(states):
        raise SpaceError(f"There is no state of language {lang!r}: give it samples.")
    mean: Floats = states.mean(axis=0)
    return mean


def _matrix(means: Mapping[str, ArrayLike]) -> Float64[Floats, "d_model languages"]:
    """M, with a language in each column."""
    vectors = {lang: np.asarray(mean, dtype=np.float64) for lang, mean in means.items()}
    shapes = {vector.shape for vector in vectors.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        found = ", ".join(f"{lang} {vector.shape}" for lang, vector in vectors.items())
        raise SpaceError(f"The languages' states have different widths ({found}): use one model.")
    for lang, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise SpaceError(
                f"The mean state of {lang!r} is not finite: the model overflows on its texts; try "
                "another dtype."
            )
    return np.stack(list(vectors.values()), axis=1)


def _check_spread(
    values: Float64[Floats, " components"], columns: Float64[Floats, "d_model languages"], kept: int
) -> None:
    """Refuse means that span fewer dimensions than are asked for: a basis would be made up."""
    floor = np.finfo(np.float64).eps * max(columns.shape) * float(np.linalg.norm(columns))
    spanned = int((values > floor).sum())
    if spanned < kept:
        raise SpaceError(
            f"The languages' mean states span {spanned} dimensions, fewer than the rank of {kept}: "
            "are the texts of two languages the same? Give other texts, fewer languages or a lower "
            "rank."
        )


def _agnostic(
    lowered: Float64[Floats, "d_model languages"], kept: int
) -> Float64[Floats, " d_model"]:
    """M_a = x / |x|^2, where x = (M'^+)^T 1 is the shortest vector with M'^T x = 1."""
    left, values, right = np.linalg.svd(lowered, full_matrices=False)
    # M' has rank kept + 1 by construction; what NumPy's cutoff might keep beyond is rounding.
    left, values, right = left[:, : kept + 1], values[: kept + 1], right[: kept + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shortest = left @ (right.sum(axis=1) / values)
        shared = lowered.T @ shortest
    if not np.abs(shared - 1).max() < _NOT_SHARED:
        raise SpaceError(
            "The languages share no direction: the mean of all means lies where the languages "
            "differ; give other texts, or another layer."
        )
    agnostic: Floats = shortest / (shortest @ shortest)
    return agnostic
