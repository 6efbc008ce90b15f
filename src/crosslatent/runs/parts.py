"""`PartTable`: a table in parts, one file each, so that a crash loses little and no file is large.

A part is written whole, with checksums. What cannot be read as it was written is set aside
under another name, for the rows in it to be made again.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.core.errors import RunFolderError, StorageError
from crosslatent.core.untrusted import one_line, short
from crosslatent.runs.files import is_whole, sync_folder, write_table
from crosslatent.runs.run_path import (
    RunPath,
    make_folder,
    names_in,
    reaching,
    read_bytes,
    refusal,
    rename,
    unreachable,
    why,
)
from crosslatent.runs.schema import completed

START, END = "part-", ".parquet"
DAMAGED = ".damaged"
DOUBLED = ".doubled"
LATE = ".late"

_NUMBERED = re.compile(r"part-(\d+)-\d+\.")

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


class PartFolder(ABC):
    """What is kept in parts, by item: those of one kind, in a folder of a run."""

    def __init__(
        self, folder: RunPath, ending: str = END, guard: Callable[[], None] | None = None
    ) -> None:
        """A folder that may have no parts yet.

        Args:
            folder: of the parts; need not exist.
            ending: of the names of its parts.
            guard: called before a part is written; raises if it must not be.
        """
        self.folder = folder
        self._ending = ending
        self._guard = guard
        self._seen: set[str] = set()

    def files(self) -> list[RunPath]:
        """The parts, in the order of their names."""
        with reaching(self.folder):
            names = names_in(self.folder)
        return [
            self.folder / name
            for name in names
            if name.startswith(START) and name.endswith(self._ending)
        ]

    def set_aside(self, part: RunPath, suffix: str, reason: str) -> SetAside:
        """Let a part count no longer; see the function of this name."""
        self._seen.discard(part.name)
        return set_aside(part, suffix, reason)

    def settle(self, session: int) -> list[SetAside]:
        """Set aside parts of earlier sessions that were not there when the parts were checked.

        A process that was thought to be gone may finish one; its rows have been made again.

        Args:
            session: the one that writes now.
        """
        reason = "an earlier session wrote it after this one had begun"
        return [
            self.set_aside(part, LATE, reason)
            for part in self.files()
            if part.name not in self._seen and _session_of(part.name, session) < session
        ]

    def _taken_stock(self) -> list[RunPath]:
        """The parts; they are remembered for `settle`, and no longer replaced."""
        parts = self.files()
        self._seen = {part.name for part in parts}
        return parts

    @abstractmethod
    def write(self, name: str, content: Any, /) -> None:
        """Write a part, whole or not at all; one of the same name and session is replaced.

        Args:
            name: of the part, without ending; see `RunFolder.part_name`.
            content: what it holds.

        Raises:
            RunFolderError: it cannot be written, or was there before this session.
        """

    @abstractmethod
    def items(self) -> set[str]:
        """The items that there is something of.

        Raises:
            RunFolderError: a part cannot be read.
        """

    @abstractmethod
    def _items_by_part(self, parts: Sequence[RunPath]) -> Iterator[tuple[RunPath, set[str] | str]]:
        """Each part with its items, or with what is wrong with it."""

    def check_items(self) -> list[SetAside]:
        """Read every part; set aside what is damaged, and what has an item for the second time."""
        aside: list[SetAside] = []
        held: set[str] = set()
        for part, items in self._items_by_part(self._taken_stock()):
            if isinstance(items, str):
                aside.append(self.set_aside(part, DAMAGED, items))
            elif held & items:
                aside.append(self.set_aside(part, DOUBLED, "it holds items of another part"))
            else:
                held |= items
        return aside

    def _room_for(self, name: str) -> RunPath:
        """Where a part may be written now.

        Raises:
            RunFolderError: it must not be, or its folder cannot be made.
        """
        if self._guard is not None:
            self._guard()
        file = self.folder / f"{name}{self._ending}"
        if file.name in self._seen:
            raise RunFolderError(
                f"The part {str(file)!r} was there before this session began, so it is not "
                "replaced: run the same sweep command again."
            )
        with reaching(self.folder):
            new = isinstance(self.folder, Path) and not self.folder.is_dir()
            make_folder(self.folder)
            if new and isinstance(self.folder, Path):
                sync_folder(self.folder.parent)
        return file


class PartTable(PartFolder):
    """One table of a run folder, in parts."""

    def __init__(
        self, folder: RunPath, schema: pa.Schema, guard: Callable[[], None] | None = None
    ) -> None:
        """A table that may have no parts yet, in `folder`, with the columns of `schema`."""
        super().__init__(folder, END, guard)
        self.schema = schema

    def write(self, name: str, rows: Sequence[Mapping[str, Any]] | pa.Table, /) -> None:
        """Write records with the columns of the schema, mappings as dicts; or a table of them."""
        write_table(self._room_for(name), rows, self.schema)

    def check(self, visit: Callable[[RunPath, pa.Table], None] | None = None) -> list[SetAside]:
        """Read every part wholly, and set aside what is damaged.

        Args:
            visit: gets each good part and its rows, one after the other.

        Returns:
            The parts that were set aside.

        Raises:
            RunFolderError: a part cannot be read just now, which says nothing about it.
        """
        found = []
        for part, table in _read_all(self._taken_stock(), schema=self.schema):
            if isinstance(table, pa.Table):
                if visit is not None:
                    visit(part, table)
            else:
                found.append(self.set_aside(part, DAMAGED, table))
        return found

    def _items_by_part(self, parts: Sequence[RunPath]) -> Iterator[tuple[RunPath, set[str] | str]]:
        for part, table in _read_all(parts, schema=self.schema):
            yield part, table if isinstance(table, str) else _items_of(table)

    def items(self) -> set[str]:
        """The items that it has rows of."""
        return _items_of(self.read(["item"]))

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
                with able_to_read(part):
                    tables.append(completed(table, schema).select(names).cast(schema))
            except (pa.ArrowException, KeyError) as error:
                raise RunFolderError(damaged(part, one_line(error))) from error
        return pa.concat_tables(tables).unify_dictionaries()


def _items_of(table: pa.Table) -> set[str]:
    return set(table["item"].unique().to_pylist())


def _session_of(part: str, unknown: int) -> int:
    """Which session wrote a part, by its name."""
    number = _NUMBERED.match(part)
    return unknown if number is None else int(number[1])


@contextmanager
def able_to_read(part: RunPath) -> Iterator[None]:
    """Around reading a part: what this process cannot do says nothing about what is in it.

    Raises:
        StorageError: there is not enough memory.
        RunFolderError: this installation of Arrow cannot read it, or reading was stopped.
    """
    try:
        yield
    except MemoryError as error:
        raise StorageError(
            f"Reading {str(part)!r} needs more memory than there is: nothing was set aside, so "
            "free some memory, or use a machine with more, and run the same command again."
        ) from error
    except (pa.ArrowNotImplementedError, pa.ArrowCancelled) as error:
        raise RunFolderError(
            f"Cannot read {str(part)!r} here ({one_line(error)}): nothing was set aside; use an "
            "installation of pyarrow that reads Parquet with zstd, and run the same command again."
        ) from error


def set_aside(part: RunPath, suffix: str, reason: str) -> SetAside:
    """Rename a part so that it is no longer read; an earlier file of that name is replaced.

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
    parts: Sequence[RunPath], columns: list[str] | None = None, schema: pa.Schema | None = None
) -> Iterator[tuple[RunPath, pa.Table | str]]:
    """Each part with its rows, or with what is wrong with it; a few are read ahead."""
    local = all(isinstance(part, Path) for part in parts)
    at_once = max(os.cpu_count() or 1, 2) if local else _FETCHED_AT_ONCE
    waiting: deque[tuple[RunPath, Future[pa.Table | str]]] = deque()
    with ThreadPoolExecutor(min(at_once, _FETCHED_AT_ONCE)) as pool:
        for part in parts:
            waiting.append((part, pool.submit(_read, part, columns, schema)))
            if len(waiting) > at_once:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()


