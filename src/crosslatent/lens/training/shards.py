"""Files of states: named and looked up by hashes of the texts' token ids, and written whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosslatent.core.errors import RunFolderError
from crosslatent.runs.files import whole_file

UNREADABLE = (SafetensorError, OSError, RuntimeError, IndexError)
"""What a file raises that is damaged or of another form."""

Ids = tuple[int, ...]
_KEY_BYTES = 16


@dataclass
class Shard:
    """One file of states, read where it is asked for."""

    path: Path

    @property
    def open(self) -> Any:
        """Its tensors."""
        # Anew each time: pages of a file that stays open stay in memory once they were read.
        return safe_open(self.path, framework="pt")

    @cached_property
    def starts(self) -> list[int]:
        """Where each text's states begin, and where the last one's end."""
        found: list[int] = self.open.get_tensor("starts").tolist()
        return found

    def tensor(self, name: str) -> Tensor:
        """A small tensor, kept once it was read."""
        known = self.__dict__.setdefault("tensors", {})
        if name not in known:
            known[name] = self.open.get_tensor(name)
        tensor: Tensor = known[name]
        return tensor


def key_of(ids: Ids) -> bytes:
    """What a text is looked up by."""
    return hashlib.sha256(json.dumps(ids).encode()).digest()[:_KEY_BYTES]


def keys_of(texts: Sequence[Ids]) -> dict[str, Tensor]:
    """The keys of a file's texts, as it holds them: "keys", texts 16."""
    joined = bytearray(b"".join(map(key_of, texts)))
    return {"keys": torch.frombuffer(joined, dtype=torch.uint8).view(-1, _KEY_BYTES)}


def keys_in(path: Path) -> list[bytes]:
    """The keys of a file; none if it cannot be read."""
    try:
        rows = Shard(path).open.get_tensor("keys").tolist()
        return [bytes(row) for row in rows]
    except UNREADABLE:
        return []


def name_of(texts: Sequence[Ids]) -> str:
    """Name of the file of these texts; the same ones in the same order have the same."""
    digest = hashlib.sha256(b"".join(map(key_of, texts))).hexdigest()
    return f"shard-{digest[:16]}.safetensors"


def make_folder(folder: Path) -> None:
    """Make a folder for files of states.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"Cannot keep states in {str(folder.parent)!r} ({error.strerror or error}): give a "
            "folder that can be written."
        ) from error


def write_shard(path: Path, content: dict[str, Tensor]) -> None:
    """Write a file, whole or not at all.

    Raises:
        RunFolderError: it cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            save_file(content, temporary)
    except SafetensorError as error:
        raise RunFolderError(
            f"Cannot keep states in {str(path.parent)!r} ({error}): give a folder that can be "
            "written and has space left."
        ) from error
