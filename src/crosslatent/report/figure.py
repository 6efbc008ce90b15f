"""Figures by name: each is a function that draws on axes, adds to a caption and returns a table.

A page, the files for papers and the CSV beside them all come from one call of that function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, update_wrapper
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from crosslatent.analysis import Summary
from crosslatent.analysis.figure_tables import long_table
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import Registry
from crosslatent.core.untrusted import one_line
from crosslatent.report.drawing import WIDTH, in_page, save, styled
from crosslatent.report.forest import Forest, draw
from crosslatent.report.safe import file_stem, write_csv
from crosslatent.selectors import Choosing

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Reported:
    """What a figure may show of one run.

    Attributes:
        analysis: of all runs of the report.
        summary: the run's part of it.
        split: the split that gains are shown on; None = all questions.
        choosing: how pairs were chosen for each question.
        part: what this drawing is of, where a figure has a drawing for each of several parts, such
            as the components; else "".
    """

    analysis: Summary
    summary: RunSummary
    split: str | None
    choosing: Choosing
    part: str = ""

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Every figure of the run in one long table, see `crosslatent.analysis.estimates`."""
        alone = replace(
            self.analysis, runs=[self.summary], modules=None, repeats=[], comparison=None
        )
        return long_table(alone, [self.choosing])


_LONGEST_NAME = 60
"""Bytes of a figure's name and part in the name of its files, which the task's stem is before."""

Draw = Callable[[Axes, list[str], Reported], "pd.DataFrame"]
Parts = Callable[[Reported], Sequence[str]]


class Figure:
    """A registered figure. `parts`: it is drawn once for each of them."""

    def __init__(self, draw: Draw, parts: Parts | None) -> None:
        """A figure with the name and the docstring of its function."""
        self.draw, self.parts = draw, parts
        update_wrapper(self, draw)

    def __call__(self, axes: Axes, caption: list[str], run: Reported) -> pd.DataFrame:
        """As `draw`."""
        return self.draw(axes, caption, run)


FIGURES: Registry[Figure] = Registry(
    "figure", "report.figures", "report.figure:Figure", decorator="register_figure"
)
"""The figures by name; other packages name theirs as entry points of the group
``crosslatent.figures``."""


def register_figure(name: str, *, parts: Parts | None = None) -> Callable[[Draw], Figure]:
    """A decorator that makes a function ``(axes, caption, run) -> DataFrame`` known as a figure.

    The function draws on the axes, adds sentences to the list `caption`, and returns the rows that
    it drew; without rows the figure is left out. Reports show it on their page, and write it as
    ``TASK-NAME.png``, ``.pdf``, ``.svg`` and ``.csv``. Of `Reported` it may use all, such as
    `Reported.estimates`.

    Args:
        name: of the figure, for its files.
        parts: gives what the figure is drawn for, one drawing each, such as components: the
            function finds it in `Reported.part`. None = one drawing.

    Raises:
        UsageError: the name is another figure's.
    """
    return lambda draw: FIGURES.register(name)(Figure(draw, parts))


def components(run: Reported) -> Sequence[str]:
    """The components that were transplanted, as parts of a figure."""
    return run.summary.components


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure on a page.

    Attributes:
        part: what it is of, see `Reported.part`.
        svg: a part of the page already.
        caption: plain text.
        stem: name of its files, without the ending; empty if it has none.
    """

    part: str
    svg: str
    caption: str
    stem: str = ""


def draw_run(run: Reported, folder: Path, stem: str) -> dict[str, list[Drawn]]:
    """Draw every figure that has rows, and write its files.

    Args:
        run: what is shown.
        folder: gets the files.
        stem: what their names begin with.

    Returns:
        By name, the drawings of each part.

    Raises:
        UsageError: a figure of another package cannot be loaded, or fails.
    """
    taken: list[str] = []
    drawn: dict[str, list[Drawn]] = {}
    for name in FIGURES:
        figure = FIGURES[name]
        try:
            drawn[name] = list(_parts(figure, name, run, folder / stem, taken))
        except Exception as error:
            if name in FIGURES.own:
                raise
            raise UsageError(
                f"The figure {name!r} of {figure.__module__} cannot be drawn "
                f"({type(error).__name__}: {one_line(error)}): mend that package, or uninstall it."
            ) from error
    return {name: parts for name, parts in drawn.items() if parts}


def _parts(
    figure: Figure, name: str, run: Reported, start: Path, taken: list[str]
) -> Iterator[Drawn]:
    """The drawings of a figure; their files' names begin with `start`, and none is in `taken`."""
    for part in figure.parts(run) if figure.parts is not None else ("",):
        run.part = part
        plain = "-".join(text for text in (name.replace("_", "-"), part) if text)
        taken.append(file_stem(plain, taken, _LONGEST_NAME))
        stem = start.with_name(f"{start.name}-{taken[-1]}")
        drawn = _drawn(partial(figure, run=run), stem, part)
        if drawn is not None:
            yield drawn


def draw_one(name: str, run: Reported, stem: Path, width: float) -> Drawn | None:
    """Draw one registered figure of ``run.part``, `width` points wide; None if it has no rows."""
    return _drawn(partial(FIGURES[name], run=run), stem, run.part, width)


def draw_forest(title: str, rows: Forest, stem: Path) -> Drawn:
    """Draw a forest and write its files."""
    return draw_figure(lambda axes, caption: draw(axes, caption, title, rows), stem)


def draw_figure(draw: Callable[[Axes, list[str]], pd.DataFrame], stem: Path) -> Drawn:
    """Draw a figure that has rows and is of no single run, and write its files."""
    drawn = _drawn(draw, stem)
    assert drawn is not None, "a figure that is drawn has rows"
    return drawn


def _drawn(
    draw: Callable[[Axes, list[str]], pd.DataFrame],
    stem: Path,
    part: str = "",
    width: float = WIDTH,
) -> Drawn | None:
    """Draw one figure and write its files; None if it has no rows."""
    caption: list[str] = []
    with styled():
        canvas = Canvas(figsize=(width / 72, 3.4), layout="constrained")
        table = draw(canvas.add_subplot(), caption)
        if not len(table):
            return None
        said = " ".join(caption)
        svg = in_page(save(canvas, stem), escape(said))
    write_csv(table, stem.with_name(f"{stem.name}.csv"))
    return Drawn(part, svg, said, stem.name)
