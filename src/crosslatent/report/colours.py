"""The report's colours: one accent, greys, and a diverging scale safe for colour-blind readers.

Blue against orange-brown differ in lightness and in hue under all common colour vision
deficiencies (Okabe and Ito 2008). Zero is the colour of the page.
"""

from __future__ import annotations

ACCENT = "#0b62a4"
LOSS = "#b45309"
GREY = "#6b7680"
PALE = "#c3cad0"
SOFT = "#59646d"
INK = "#1c2226"

Scale = list[tuple[float, str]]

DIVERGING_LIGHT: Scale = [
    (0.0, "#9a4304"),
    (0.25, "#e0985a"),
    (0.5, "#f7f7f5"),
    (0.75, "#6aa9d8"),
    (1.0, "#08508a"),
]
DIVERGING_DARK: Scale = [
    (0.0, "#f2a35c"),
    (0.25, "#9a5a22"),
    (0.5, "#20262b"),
    (0.75, "#2a6d9f"),
    (1.0, "#7cc4f5"),
]
SEQUENTIAL_LIGHT: Scale = [(0.0, "#f7f7f5"), (0.5, "#6aa9d8"), (1.0, "#08508a")]
SEQUENTIAL_DARK: Scale = [(0.0, "#20262b"), (0.5, "#2a6d9f"), (1.0, "#7cc4f5")]

LANGUAGES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b7680")
"""Okabe and Ito (2008), without yellow, which a white page swallows, and with a grey."""
LANGUAGES_DARK = ("#4a9fe0", "#f0803c", "#2fc79a", "#e39ac4", "#f2bb4a", "#9ad6fa", "#a3adb5")
