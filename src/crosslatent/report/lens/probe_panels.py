"""The figures of a probe's page with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crosslatent.lens.space import Space
from crosslatent.report import colours
from crosslatent.report.lens import layer_charts, probe_charts, probe_words
from crosslatent.report.lens.pages import payload
from crosslatent.report.lens.plotly_data import Plain
from crosslatent.report.lens.views import LayerView, even_angle


@dataclass(frozen=True, slots=True)
class Chart:
    """One interactive figure.

    Attributes:
        key: its id in the page.
        title: its heading.
        shape: "square", "wide", or a height in pixels.
        payload: JSON, safe in HTML.
        caption: what is to be seen, and how to read it.
    """

    key: str
    title: str
    shape: str | int
    payload: str
    caption: str


def layered(space: Space, views: Sequence[LayerView]) -> list[Chart]:
    """The figures of one layer at a time."""
    charts = [_strip(space, views) if views[0].means.shape[1] == 1 else _plane(space, views)]
    if len(space.languages) > 2:
        charts.append(_angles(space, views))
    return charts


def _strip(space: Space, views: Sequence[LayerView]) -> Chart:
    return Chart(
        key="plane",
        title="Languages on the only axis of the specific subspace",
        shape=100 + max(34 * len(space.languages), 140),
        payload=payload(probe_charts.scatter(space, views), _scales()),
        caption=f"{_points(space)}arge marks the languages’ means; {_central(space)}. Zero is the "
        "mean of the means. Which way the axis points means nothing.",
    )


def _plane(space: Space, views: Sequence[LayerView]) -> Chart:
    return Chart(
        key="plane",
        title="Languages in the specific subspace",
        shape="square",
        payload=payload(probe_charts.scatter(space, views), _scales()),
        caption=f"Along the two axes on which the means differ most{_kept(space)}. "
        f"{_points(space)}arge marks "
        f"the languages’ means; {_central(space)}. Both axes have the same scale, which changes "
        "from layer to layer, and so may the axes; which way they point means nothing.",
    )


def _points(space: Space) -> str:
    return "L" if space.points is None else "Small marks are held-out texts, l"


def _kept(space: Space) -> str:
    """Says so where texts have too few coordinates for the axes to be turned to the best ones."""
    kept = space.rank if space.points is None else space.points.values.shape[2]
    return "" if kept == space.rank else f", of the {kept} that are known of the texts"


def _central(space: Space) -> str:
    return f"{probe_words.of_language(space.central)}, the central language, is outlined"


def _angles(space: Space, views: Sequence[LayerView]) -> Chart:
    count = len(space.languages)
    scales = {
        "light": {"angles": probe_charts.angle_scale(count, colours.DIVERGING_LIGHT)},
        "dark": {"angles": probe_charts.angle_scale(count, colours.DIVERGING_DARK)},
    }
    return Chart(
        key="angles",
        title="Angles between languages",
        shape="square",
        payload=payload(probe_charts.angles(space, views), scales),
        caption="Angles between the languages’ means, seen from the mean of them all, in the whole "
        f"specific subspace. {count} languages that are all equally far apart stand at "
        f"{even_angle(count):.0f}° to each other; blue pairs are closer than that, orange ones "
        "farther.",
    )


def over_layers(space: Space, views: Sequence[LayerView]) -> list[Chart]:
    """The figures over all layers."""
    scale = _scales()
    found = []
    if any(view.between is not None for view in views):
        found.append(
            Chart("between", "Variance between languages", "wide",
                  payload(layer_charts.between(space, views), scale),
                  "Of the variance of single texts’ states, the share that lies between the "
                  "languages’ means.")
        )  # fmt: skip
    if layer_charts.has_separability(views):
        found.append(
            Chart("separability", "Can a linear rule tell the languages apart?", "wide",
                  payload(layer_charts.separability(space, views), scale),
                  _told_apart(views, full_rank=space.rank == len(space.languages) - 1))
        )  # fmt: skip
    if len(space.languages) == 2:
        found.append(
            Chart("spread", "How far the two means lie apart", "wide",
                  payload(layer_charts.spread(space, views), scale),
                  "The only singular value of the centred means; it grows with the states, so "
                  "compare layers with care.")
        )  # fmt: skip
    else:
        found.append(
            Chart("explained", "Components of the differences", "wide",
                  payload(layer_charts.explained(space, views), scale),
                  "Squared singular values of the centred means, as shares of their sum: how many "
                  "dimensions the differences between languages take.")
        )  # fmt: skip
    return found


def _told_apart(views: Sequence[LayerView], *, full_rank: bool) -> str:
    names = layer_charts.kinds(views)
    said = []
    if "linear" in names:
        said.append(
            "The learned rule (blue) is a ridge regression that never saw the text; it says what a "
            "linear rule can do."
        )
    if "specific" in names:
        said.append(
            "The nearest mean of other texts, in the whole space (orange) and in the specific "
            "subspace (grey), says what the means alone do."
        )
    elif "full" in names:
        said.append("The nearest mean of other texts (orange) says what the means alone do.")
        if full_rank:
            said.append(
                "It is the same in the specific subspace, which at full rank holds all differences "
                "of the means."
            )
    said.append("Bars: 95\u202f% intervals; where all texts agree there is none.")
    return " ".join(said)


def _scales() -> dict[str, Plain]:
    return {
        "light": {"sequential": colours.SEQUENTIAL_LIGHT},
        "dark": {"sequential": colours.SEQUENTIAL_DARK},
    }
