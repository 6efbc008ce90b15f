"""HTML pages of Lens: templates filled in, and the data of their scripts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from crosslatent.report import forest, formatting
from crosslatent.report.lens import marks
from crosslatent.report.safe import in_page, in_script

_FOLDER = files("crosslatent.report") / "templates"


def render(template: str, page: Any, *, plotly: bool) -> str:
    """A page as one self-contained HTML text.

    Args:
        template: its file in ``templates/lens``.
        page: what the template shows as ``page``.
        plotly: whether the page has interactive figures.
    """
    environment = Environment(
        loader=PackageLoader("crosslatent.report", "templates/lens"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=in_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(formatting=formatting, number=forest.number, glyphs=marks.GLYPHS)
    return environment.get_template(template).render(
        page=page,
        css=_text("report.css") + _text("lens/lens.css") + _colours(),
        script=_text("lens/lens.js") if plotly else "",
        plotly=get_plotlyjs() if plotly else "",
    )


def payload(chart: Mapping[str, Any], scales: Mapping[str, Any]) -> str:
    """A figure with its frames and colour scales as JSON, see `safe.in_script`."""
    return in_script({**chart, "scales": scales})


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _colours() -> str:
    """The languages' colours as CSS variables."""
    light, dark = (
        "".join(f"--lang-{place}:{colour};" for place, colour in enumerate(tones))
        for tones in (marks.LIGHT, marks.DARK)
    )
    return f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
