"""How languages look: names that are safe to print, colours and symbols, places for labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.subspace import Floats
from crosslatent.report import formatting
from crosslatent.report.colours import LANGUAGES
from crosslatent.report.safe import printable, short

NAMED_LANGUAGES = 6
"""Up to so many languages are labelled with their names in figures, more with their codes."""

LONGEST, LONGEST_CODE = 24, 9
"""Letters of a name and of a code in a figure."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""For Matplotlib; seven colours times seven symbols tell 49 languages apart."""
GLYPHS = ("●", "■", "◆", "▲", "▼", "✚", "✖")
"""The same as text."""

PLACES = (
    "middle right",
    "middle left",
    "top center",
    "bottom center",
    "top right",
    "top left",
    "bottom right",
    "bottom left",
)
"""Where a label may be, the best ones first."""


@dataclass(frozen=True, slots=True)
class LanguageMark:
    """One language in figures. `colour` and `symbol`: places in `LANGUAGES` and `MARKERS`."""

    lang: str
    name: str
    label: str
    colour: int
    symbol: int
    central: bool


def marks(languages: Sequence[str], central: str) -> list[LanguageMark]:
    """How each language is drawn, in their order."""
    named = len(languages) <= NAMED_LANGUAGES
    return [
        LanguageMark(
            lang=lang,
            name=name(lang),
            label=short(name(lang), LONGEST) if named else short(lang, LONGEST_CODE),
            colour=place % len(LANGUAGES),
            symbol=place // len(LANGUAGES) % len(MARKERS),
            central=lang == central,
        )
        for place, lang in enumerate(languages)
    ]


def name(code: str) -> str:
    """Name of a language, printable, on one line."""
    return printable(formatting.language(code))


def isolated(text: str) -> str:
    """Text that does not turn the sentence around it: from right to left stays inside."""
    if any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text):
        return f"\u2068{text}\u2069"
    return text


def label_places(
    points: Floats,
    labels: Sequence[str],
    *,
    letter: tuple[float, float],
    mark: float,
) -> list[int]:
    """Where labels of points stand so that they hide each other least: places in `PLACES`.

    Args:
        points: the points, on a square from 0 to 1, points 2.
        labels: their labels.
        letter: width and height of a letter, on the same scale.
        mark: radius of a mark, on the same scale.

    Each label takes the best place beside those that stand already, and again once all stand.
    """
    half = np.array([mark, mark])
    obstacles = np.concatenate([points - half, points + half], axis=1)
    boxes = [_boxes(point, _width(label) * letter[0], letter[1], mark)
             for point, label in zip(points, labels, strict=True)]  # fmt: skip
    chosen: dict[int, int] = {}
    for place in [*range(len(labels))] * 2:
        others = [boxes[other][spot] for other, spot in chosen.items() if other != place]
        blocked = np.array([*others, *np.delete(obstacles, place, axis=0)]).reshape(-1, 4)
        costs = [_hidden(box, blocked) for box in boxes[place]]
        chosen[place] = int(np.argmin(costs))
    return [chosen[place] for place in range(len(labels))]


def _width(label: str) -> float:
    """Letters, where wide ones of East Asia count twice."""
    return sum(2.0 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in label)


def _boxes(point: Floats, width: float, height: float, mark: float) -> NDArray[np.float64]:
    """Left, bottom, right, top of a label in each of `PLACES`."""
    x, y = point
    found = []
    for place in PLACES:
        upright, sideways = place.split()
        gap = mark if upright == "middle" else 0.7 * mark
        left = {"right": x + gap, "left": x - gap - width, "center": x - width / 2}[sideways]
        low = {"middle": y - height / 2, "top": y + mark, "bottom": y - mark - height}[upright]
        found.append((left, low, left + width, low + height))
    return np.array(found)


def _hidden(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Area that a label shares with others, and has outside the square (which counts double)."""
    left, low, right, top = box
    wide = np.minimum(right, others[:, 2]) - np.maximum(left, others[:, 0])
    high = np.minimum(top, others[:, 3]) - np.maximum(low, others[:, 1])
    shared = float((np.clip(wide, 0, None) * np.clip(high, 0, None)).sum())
    inside = max(min(right, 1.0) - max(left, 0.0), 0.0) * max(min(top, 1.0) - max(low, 0.0), 0.0)
    return shared + 2 * float((right - left) * (top - low) - inside)
