"""`Seen`: what something was fitted on, as hashes, so that nothing is evaluated on it unnoticed.

Beside trained weights stand ``training/seen.safetensors`` (sorted hashes of 8 bytes each) and
``training/seen.json`` (everything else, with the hash of the former). A hash is the beginning of a
SHA-256: between a million rows and a million questions one is alike by chance once in 18 million
comparisons of the two sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.errors import ModelError
from crosslatent.core.untrusted import one_line, parse_json

Keys = NDArray[np.uint64]
"""Hashes, sorted, each once."""

PLACE = "training"
"""Below the folder of a trained model: its records, among them what it was trained on."""
MARKER, ARRAYS = "seen.json", "seen.safetensors"
FORMAT, VERSION = "crosslatent-seen", 1

TOKENS, TEXT, FACT = BY = ("token ids", "normalised text", "fact")
"""How a question can match training data, in the order in which messages list it."""

_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was read while something was fitted.

    Attributes:
        rows: hashes of token ids.
        texts: hashes of normalised texts (`tasks.task.text_key`).
        facts: hashes of facts (`tasks.task.fact_key`).
        complete: whether this is all; False if it was built on something that has no such record.
    """

    rows: Keys
    texts: Keys
    facts: Keys
    complete: bool = True

    @classmethod
    def of(
        cls, *, rows: Iterable[int] = (), texts: Iterable[int] = (), facts: Iterable[int] = ()
    ) -> Seen:
        """From hashes in any order; 0 is none."""
        return cls(_sorted(rows), _sorted(texts), _sorted(facts))

    def arrays(self) -> dict[str, Keys]:
        """The hashes by name, for safetensors."""
        return {"rows": self.rows, "texts": self.texts, "facts": self.facts}

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it: the hashes of each kind in hexadecimal, one after the other."""
        hashes = {name: keys.astype(">u8").tobytes().hex() for name, keys in self.arrays().items()}
        return {"complete": self.complete, **hashes}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Seen:
        """The opposite of `to_plain`.

        Raises:
            ValueError, KeyError, TypeError: it is not made by it.
        """
        arrays = {
            name: np.frombuffer(bytes.fromhex(data[name]), dtype=">u8").astype(np.uint64)
            for name in ("rows", "texts", "facts")
        }
        return cls.from_arrays(arrays, complete=data["complete"] is True)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, complete: bool) -> Seen:
        """The opposite of `arrays`.

        Raises:
            ValueError: one is not there, or does not hold sorted hashes.
        """
        found: dict[str, Keys] = {}
        for name in ("rows", "texts", "facts"):
            keys = arrays.get(name)
            if keys is None or keys.dtype != np.uint64 or keys.ndim != 1:
                raise ValueError(f"there are no hashes of {name}")
            if (keys[1:] <= keys[:-1]).any():
                raise ValueError(f"the hashes of {name} are not sorted")
            found[name] = keys
        return cls(found["rows"], found["texts"], found["facts"], complete)


def joined(parts: Iterable[Seen | None]) -> Seen | None:
    """The union of several records, such as those of a base model and of a space.

    None is a part without a record: the result is then incomplete, or None if all parts lack one.
    """
    every = list(parts)
    known = [one for one in every if one is not None]
    if not known:
        return None
    return Seen(
        rows=np.unique(np.concatenate([one.rows for one in known])),
        texts=np.unique(np.concatenate([one.texts for one in known])),
        facts=np.unique(np.concatenate([one.facts for one in known])),
        complete=len(known) == len(every) and all(one.complete for one in known),
    )


def row_key(ids: Sequence[int]) -> int:
    """Hash of token ids."""
    return hash_of(np.asarray(ids, dtype="<u8").tobytes())


def hash_of(data: bytes) -> int:
    """The first 8 bytes of a SHA-256."""
    return int.from_bytes(hashlib.sha256(data).digest()[:_BYTES])


def among(keys: Sequence[int], known: Keys) -> NDArray[np.bool_]:
    """Which of some hashes are among others, shape (keys,)."""
    return np.isin(np.array(keys, dtype=np.uint64), known)


def _sorted(keys: Iterable[int]) -> Keys:
    found = np.unique(np.fromiter(keys, dtype=np.uint64))
    return found[found > 0]


def packed(seen: Seen) -> dict[str, bytes]:
    """The two files of a record below `PLACE`, by name; `MARKER` comes last."""
    import json

    from safetensors.numpy import save

    arrays = save(seen.arrays())
    counts = {name: len(keys) for name, keys in seen.arrays().items()}
    digest = hashlib.sha256(arrays).hexdigest()
    kind = {"format": FORMAT, "version": VERSION, "complete": seen.complete}
    header = kind | counts | {"arrays_sha256": digest}
    return {ARRAYS: arrays, MARKER: (json.dumps(header, indent=2) + "\n").encode()}


def read_seen(folder: Path) -> Seen | None:
    """What a model in a folder was trained on; None if that is not known.

    Raises:
        ModelError: there is a record, and it is damaged, or another version wrote it.
    """
    place = folder / PLACE
    if not (place / MARKER).is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = parse_json((place / MARKER).read_bytes())
        arrays = (place / ARRAYS).read_bytes()
        _check(header, arrays)
        return Seen.from_arrays(load(arrays), complete=header["complete"])
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"What the model in {str(folder)!r} was trained on cannot be read from "
            f"{PLACE}/{MARKER} ({one_line(error)}): copy both of its files again, or remove them, "
            "and it counts as not known."
        ) from error


def _check(header: Any, arrays: bytes) -> None:
    fields = header if isinstance(header, dict) else {}
    if (fields.get("format"), fields.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"its format is {fields.get('format')!r}, version {fields.get('version')}")
    if fields.get("complete") not in (True, False):
        raise ValueError("it does not say whether it is complete")
    if hashlib.sha256(arrays).hexdigest() != fields.get("arrays_sha256"):
        raise ValueError(f"{ARRAYS} is not the one that {MARKER} was written with")
