"""Figures of which only the texts are made, for tests that read them: drawing takes longest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from unittest import mock

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from crosslatent.report import drawing


@contextmanager
def of_texts() -> Iterator[None]:
    """Figures hold their texts, in their colours, and no files of them are written."""
    with mock.patch.object(drawing, "svg_of", _texts), mock.patch.object(drawing, "FORMATS", ()):
        yield


def _texts(figure: Figure) -> str:
    for axes in figure.axes:
        axes.get_xticklabels()
        axes.get_yticklabels()
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text()]
    parts = (
        f'<text style="fill: {to_hex(one.get_color())}">{escape(one.get_text())}</text>'
        for one in texts
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt">{"".join(parts)}</svg>'
    )
