"""`PartTable`: a table in parts, one file each, so that a crash loses little and no file is large.

A part is written whole, with page checksums. What cannot be read as it was written is set aside
under another name, for the rows in it to be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from crosslatent.errors import RunFolderError
from crosslatent.store.files import read_bytes, write_table
from crosslatent.store.places import is_local

if TYPE_CHECKING:
    from crosslatent.store.places import Place

PATTERN = "part-*.parquet"
DAMAGED = ".damaged"
DOUBLED = ".doubled"

_UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What Arrow raises on bytes that are no table of ours."""

_AT_ONCE = 8
"""Files that are fetched at the same time from where each takes its while."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A part that does not count any longer.

    Attributes:
        name: its file, below the run folder, as it was called.
        reason: why.
    """

    name: str
    reason: str


class PartTable:
    """One table of a run folder, in parts."""

    def __init__(self, folder: Place, schema: pa.Schema) -> None:
        """The parts in `folder`, which need not exist, with the columns of `schema`."""
        self.folder = folder
        self.schema = schema

    def write(self, name: str, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
        """Write a part, whole or not at all; one of the same name is replaced.

        Args:
            name: of the part, without ending; see `RunFolder.part_name`.
            rows: records with the columns of the schema, mappings as dicts; or a table of them.

        Raises:
            RunFolderError: it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"Cannot make the folder {str(self.folder)!r} ({error.strerror or error}): give a "
                "place that can be written."
            ) from error
        write_table(self.folder / f"{name}.parquet", rows, self.schema)

    def files(self) -> list[Place]:
        """The parts, in the order of their names."""
        if not self.folder.is_dir():
            return []
        return sorted(self.folder.glob(PATTERN), key=lambda part: part.name)

    def check(self, visit: Callable[[Place, pa.Table], None] | None = None) -> list[SetAside]:
        """Read every part wholly, and set aside what is damaged.

        Args:
            visit: gets each good part and its rows, one after the other.

        Returns:
            The parts that were set aside.
        """
        found = []
        for part, table in self._tables():
            if isinstance(table, pa.Table):
                if visit is not None:
                    visit(part, table)
            else:
                found.append(self.set_aside(part, DAMAGED, table))
        return found

    def set_aside(self, part: Place, suffix: str, reason: str) -> SetAside:
        """Take a part out of the table by another name; an earlier one of that name is replaced.

        Raises:
            RunFolderError: it cannot be renamed.
        """
        try:
            target = part.with_suffix(suffix)
            if is_local(part):
                part.replace(target)
            else:
                part.fs.mv(part.path, target.path)
        except OSError as error:
            raise RunFolderError(
                f"Cannot set aside the damaged part {str(part)!r} ({error.strerror or error}): "
                "make the folder writable, or remove the part yourself."
            ) from error
        return SetAside(f"{self.folder.name}/{part.name}", reason)

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
        for part, table in self._tables(names):
            if not isinstance(table, pa.Table):
                raise RunFolderError(damaged(part, table))
            tables.append(table.cast(schema))
        return pa.concat_tables(tables).unify_dictionaries()

    def _tables(self, columns: list[str] | None = None) -> Iterator[tuple[Place, pa.Table | str]]:
        """Each part with its rows, or with what is wrong with it."""
        parts = self.files()
        wanted = self.schema if columns is None else None
        if all(is_local(part) for part in parts):
            for part in parts:
                yield part, _read(part, columns, wanted)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for at in range(0, len(parts), _AT_ONCE):
                some = parts[at : at + _AT_ONCE]
                read = pool.map(lambda part: _read(part, columns, wanted), some)
                yield from zip(some, read, strict=True)


def damaged(part: Place, reason: str) -> str:
    """The sentence for a reader that meets a damaged part."""
    return (
        f"Cannot read {str(part)!r} ({reason}): run the same sweep command again, which sets the "
        "part aside and makes its rows anew."
    )


def _read(part: Place, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table | str:
    try:
        source = str(part) if isinstance(part, Path) else pa.BufferReader(read_bytes(part))
        with closing(pq.ParquetFile(source, page_checksum_verification=True)) as file:
            table = file.read(columns=columns)
    except _UNREADABLE as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    if schema is not None and not table.schema.equals(schema):
        return "its columns are not those of this table"
    return table
