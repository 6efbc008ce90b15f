"""Values of rows, the texts that they become, and the names by which expressions see them.

A table tool keeps a column of whole numbers as floats as soon as one of them is missing: 1963 is
1963.0 then, and what is missing is NaN. Here both are what they were before. A name that is both a
column and one of ours, with two values, is refused where it is used: each has a form of its own,
``row.number`` and ``xl.number``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

EXACT = 2**53
"""From here on, a float cannot tell a whole number from the next one."""


class KeptAsFloat(str):
    """A text such as "1963.0", from a column of a text table in which every value ends in .0."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """A value without what its table did to it, also within lists and mappings.

    Whole numbers that are floats or decimals become whole numbers, NaN becomes None, and numbers of
    numpy become Python's.
    """
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    return _number(value) if is_number(value) else value


def is_number(value: Any) -> bool:
    """Whether a value is a number; truth values are none."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def written(value: Any) -> str:
    """The text that a value becomes in prompts, answers and keys: 1963 for 1963.0.

    Raises:
        ValueError: it is missing, has no text of its own (a method), or none that is sure: a float
            too large to be exact, whole numbers of a text table that were kept as floats.
    """
    number = plain(value)
    # Of a value that is not defined, this raises the error that says so.
    text = str(number)
    reason = _unsure(number, text)
    if reason:
        raise ValueError(reason)
    return text


def _unsure(value: Any, text: str) -> str | None:
    """Why a value has no text that is sure to be meant."""
    if value is None:
        return "a value that is to be written is missing"
    if isinstance(value, KeptAsFloat):
        return (
            f"{text!r} is of a column whose values all end in .0: write COLUMN | int if they are "
            "whole numbers that were kept as floats, COLUMN | trim if they are texts"
        )
    if isinstance(value, float) and not abs(value) < EXACT:
        return (
            f"{text} is no number to write: floats are exact below {EXACT:,} only, so keep larger "
            "whole numbers as such, or as texts"
        )
    return f"{text} is a method or function, and no column" if callable(value) else None


def _number(value: Any) -> Any:
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        return int(value) if value.is_finite() and value == value.to_integral_value() else value
    # What numpy's float32 shows as 0.1 would be 0.10000000149011612.
    number = value if isinstance(value, float) else float(str(value))
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() and abs(number) < EXACT else float(number)


ROW, OURS = "row", "xl"
"""Names of all columns, and of all values that are ours."""

_OF_JINJA = {
    name: f"a name of Jinja's ({name})"
    for name in ("self", "super", "loop", "caller", "varargs", "kwargs")
}
_CONSTANTS = ("true", "false", "none", "True", "False", "None")
_OF_JINJA |= {name: f"a constant of Jinja's ({name})" for name in _CONSTANTS}
_SHOWN = 40


class Columns(dict[str, Any]):
    """The columns of one row, whatever their names."""

    def lacks(self, name: object) -> str:
        """What is said where a column is missing."""
        return f"there is no {name!r}: the columns are {some(self)}"


class RowValues(dict[str, Any]):
    """What expressions see of one row: bare names, and `ROW` and `OURS` with what is behind them.

    Attributes:
        columns: the row's columns.
        ours: the values of ours.
        chosen: names that the task's author gave to further values.
    """

    def __init__(self, columns: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        """Columns and values of ours, which go first."""
        self.columns, self.ours = Columns(columns), dict(ours)
        self.chosen: frozenset[str] = frozenset()
        super().__init__({**columns, **ours, ROW: self.columns, OURS: self.ours})

    def naming(self, name: str, value: Any) -> RowValues:
        """The same with a value that the task's author named."""
        new = self._copy({name: value}, self.ours)
        new.chosen = self.chosen | {name}
        return new

    def knowing(self, **ours: Any) -> RowValues:
        """The same with more values of ours; None is none."""
        known = {name: value for name, value in ours.items() if value is not None}
        both = self.ours | known
        return self._copy({**known, OURS: both}, both)

    def _copy(self, more: Mapping[str, Any], ours: dict[str, Any]) -> RowValues:
        new = RowValues.__new__(RowValues)
        dict.__init__(new, {**self, **more})
        new.columns, new.ours, new.chosen = self.columns, ours, self.chosen
        return new

    def doubtful(self, names: Iterable[str], bare: Iterable[str]) -> str | None:
        """Why one of the names used could be taken for two values; None if none could.

        Args:
            names: names that an expression uses.
            bare: those of them that are used by themselves, not as in ``row.number``.
        """
        for name in sorted(names):
            if name not in self.columns or name in self.chosen:
                continue
            column, form = self.columns[name], written_form(name)
            if name in self.ours and not _same(column, self.ours[name]):
                ours = self.ours[name]
                return (
                    f"{name!r} is both a column ({_shown(column)}) and a name of crosslatent's "
                    f"({_shown(ours)}): write {form} for the column, or {OURS}.{name} for ours"
                )
            if name in _OF_JINJA or (name in (ROW, OURS) and name in bare):
                what = _OF_JINJA.get(name, "the name of all of them together")
                return f"{name!r} is both a column and {what}: write {form} for the column"
        return None


def written_form(name: str) -> str:
    """The form in which an expression reaches a column of any name."""
    return f"{ROW}.{name}" if name.isidentifier() else f"{ROW}[{name!r}]"


def some(names: Iterable[str]) -> str:
    """Some names, for a message."""
    listed = list(names)
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    return (", ".join(map(repr, listed[:12])) or "none") + more


def _same(column: Any, ours: Any) -> bool:
    """Whether a column has our value, such as the options that were taken from it."""
    if isinstance(column, list | tuple) and isinstance(ours, list | tuple):
        try:
            return list(map(written, column)) == list(map(written, ours))
        except ValueError:
            return False
    return bool(column == ours)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}\u2026"
