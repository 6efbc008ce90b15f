"""Cards of what is in a run folder, for notebooks: maps as small SVG, findings, saved choosers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from pathlib import PurePath

import numpy as np

from crosslatent.analysis.accuracy import PairGrid, grid
from crosslatent.analysis.bounds import over_controls, upper_bound
from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import ALL
from crosslatent.core.cards import Card, Drawing, Part, Rows, Sentences, safe
from crosslatent.core.specs import Component, Pair
from crosslatent.report import colours, formatting
from crosslatent.report.maps import LEAST_LIMIT
from crosslatent.report.verdicts.outcome import FINDING, OTHERS, method, use
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.findings import Finding, find
from crosslatent.selectors.saved import SavedSelector
from crosslatent.stats import Estimate, Floats

MOST_CELLS = 2_400
"""Cells of all maps of a card together; neighbours share a cell where there would be more."""
SHADES = 4
"""Steps of the colours, in each direction."""
_SIDE = 168


@readable()
def run_card(reader: RunReader) -> Card:
    """A run: its size, what was found, a map of each component, upper bounds beside controls."""
    data = RunData(reader)
    rows = data.con.execute("SELECT count(*) FROM rows").fetchall()[0][0]
    items = data.items
    model = PurePath(str(reader.manifest.get("model", {}).get("name", ""))).name
    task = (reader.manifest.get("task") or {}).get("name") or "some questions"
    size = [
        ("folder", reader.name),
        ("model", f"{model}, {data.n_layers} blocks"),
        ("questions", f"{len(items.ids):,} ({formatting.listing(_languages(data))})"),
        ("rows", f"{rows:,}"),
    ]
    right = data.mean(items.vanilla)
    if right.value is not None:
        size.append(("unmodified", f"{_share(right)} right"))
    finding, why = find(data)
    said = [why] if finding is None else [FINDING.say(finding), use(finding)]
    divided = "" if finding is None else why
    best = {} if finding is None else {finding.pair.component: finding.pair}
    parts: list[Part] = [Rows(size), Sentences(said), Sentences([divided], soft=True)]
    parts += _maps(data, {name: (one.source, one.target) for name, one in best.items()})
    return Card(f"Run of {task}", [*parts, *_bounds(data)])


def _languages(data: RunData) -> list[str]:
    found = data.con.execute("SELECT DISTINCT lang FROM items ORDER BY lang").fetchall()
    names = [formatting.language(lang) for (lang,) in found]
    return names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"]


def _share(one: Estimate) -> str:
    return formatting.with_interval(one, difference=False)


def _maps(data: RunData, marked: dict[str, Pair]) -> list[Part]:
    mask = data.items.in_group(None, None)
    grids = [grid(data, one, ALL, ALL, mask, 0) for one in data.components]
    return [thumbnail(one, marked.get(one.component), len(grids)) for one in grids]


def thumbnail(of: PairGrid, marked: Pair | None = None, among: int = 1) -> Drawing:
    """A map of all pairs as a small picture: source layers upwards, target layers to the right.

    Args:
        of: the map; without gold answers, the share of changed outputs is drawn.
        marked: a pair to outline.
        among: how many maps are shown together, see `MOST_CELLS`.
    """
    judged = of.vanilla.value is not None
    cells = np.array(of.gain if judged else of.changed, dtype=float)
    n_layers = len(cells)
    step = max(1, ceil(n_layers / sqrt(MOST_CELLS / among)))
    cells = _coarse(cells, step)
    known = cells[np.isfinite(cells)]
    outline = "" if marked is None else _outline(marked, step, len(cells))
    name = formatting.first_upper(formatting.component(of.component))
    low, high = (float(each) for each in (known.min(initial=0.0), known.max(initial=0.0)))
    points = f"gain from {formatting.points(low)} to {formatting.points(high)} points"
    scale = points if judged else f"changed outputs, up to {formatting.percent(high)}"
    coarse = f"; a cell is the mean of {step} \u00d7 {step} pairs" if step > 1 else ""
    chosen = "" if marked is None else f"; outlined: {marked[0]} \u2192 {marked[1]}"
    caption = f"{name}, source \u2191 and target \u2192: {scale}; n = {of.n:,}{chosen}{coarse}."
    return Drawing(
        _svg(_paths(cells, max(high, -low, LEAST_LIMIT)) + outline, len(cells), n_layers, name),
        caption,
    )


def _coarse(cells: Floats, step: int) -> Floats:
    """Means of squares of `step` by `step` cells, of those that are known."""
    size = ceil(len(cells) / step)
    wide = np.full((size * step, size * step), np.nan)
    wide[: len(cells), : len(cells)] = cells
    blocks = wide.reshape(size, step, size, step)
    known = np.isfinite(blocks)
    count = known.sum((1, 3))
    means: Floats = np.where(known, blocks, 0.0).sum((1, 3)) / np.where(count, count, np.nan)
    return means


def _paths(cells: Floats, end: float) -> str:
    """One path for each shade; cells beside each other in a line are one step of it."""
    drawn: dict[int, list[str]] = defaultdict(list)
    for source, line in enumerate(cells):
        for target, cell in enumerate(line):
            if np.isfinite(cell):
                shade = round(SHADES * float(cell) / end)
                drawn[shade].append(f"M{target} {len(cells) - 1 - source}h1v1h-1z")
    return "".join(f'<path {_look(shade)} d="{"".join(drawn[shade])}"/>' for shade in sorted(drawn))


def _look(shade: int) -> str:
    """Class, opacity, and the colour where styles are missing."""
    if shade == 0:
        return f'class="none" fill="{colours.PALE}" fill-opacity=".5"'
    kind, fill = ("gain", colours.ACCENT) if shade > 0 else ("loss", colours.LOSS)
    return f'class="{kind}" fill="{fill}" fill-opacity="{abs(shade) / SHADES:g}"'


def _outline(pair: Pair, step: int, size: int) -> str:
    source, target = (layer // step for layer in pair)
    return (
        f'<rect class="line" fill="none" stroke="{colours.INK}" stroke-width=".15" '
        f'x="{target}" y="{size - 1 - source}" width="1" height="1"/>'
    )


def _svg(inner: str, size: int, n_layers: int, name: str) -> str:
    """Cells in a square of `_SIDE`, with the first and the last layer on both axes."""
    last, middle = n_layers - 1, _SIDE + 14
    ticks = (
        f'<text x="14" y="{_SIDE}" text-anchor="end">0</text>'
        f'<text x="14" y="10" text-anchor="end">{last}</text>'
        f'<text x="18" y="{middle}">0</text>'
        f'<text x="{_SIDE + 18}" y="{middle}" text-anchor="end">{last}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{safe(name)}" '
        f'width="{_SIDE + 20}" height="{_SIDE + 18}" font-family="sans-serif" font-size="10">'
        f'<g transform="translate(18) scale({_SIDE / size:g})">{inner}</g>{ticks}</svg>'
    )


def _bounds(data: RunData) -> list[Part]:
    """The union over all pairs beside the strongest control."""
    if data.mean(data.items.vanilla).value is None:
        return []
    rows = [_bound(data, one) for one in data.components]
    header = ("right with any pair", "true counterpart", "strongest control", "difference")
    note = "Some pair of many is right by luck alone: only the difference says something."
    return [Rows(rows, header), Sentences([note], soft=True)] if rows else []


def _bound(data: RunData, component: Component) -> tuple[str, ...]:
    name, over = formatting.component(component), over_controls(data, component)
    if over is None:
        bound = upper_bound(data, component)
        return name, "\u2013" if bound is None else _share(bound.overall), "none was run", "\u2013"
    top = over.strongest
    return (
        name,
        _share(top.true),
        f"{formatting.control(top.control)}: {_share(top.union)}",
        formatting.with_interval(top.difference, difference=True),
    )


def finding_card(
    title: str, said: Iterable[str], notes: Iterable[str], finding: Finding | None
) -> Card:
    """What was found, and each way to answer with its accuracy and its gain."""
    parts: list[Part] = [Sentences(said)]
    if finding is not None:
        header = (f"on {finding.gain.n:,} questions", "right", "gain over unmodified")
        parts.append(Rows(_ways(finding), header))
    return Card(title, [*parts, Sentences(notes, soft=True)])


def _ways(finding: Finding) -> Sequence[tuple[str, str, str]]:
    ways = [("the choice", finding.accuracy, finding.gain)]
    ways += [(f"with {OTHERS[one.name]}", one.accuracy, one.gain) for one in finding.controls]
    ways += [(method(finding, one.name), one.accuracy, one.gain) for one in finding.plain]
    return [
        ("unmodified", _share(finding.vanilla), ""),
        *(
            (name, _share(right), formatting.with_interval(gain, difference=True))
            for name, right, gain in ways
        ),
    ]


def saved_card(saved: SavedSelector) -> Card:
    """A chooser: what it does, what it looks at, what it was fitted on, what it is worth."""
    fitted, origin = saved.fitted, saved.fitted_on
    pairs = [
        f"{formatting.component(one.component)} {one.source} \u2192 {one.target}"
        for one in fitted.pairs
    ]
    more = [f"{len(pairs) - 8} more"] if len(pairs) > 8 else []
    model, task = origin.get("model") or {}, origin.get("task") or {}
    facts = [
        ("what it does", saved.about),
        ("transplants", formatting.listing([*pairs[:8], *more]) or "none"),
        ("cost", f"{fitted.cost:.3g} times the forward passes of one answer"),
        ("fitted on", f"{origin.get('items', '?')} questions ({task.get('name') or 'no name'})"),
        ("for the model", str(model.get("name") or "no name")),
    ]
    measured = origin.get("measured") or {}
    return Card(f"Chooser {saved.name}", [Rows(facts), Sentences([measured.get("sentence", "")])])
