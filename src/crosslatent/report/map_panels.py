"""Heat maps of a run on the page: one of each split, those of the test split first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from crosslatent.analysis.accuracy import PairGrid
from crosslatent.analysis.items import ALL
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.specs import Component
from crosslatent.report import colours, forest, formatting, gains, maps, verdicts
from crosslatent.report.safe import in_script
from crosslatent.report.verdicts.diagnosis import Maps
from crosslatent.report.views import MapPanel


def shown_grids(run: RunSummary, split: str | None) -> list[PairGrid]:
    """Grids to show: never over several splits; `split` first, with its languages, then the others.

    A run without named splits, or with one, has a grid of all its questions. A language that is all
    there is is not shown twice.
    """
    splits = {grid.split for grid in run.grids if grid.split != ALL}
    langs = {grid.lang for grid in run.grids if grid.lang != ALL}
    found = [
        grid
        for grid in run.grids
        if (grid.split != ALL) == (len(splits) > 1) and (grid.lang == ALL or len(langs) > 1)
    ]
    # Stable: within a split, all languages together come first.
    return sorted(found, key=lambda grid: (grid.split != split, grid.lang != ALL))


def first_of(grids: Sequence[PairGrid], component: Component) -> PairGrid | None:
    """The grid of a component that is seen first."""
    return next((grid for grid in grids if grid.component == component), None)


def map_sentence(run: RunSummary, grids: Sequence[PairGrid], split: str | None) -> str:
    """How to read the maps that are seen first."""
    seen = [grid for one in run.components if (grid := first_of(grids, one)) is not None]
    if not seen:
        return ""
    cells = [cell for grid in seen for line in grid.gain for cell in line if cell is not None]
    picks = [pick for one in run.components if (pick := gains.pooled(run, one)) is not None]
    return verdicts.MAP.say(
        Maps(
            judged=seen[0].vanilla.value is not None,
            gains=any(cell > 0 for cell in cells),
            losses=any(cell < 0 for cell in cells),
            tuned=picks[0].choices[ALL].split if picks else None,
            tested=any(gains.outcome(pick, split) for pick in picks),
        )
    )


def map_panel(
    run: RunSummary, component: Component, grids: Sequence[PairGrid], anchor: str
) -> MapPanel:
    """The map of one component, with the views to switch between."""
    own = [grid for grid in grids if grid.component == component]
    pick = gains.pooled(run, component)
    mark = pick.choices[ALL].pair if pick is not None else None
    figure = maps.figure(own[0], mark=mark, limit=_limit(run, own[0]))
    views = [maps.map_view(grid) for grid in own]
    limits = [100 * _limit(run, grid) for grid in own]
    payload: dict[str, Any] = {
        "figure": json.loads(figure.to_json()),
        "views": [
            {"z": view.z, "text": view.labels, "hover": view.hover, "limit": limit}
            for view, limit in zip(views, limits, strict=True)
        ],
        "light": colours.DIVERGING_LIGHT if views[0].has_gain else colours.SEQUENTIAL_LIGHT,
        "dark": colours.DIVERGING_DARK if views[0].has_gain else colours.SEQUENTIAL_DARK,
    }
    sizes = forest.sizes([own[0].vanilla]) if views[0].has_gain else f"n = {own[0].n}"
    return MapPanel(
        key=f"{anchor}-{component}",
        title=formatting.first_upper(formatting.component(component)),
        note=f"{views[0].title}: {sizes}; unmodified {formatting.percent(own[0].vanilla.value)}.",
        payload=in_script(payload),
    )


def _limit(run: RunSummary, grid: PairGrid) -> float:
    """End of the colour scale: one for all components, so that their maps can be compared."""
    return maps.largest_gain(
        [other for other in run.grids if (other.split, other.lang) == (grid.split, grid.lang)]
    )
