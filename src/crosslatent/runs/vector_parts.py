"""`VectorParts`: captured vectors of a run folder, in parts of safetensors.

Each part holds one tensor a component, items layers (positions, if several) d_model in float32, and
the ids of its items, in their order, as a JSON list in its metadata, beside a checksum of the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from crosslatent.core.errors import RunFolderError
from crosslatent.core.untrusted import parse_json
from crosslatent.runs.files import BLANK, KEY, SAFETENSORS, is_whole, sealed, write_bytes
from crosslatent.runs.parts import PartFolder, able_to_read, damaged
from crosslatent.runs.run_path import RunPath, reaching, read_bytes, why

END = ".safetensors"
ITEMS = "items"
"""Metadata: the ids of the items, as a JSON list."""

Arrays = Mapping[str, NDArray[np.float32]]
"""Component -> items layers (positions) d_model."""


@dataclass(frozen=True, slots=True)
class CapturedVectors:
    """The vectors of some items.

    Attributes:
        items: their ids.
        arrays: component -> items layers (positions, if several) d_model, in float32.
    """

    items: Sequence[str]
    arrays: Arrays


class VectorParts(PartFolder):
    """The captured vectors of a run."""

    def __init__(self, folder: RunPath, guard: Callable[[], None] | None = None) -> None:
        """Vectors of which there may be none yet; arguments as for `PartTable`."""
        super().__init__(folder, END, guard)

    def write(self, name: str, vectors: CapturedVectors, /) -> None:
        """Write the vectors of some items; see `PartFolder.write`."""
        file = self._room_for(name)
        metadata = {
            ITEMS: json.dumps(list(vectors.items), ensure_ascii=False),
            KEY.decode(): BLANK.decode(),
        }
        data = safetensors.numpy.save(dict(vectors.arrays), metadata=metadata)
        write_bytes(file, sealed(data, SAFETENSORS))

    def items(self) -> set[str]:
        """The items whose vectors are there."""
        return {item for part in self.files() for item in self._read(part).items}

    def read(self, component: str) -> dict[str, NDArray[np.float32]]:
        """The vectors of one component.

        Returns:
            Item -> layers (positions, if several) d_model.

        Raises:
            RunFolderError: a part cannot be read.
        """
        found: dict[str, NDArray[np.float32]] = {}
        for part in self.files():
            vectors = self._read(part)
            if component in vectors.arrays:
                found.update(zip(vectors.items, vectors.arrays[component], strict=True))
        return found

    def _items_by_part(self, parts: Sequence[RunPath]) -> Iterator[tuple[RunPath, set[str] | str]]:
        for part in parts:
            vectors = _parsed(part)
            yield part, vectors if isinstance(vectors, str) else set(vectors.items)

    def _read(self, part: RunPath) -> CapturedVectors:
        vectors = _parsed(part)
        if isinstance(vectors, str):
            raise RunFolderError(damaged(part, vectors))
        return vectors


def _parsed(part: RunPath) -> CapturedVectors | str:
    """The content of a part, or what is wrong with it.

    Raises:
        RunFolderError: it cannot be reached, which says nothing about what is in it.
    """
    try:
        with able_to_read(part):
            with reaching(part):
                data = read_bytes(part)
            if not is_whole(data, SAFETENSORS):
                return "its checksum is not that of what is in it"
            arrays = safetensors.numpy.load(data)
            items = parse_json(_metadata(data)[ITEMS])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        return why(error)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return "its list of items cannot be read"
    if any(array.dtype != np.float32 or len(array) != len(items) for array in arrays.values()):
        return "its tensors are not those of its items"
    return CapturedVectors(items, arrays)


def _metadata(data: bytes) -> dict[str, str]:
    """Metadata of a file of safetensors: eight bytes of length, then a header of JSON."""
    header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
