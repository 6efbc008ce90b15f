"""The names that expressions see: of the row's columns, of the task's author, and of crosslatent.

A name that is both a column and one of ours, with two values, is refused where it is used: each has
a form of its own, ``row.number`` and ``xl.number``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crosslatent.tasks.values import written

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