def damaged(part: RunPath, reason: str) -> str:
    """The sentence for a reader that meets a damaged part."""
    return (
        f"Cannot read {str(part)!r} ({reason}): run the same sweep command again, which sets the "
        "part aside and makes its rows anew."
    )


def _read(part: RunPath, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table | str:
    """The rows of a part, or what is wrong with them.

    Raises:
        RunFolderError: it cannot be reached, which says nothing about what is in it.
    """
    try:
        with able_to_read(part):
            with reaching(part):
                data = read_bytes(part)
            if not is_whole(data):
                return "its checksum is not that of what is in it"
            with closing(
                pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            ) as file:
                # One thread each: parts are read side by side.
                table = file.read(columns=columns, use_threads=False)
    except UNREADABLE as error:
        return why(error)
    if schema is None:
        return table
    table = completed(table, schema)
    if not table.schema.equals(schema):
        return f"it has other columns than this table: {_difference(table.schema, schema)}"
    return table


def _difference(there: pa.Schema, wanted: pa.Schema) -> str:
    """The first column that is not as it should be."""
    for column in wanted:
        if column.name not in there.names:
            return f"{column.name!r} is missing"
        if not (found := there.field(column.name)).equals(column):
            return f"{column.name!r} is {_kind(found)}, not {_kind(column)}"
    more = [name for name in there.names if name not in wanted.names]
    return short(f"{more[0]!r} is none of its own") if more else "their order is another"


def _kind(column: pa.Field) -> str:
    return short(f"{column.type}{'' if column.nullable else ' without nulls'}")
