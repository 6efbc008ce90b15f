"""Texts of runs, users and models on their way into reports: one function for each medium.

What a model answered, or what somebody called a language, may be HTML, a formula of a spreadsheet
or a command of LaTeX. It is shown as text everywhere. (For terminals:
`crosslatent.core.untrusted.shown`.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import pandas as pd

from crosslatent.core.untrusted import in_page, json_text

__all__ = [
    "file_stem", "in_csv", "in_figure", "in_page", "in_script", "printable", "short", "write_csv",
]  # fmt: skip

LONGEST_LABEL = 48
"""Letters of a name in a figure."""
LONGEST_STEM = 80
"""Letters of a file's name before its ending; most file systems allow 255 bytes for all of it."""

_FORMULA = re.compile(r"[=+\-@\t\r]")


def in_script(plain: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element.

    Raises:
        ValueError: a number is not finite.
    """
    # Neither "</script" nor "<!--", which would hide the end of the element from the browser.
    return json_text(_cleaned(plain)).replace("<", "\\u003c")


def _cleaned(plain: Any) -> Any:
    """The same with every text as `in_page` leaves it: a script writes it into the page."""
    if isinstance(plain, dict):
        return {in_page(key): _cleaned(value) for key, value in plain.items()}
    return [_cleaned(one) for one in plain] if isinstance(plain, list | tuple) else in_page(plain)


def printable(text: str) -> str:
    """Text on one line, without characters that steer a terminal or the direction of writing."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def short(text: str, most: int = LONGEST_LABEL) -> str:
    """Printable text that fits into a figure."""
    shown = in_figure(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}\u2026"


def in_figure(text: str) -> str:
    """Text for Matplotlib, which draws boxes for control characters and breaks lines at others.

    Formulas between dollar signs are none as long as ``text.parse_math`` is off.
    """
    return "".join(
        letter if letter.isprintable() or letter in _SPACES else "\ufffd" for letter in text
    )


_SPACES = "\u00a0\u202f"
"""No-break spaces of our own sentences, which Python does not call printable."""


def in_csv(value: Any) -> Any:
    """A cell of a table: a text that a spreadsheet would compute gets an apostrophe before it.

    Numbers stay numbers, also as texts.
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of a report as CSV, see `in_csv`."""
    frame.map(in_csv).to_csv(path, index=False)


def file_stem(name: str, taken: Container[str] = (), most: int = LONGEST_STEM) -> str:
    """A name for a file, out of a name that may be anything: nothing in it leads elsewhere.

    Args:
        name: such as that of a task.
        taken: stems that are in use; a number is added to what would be one of them.
        most: bytes of the stem, but for the number.
    """
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    # Programs take a name that begins with a dash for an option.
    plain = plain.lstrip("-") or "run"
    stem = plain.encode()[:most].decode(errors="ignore")
    number, found = 1, stem
    while found in taken:
        number += 1
        found = f"{stem}-{number}"
    return found
