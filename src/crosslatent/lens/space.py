"""`Space`: the language subspaces of all layers of a model, and the folder that keeps them.

A folder has ``space.safetensors`` (arrays) and ``space.json`` (everything else, with the hash of
the arrays). Nothing in it is executable, and reading it takes neither torch nor a model.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from crosslatent.core import __version__
from crosslatent.core.errors import SpaceError
from crosslatent.core.seen import Seen
from crosslatent.core.specs import FINAL, Layer, resolve_layer
from crosslatent.core.subspace import Subspace
from crosslatent.core.untrusted import one_line, parse_json
from crosslatent.runs.files import prepare_folder, whole_file, write_json
from crosslatent.stats import Estimate

MARKER, ARRAYS = "space.json", "space.safetensors"
FORMAT, VERSION = "crosslatent-lens-space", 1
_SEEN = "seen."
"""How the names of its arrays begin that tell which texts it was fitted on."""
SHOWN = 32
"""Most coordinates that are kept of a held-out text: figures turn the subspace to its main axes."""


@dataclass(frozen=True, slots=True)
class LayerSeparability:
    """How well linear rules tell the languages apart in one layer, on held-out texts.

    Attributes:
        layer: the layer.
        full: share classified correctly by the nearest mean in the whole space.
        specific: the same in the language-specific subspace.
        chance: what guessing would give, 1 / languages.
        n: held-out texts.
        linear: cross-validated accuracy of a learned linear rule; None with too few texts.
    """

    layer: Layer
    full: Estimate | None
    specific: Estimate | None
    chance: float
    n: int
    linear: Estimate | None = None


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of this software, of Python and of some packages, for records."""
    own = {"crosslatent": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """How a space was made; plain data.

    Attributes:
        model: "name"; "identity" as `model.model.identity_of` gives it; "rounded_weights_hash",
            which the same weights in another type of numbers share.
        pooling: "last" (the last real token of a text) or "mean" (of all its real tokens).
        chat: whether texts went through the chat template.
        chat_args: arguments that the template got, by name.
        max_tokens: where longer texts were cut; None for the model's context.
        texts: language -> texts that the means are of, all of them.
        held_out: language -> texts on which separability was measured, with means of the others.
        cut: language -> texts that were cut.
        empty: language -> texts that were left out because they were empty.
        between: per layer, the share of the variance of single states that lies between the
            languages' means; None where there is no variance.
        separability: per layer; empty if nothing was held out.
        seed: of the split.
        created: when, ISO 8601.
        versions: of the software.
        command: what was called.
    """

    model: dict[str, Any] = field(default_factory=dict)
    pooling: str = "last"
    chat: bool = False
    chat_args: dict[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    texts: dict[str, int] = field(default_factory=dict)
    held_out: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    between: list[float | None] = field(default_factory=list)
    separability: list[LayerSeparability] = field(default_factory=list)
    seed: int = 0
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Held-out texts in the specific subspaces, for figures.

    Attributes:
        langs: language of each.
        values: first coordinates in `Subspace.specific`, at most `SHOWN`.
    """

    langs: tuple[str, ...]
    values: Float32[NDArray[np.float32], "points layers coordinates"]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """The language subspaces of all layers of a model (Lens, arXiv 2410.04407, section 3.1).

    Attributes:
        blocks: of the output of each block, from the first.
        final: of the state after the final norm.
        record: how it was made.
        points: held-out texts, if there are any.
        seen: which texts it was fitted on; None if that is not known.
    """

    blocks: tuple[Subspace, ...]
    final: Subspace
    record: SpaceRecord = field(default_factory=SpaceRecord)
    points: Points | None = None
    seen: Seen | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages."""
        return self.final.languages

    @property
    def central(self) -> str:
        """The language that directions start from."""
        return self.final.central

    @property
    def targets(self) -> tuple[str, ...]:
        """The other languages."""
        return tuple(lang for lang in self.languages if lang != self.central)

    @property
    def rank(self) -> int:
        """Dimensions of the specific subspaces."""
        return self.final.rank

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the states."""
        return self.final.d_model

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, from block 0 to `FINAL`."""
        return (*range(self.n_layers), FINAL)

    @property
    def subspaces(self) -> tuple[Subspace, ...]:
        """In the order of `layers`."""
        return (*self.blocks, self.final)

    def at(self, layer: Layer) -> Subspace:
        """The subspaces of one layer; negative ones count from the last (see `block_index`)."""
        index = block_index(layer, self.n_layers)
        return self.final if index is None else self.blocks[index]

    __getitem__ = at

    def save(self, folder: Path) -> None:
        """Write the space into a folder, over one that may be there.

        Raises:
            RunFolderError: it cannot be written, or holds something else.
        """
        prepare_folder(folder, MARKER)
        packed = dump_arrays(self._arrays())
        # The JSON names the arrays' hash: a crash between the two files is seen when reading.
        with whole_file(folder / ARRAYS) as temporary:
            temporary.write_bytes(packed)
        write_json(folder / MARKER, self._plain(hashlib.sha256(packed).hexdigest()))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = ("means", "agnostic", "specific", "singular_values")
        arrays: dict[str, NDArray[Any]] = {
            name: np.stack([getattr(one, name) for one in self.subspaces]) for name in names
        }
        if self.points is not None:
            arrays["points"] = np.ascontiguousarray(self.points.values, dtype=np.float32)
        if self.seen is not None:
            arrays |= {f"{_SEEN}{name}": keys for name, keys in self.seen.arrays().items()}
        return arrays

    def _plain(self, digest: str) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "languages": list(self.languages),
            "central": self.central,
            "rank": self.rank,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "arrays_sha256": digest,
            "point_langs": list(self.points.langs) if self.points is not None else None,
            "record": asdict(self.record),
            "seen": None if self.seen is None else {"complete": self.seen.complete},
        }


def block_index(layer: Layer, n_layers: int) -> int | None:
    """0-based index of a block; None for `FINAL`.

    Raises:
        SpaceError: it is a word other than "final".
        PairError: there is no such block.
    """
    if layer == FINAL:
        return None
    if isinstance(layer, str):
        raise SpaceError(f"Unknown layer {layer!r}: give the number of a block, or {FINAL!r}.")
    return resolve_layer(layer, n_layers)


def load_space(folder: str | Path) -> Space:
    """Read a space that `Space.save` wrote.

    Raises:
        SpaceError: the folder is not one, or is damaged, or another version wrote it.
    """
    folder = Path(folder)
    plain, packed = _read(folder)
    try:
        return _space_of(plain, load_arrays(packed))
    except (SafetensorError, ValidationError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SpaceError(
            f"The language space in {str(folder)!r} is damaged ({one_line(error)}): probe "
            "again with `crosslatent lens probe`."
        ) from error


def _read(folder: Path) -> tuple[Mapping[str, Any], bytes]:
    """The two files of a folder, checked to belong to each other."""
    try:
        plain = parse_json((folder / MARKER).read_text(encoding="utf-8"))
        packed = (folder / ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        raise SpaceError(
            f"{str(folder)!r} is not a language space ({one_line(error)}): give the folder that "
            f"`crosslatent lens probe` wrote, with {MARKER} and {ARRAYS}."
        ) from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise SpaceError(f"{str(folder / MARKER)!r} is not a language space's: give another one.")
    if plain.get("version") != VERSION:
        raise SpaceError(
            f"The language space in {str(folder)!r} is of version {plain.get('version')!r}, and "
            f"this software reads {VERSION}: probe again."
        )
    if hashlib.sha256(packed).hexdigest() != plain.get("arrays_sha256"):
        raise SpaceError(
            f"{ARRAYS} in {str(folder)!r} is not the one that {MARKER} was written with: probe "
            "again, or copy both files."
        )
    return plain, packed


def _space_of(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Space:
    languages, central = _languages(plain)
    layers, width = plain["n_layers"] + 1, plain["d_model"]
    shapes = {
        "means": (layers, len(languages), width),
        "agnostic": (layers, width),
        "specific": (layers, width, plain["rank"]),
        "singular_values": (layers, len(languages) - 1),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape} and not {shape}")
        if arrays[name].dtype != np.float64 or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not made of finite numbers in float64")
    _check_bases(arrays["agnostic"], arrays["specific"])
    subspaces = [
        Subspace(languages, central, *(arrays[name][layer] for name in shapes))
        for layer in range(layers)
    ]
    langs = plain["point_langs"]
    points = None if langs is None else Points(tuple(langs), arrays["points"])
    if points is not None and points.values.shape[:2] != (len(points.langs), layers):
        raise ValueError(f"points has shape {points.values.shape}")
    record = TypeAdapter(SpaceRecord).validate_python(plain["record"])
    return Space(tuple(subspaces[:-1]), subspaces[-1], record, points, _seen_of(plain, arrays))


def _seen_of(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Seen | None:
    """Which texts it was fitted on; spaces of older versions do not say."""
    record = plain.get("seen")
    if record is None:
        return None
    hashes = {name.removeprefix(_SEEN): keys for name, keys in arrays.items() if _SEEN in name}
    return Seen.from_arrays(hashes, complete=record["complete"] is True)


def _languages(plain: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The languages and the central one."""
    languages, central = plain["languages"], plain["central"]
    if not all(isinstance(lang, str) for lang in languages):
        raise ValueError(f"languages are {languages!r} and not names")
    if len(set(languages)) < max(len(languages), 2) or central not in languages:
        raise ValueError(f"languages are {languages!r}, central {central!r}")
    return tuple(languages), central


def _check_bases(
    agnostic: Float[NDArray[Any], "layers d_model"],
    specific: Float[NDArray[Any], "layers d_model rank"],
) -> None:
    """Bases that are none would give numbers that look right."""
    if not (np.linalg.norm(agnostic, axis=1) > 0).all():
        raise ValueError("an agnostic direction is zero")
    products = specific.transpose(0, 2, 1) @ specific
    if not np.allclose(products, np.eye(specific.shape[2]), atol=1e-6):
        raise ValueError("a specific basis is not orthonormal")
