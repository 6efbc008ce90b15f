"""What figures show of a space: every layer turned to its main axes, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.specs import Layer
from crosslatent.core.subspace import Floats, Subspace
from crosslatent.lens.space import LayerSeparability, Space

DRAWN_TEXTS = 60
"""Most held-out texts of a language that are drawn, so that a page stays small."""


_WIDEST = 2.6
"""Side of the square that is shown, at most, in extents of the means."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerView:
    """One layer as figures show it.

    Attributes:
        layer: the layer.
        means: the languages along the main axes, from the mean of them all, languages axes.
        texts: the held-out texts that are drawn, along the same axes, texts axes; None without any.
        shares: share of the differences between the languages' means along each of these axes.
        explained: the same for all axes, languages - 1; NaN if there are no differences.
        singular_values: languages - 1.
        angles: degrees between the languages, seen from their mean, languages languages.
        between: share of the variance of single states that lies between languages.
        separability: how well a linear rule tells the languages apart; None if not measured.
    """

    layer: Layer
    means: Floats
    texts: Floats | None
    shares: Floats
    explained: Floats
    singular_values: Floats
    angles: Floats
    between: float | None
    separability: LayerSeparability | None


def layer_views(space: Space) -> list[LayerView]:
    """Every layer of a space, in the order of `Space.layers`.

    The signs of axes mean nothing; each layer takes those that look most like the layer before.
    """
    drawn = drawn_texts(space)
    measured = {one.layer: one for one in space.record.separability}
    views: list[LayerView] = []
    for place, (layer, subspace) in enumerate(zip(space.layers, space.subspaces, strict=True)):
        texts = None if space.points is None else space.points.values[drawn, place]
        means, texts, shares = _turned(subspace, texts)
        signs = _signs(means, views[-1].means if views else means)
        between = space.record.between
        views.append(
            LayerView(
                layer=layer,
                means=means * signs,
                texts=None if texts is None else texts * signs,
                shares=shares,
                explained=subspace.explained,
                singular_values=subspace.singular_values,
                angles=subspace.angles(),
                between=between[place] if place < len(between) else None,
                separability=measured.get(layer),
            )
        )
    return views


def drawn_texts(space: Space) -> NDArray[np.intp]:
    """Which of the held-out texts are drawn: the first `DRAWN_TEXTS` of each language."""
    if space.points is None:
        return np.array([], dtype=np.intp)
    langs = np.array(space.points.langs)
    kept = [np.flatnonzero(langs == lang)[:DRAWN_TEXTS] for lang in space.languages]
    return np.concatenate(kept)


def drawn_langs(space: Space) -> list[str]:
    """Language of each text that `drawn_texts` names."""
    if space.points is None:
        return []
    return [space.points.langs[place] for place in drawn_texts(space)]


def square(view: LayerView) -> tuple[Floats, float]:
    """Centre and side of the square that is shown.

    It holds everything, but is never so large that the means stand on one spot: texts far out may
    lie outside (`outside` counts them).
    """
    everything = view.means if view.texts is None else np.concatenate([view.means, view.texts])
    low, high = everything.min(axis=0), everything.max(axis=0)
    inner, outer = view.means.min(axis=0), view.means.max(axis=0)
    side, least = 1.16 * float((high - low).max()), float((outer - inner).max())
    if side <= _WIDEST * least:
        return (low + high) / 2, side
    return (inner + outer) / 2, _WIDEST * least if least else side or 1.0


def outside(view: LayerView) -> int:
    """Drawn texts that the square does not hold."""
    if view.texts is None or view.texts.shape[1] < 2:
        return 0
    centre, side = square(view)
    return int((np.abs(view.texts - centre) > side / 2).any(axis=1).sum())


def some_layers(layers: Sequence[Layer], most: int) -> list[int]:
    """Places of at most `most` layers for small multiples: spread evenly, first and last in."""
    count = len(layers)
    if count <= most:
        return list(range(count))
    spread = np.linspace(0, count - 2, most - 1).round().astype(int)
    return [*map(int, spread), count - 1]


def even_angle(languages: int) -> float:
    """Angle in degrees between any two of so many languages if all are equally far apart."""
    return float(np.degrees(np.arccos(-1 / (languages - 1))))


def known(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def _turned(
    subspace: Subspace, texts: NDArray[np.float32] | None
) -> tuple[Floats, Floats | None, Floats]:
    """Means and texts along two axes of the specific subspace, and the axes' shares.

    The basis of Lens is fitted to means that still hold an offset that all languages have, so its
    first component need not be where they differ. The main axes of their differences are.
    """
    rays = subspace.coordinates(subspace.means)
    centre = rays.mean(axis=0)
    rays = rays - centre
    kept = subspace.rank if texts is None else texts.shape[1]
    if kept == subspace.rank:
        axes = np.linalg.svd(rays, full_matrices=False)[2][:2].T
    else:
        # Some coordinates of the texts were not kept: take the two where languages differ most.
        axes = np.eye(subspace.rank)[:, np.argsort(-(rays[:, :kept] ** 2).sum(axis=0))[:2]]
    moved = None if texts is None else (texts - centre[:kept]) @ axes[:kept]
    along = rays @ axes
    total = float((subspace.singular_values**2).sum())
    shares = (along**2).sum(axis=0) / total if total > 0 else np.full(axes.shape[1], np.nan)
    return along, moved, shares


def _signs(means: Floats, before: Floats) -> Floats:
    agree: Floats = np.where((means * before).sum(axis=0) < 0, -1.0, 1.0)
    return agree
