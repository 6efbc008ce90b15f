"""`Inventory`: which rows a run folder has, kept small enough for millions of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crosslatent.core.errors import RunFolderError
from crosslatent.runs.run_path import RunPath
from crosslatent.runs.schema import RowKey

Ints = NDArray[np.int64]

_LAYERS = 1 << 17
"""More than any layer, moved by one for null, can be (they are 16 bit)."""
_FIRST_CONDITION = (1 << 16) + 1
"""Rows under a condition have no source layer: here the numbers of conditions begin instead."""
_NAMES = 1 << 8
"""More than there are controls, strata or components."""


class Inventory:
    """The keys of the rows that are there.

    A key is an item (its index among the items seen) and a code, one number that encodes control,
    stratum, component, source and target, or condition: 16 bytes per row.
    """

    def __init__(
        self,
        items: Sequence[str],
        names: Sequence[str | None],
        conditions: Sequence[str],
        rows: Ints,
    ) -> None:
        """What `Counting` found: `rows` has the index of the item and the code, shape (rows, 2).

        Codes refer to `names` of controls, strata and components, and to ids of `conditions`.
        """
        self._items = list(items)
        self._names = list(names)
        self._conditions = list(conditions)
        self._rows = rows
        counts = np.bincount(rows[:, 0], minlength=len(self._items))
        self.counts: Mapping[str, int] = {
            item: int(count) for item, count in zip(self._items, counts, strict=True) if count
        }
        """Item -> how many rows of it there are; items without any are left out."""

    def keys(self, items: Iterable[str]) -> dict[str, set[RowKey]]:
        """The rows that there are of some items (ask for partly finished ones only)."""
        places = {item: at for at, item in enumerate(self._items)}
        found: dict[str, set[RowKey]] = {item: set() for item in items}
        wanted = np.array([places[item] for item in found if item in places], dtype=np.int64)
        chosen = self._rows[np.isin(self._rows[:, 0], wanted)]
        decoded = {code: self._key(code) for code in np.unique(chosen[:, 1]).tolist()}
        for place, code in chosen.tolist():
            found[self._items[place]].add(decoded[code])
        return found

    def _key(self, code: int) -> RowKey:
        code, target = divmod(code, _LAYERS)
        code, source = divmod(code, _LAYERS)
        code, component = divmod(code, _NAMES)
        control, stratum = divmod(code, _NAMES)
        name = self._names
        has_layer = source < _FIRST_CONDITION
        return RowKey(
            name[control] or "",
            name[stratum],
            name[component],
            _layer(source) if has_layer else None,
            _layer(target),
            None if has_layer else self._conditions[source - _FIRST_CONDITION],
        )


def _layer(moved: int) -> int | None:
    return moved - 32769 if moved else None


class Counting:
    """Takes part after part, and finds rows that are there twice."""

    def __init__(self) -> None:
        self._items: dict[str, int] = {}
        self._names: dict[str | None, int] = {None: 0}
        self._conditions: dict[str | None, int] = {None: 0}
        self._parts: list[RunPath] = []
        self._rows: list[Ints] = []

    def add(self, part: RunPath, table: pa.Table) -> None:
        """Take the rows of one part (the columns of `schema.KEY`).

        Raises:
            RunFolderError: there are more names than a code can tell apart.
        """
        item = _places(table["item"], self._items)
        control, stratum, component = (
            _places(table[name], self._names) for name in ("control", "stratum", "component")
        )
        source, target = (_moved(table[name]) for name in ("source", "target"))
        condition = _places(table["condition"], self._conditions)
        source = np.where(condition > 0, condition + _FIRST_CONDITION - 1, source)
        if len(self._conditions) > _LAYERS - _FIRST_CONDITION:
            raise RunFolderError(
                f"The rows up to {str(part)!r} have {len(self._conditions):,} conditions, and a "
                f"run can have {_LAYERS - _FIRST_CONDITION - 1:,}: give another folder."
            )
        if len(self._names) > _NAMES:
            raise RunFolderError(
                f"The rows up to {str(part)!r} have more than {_NAMES - 1} names of controls, "
                "strata and components together, which no sweep writes: give another folder."
            )
        code = (control * _NAMES + stratum) * _NAMES + component
        code = (code * _LAYERS + source) * _LAYERS + target
        self._parts.append(part)
        self._rows.append(np.stack([item, code], axis=1))

    def doubled(self) -> list[RunPath]:
        """Parts that hold a row for the second time; they are not counted any longer."""
        rows = _joined(self._rows)
        twice = _twice(rows)
        of_part = np.repeat(np.arange(len(self._rows)), [len(part) for part in self._rows])
        held: dict[int, list[tuple[int, int]]] = {}
        for at in twice.tolist():
            held.setdefault(int(of_part[at]), []).append((int(rows[at, 0]), int(rows[at, 1])))
        seen: set[tuple[int, int]] = set()
        found = []
        for part, keys in sorted(held.items()):
            if len(set(keys)) < len(keys) or seen.intersection(keys):
                found.append(part)
            else:
                seen.update(keys)
        places = [self._parts[at] for at in found]
        for at in reversed(found):
            del self._parts[at], self._rows[at]
        return places

    def inventory(self) -> Inventory:
        """The rows of all parts that count."""
        conditions = [name for name in self._conditions if name is not None]
        return Inventory(list(self._items), list(self._names), conditions, _joined(self._rows))


def _twice(rows: Ints) -> Ints:
    """Places of the rows that are equal to another one, in order."""
    codes, code = np.unique(rows[:, 1], return_inverse=True)
    keys = rows[:, 0] * len(codes) + code.reshape(-1)
    ordered = np.sort(keys)
    double = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(np.isin(keys, double)) if len(double) else double


def _joined(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros((0, 2), dtype=np.int64), *parts])


def _places(column: pa.ChunkedArray, known: dict[str, int] | dict[str | None, int]) -> Ints:
    """Each value's place in `known`, to which new ones are added."""
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    places = [known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()]
    indices = encoded.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
    found: Ints = np.array([*places, 0], dtype=np.int64)[indices]
    return found


def _moved(layers: pa.ChunkedArray) -> Ints:
    """Layers as numbers above 0; 0 is null."""
    numbers = layers.cast(pa.int64()).combine_chunks()
    moved: Ints = np.where(
        numbers.is_null().to_numpy(zero_copy_only=False),
        0,
        numbers.fill_null(0).to_numpy(zero_copy_only=False) + 32769,
    )
    return moved
