"""`PartTable`: a table in parts, one file each, so that a crash loses little and no file is large.

A part is written whole, with checksums. What cannot be read as it was written is set aside
under another name, for the rows in it to be made again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.errors import RunFolderError
from crosslatent.foreign import one_line
from crosslatent.store.files import write_table
from crosslatent.store.places import (
    make_folder,
    names_in,
    reaching,
    read_bytes,
    refusal,
    rename,
    unreachable,
    why,
)
from crosslatent.store.sums import is_whole

if TYPE_CHECKING:
    from crosslatent.store.places import Place

START, END = "part-", ".parquet"
DAMAGED = ".damaged"
DOUBLED = ".doubled"

UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What Arrow raises on bytes that are no table of ours."""

_FETCHED_AT_ONCE = 16
"""Parts that are fetched at the same time from where each takes its while."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A part that does not count any longer.

    Attributes:
        name: its file, below the run folder, as it was called.
        reason: why.
    """

    name: str
    reason: str


class Parts(Protocol):
    """What is kept in parts, by item."""

    def write(self, name: str, content: Any, /) -> None:
        """Write a part, whole or not at all."""

    def files(self) -> list[Place]:
        """The parts, in the order of their names."""

    def items(self) -> set[str]:
        """The items that there is something of."""

    def check(self) -> list[SetAside]:
        """Read every part, and set aside what is damaged."""


class PartTable:
    """One table of a run folder, in parts."""

    def __init__(
        self, folder: Place, schema: pa.Schema, guard: Callable[[], None] | None = None
    ) -> None:
        """A table that may have no parts yet.

        Args:
            folder: of the parts; need not exist.
            schema: the columns.
            guard: called before a part is written; raises if it must not be.
        """
        self.folder = folder
        self.schema = schema
        self._guard = guard

    def write(self, name: str, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
        """Write a part, whole or not at all; one of the same name is replaced.

        Args:
            name: of the part, without ending; see `RunFolder.part_name`.
            rows: records with the columns of the schema, mappings as dicts; or a table of them.

        Raises:
            RunFolderError: it cannot be written.
        """
        if self._guard is not None:
            self._guard()
        with reaching(self.folder):
            make_folder(self.folder)
        write_table(self.folder / f"{name}{END}", rows, self.schema)

    def files(self) -> list[Place]:
        """The parts, in the order of their names."""
        with reaching(self.folder):
            names = names_in(self.folder)
        return [
            self.folder / name for name in names if name.startswith(START) and name.endswith(END)
        ]

    def check(self, visit: Callable[[Place, pa.Table], None] | None = None) -> list[SetAside]:
        """Read every part wholly, and set aside what is damaged.

        Args:
            visit: gets each good part and its rows, one after the other.

        Returns:
            The parts that were set aside.
        """
        found = []
        for part, table in _read_all(self.files(), schema=self.schema):
            if isinstance(table, pa.Table):
                if visit is not None:
                    visit(part, table)
            else:
                found.append(set_aside(part, DAMAGED, table))
        return found

    def items(self) -> set[str]:
        """The items that it has rows of.

        Raises:
            RunFolderError: a part cannot be read.
        """
        return set(self.read(["item"])["item"].unique().to_pylist())

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, in the order of the parts.

        Args:
            columns: which; all if left out.

        Raises:
            RunFolderError: a part cannot be read.
        """
        names = list(columns) if columns is not None else self.schema.names
        schema = pa.schema([self.schema.field(name) for name in names])
        tables = [schema.empty_table()]
        for part, table in _read_all(self.files(), names):
            if not isinstance(table, pa.Table):
                raise RunFolderError(damaged(part, table))
            try:
                tables.append(table.select(names).cast(schema))
            except (pa.ArrowException, KeyError) as error:
                raise RunFolderError(damaged(part, one_line(error))) from error
        return pa.concat_tables(tables).unify_dictionaries()


def set_aside(part: Place, suffix: str, reason: str) -> SetAside:
    """Give a part a name that nobody reads; an earlier one of that name is replaced.

    Raises:
        RunFolderError: it cannot be renamed.
    """
    try:
        rename(part, f"{part.stem}{suffix}")
    except unreachable() as error:
        what = f"Cannot set aside the part {str(part)!r}, which does not count ({reason})"
        advice = "make its folder writable, or remove the part yourself."
        raise refusal(what, error, advice) from error
    return SetAside(f"{part.parent.name}/{part.name}", reason)


def _read_all(
    parts: Sequence[Place], columns: list[str] | None = None, schema: pa.Schema | None = None
) -> Iterator[tuple[Place, pa.Table | str]]:
    """Each part with its rows, or with what is wrong with it; a few are read ahead."""
    local = all(isinstance(part, Path) for part in parts)
    at_once = max(os.cpu_count() or 1, 2) if local else _FETCHED_AT_ONCE
    waiting: deque[tuple[Place, Future[pa.Table | str]]] = deque()
    with ThreadPoolExecutor(min(at_once, _FETCHED_AT_ONCE)) as pool:
        for part in parts:
            waiting.append((part, pool.submit(_read, part, columns, schema)))
            if len(waiting) > at_once:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()


def damaged(part: Place, reason: str) -> str:
    """The sentence for a reader that meets a damaged part."""
    return (
        f"Cannot read {str(part)!r} ({reason}): run the same sweep command again, which sets the "
        "part aside and makes its rows anew."
    )


def _read(part: Place, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table | str:
    """The rows of a part, or what is wrong with them.

    Raises:
        RunFolderError: it cannot be reached, which says nothing about what is in it.
    """
    with reaching(part):
        data = read_bytes(part)
    if not is_whole(data):
        return "its checksum is not that of what is in it"
    try:
        with closing(
            pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        ) as file:
            # One thread each: parts are read side by side.
            table = file.read(columns=columns, use_threads=False)
    except UNREADABLE as error:
        return why(error)
    if schema is not None and not table.schema.equals(schema):
        return "it has other columns than this table"
    return table
