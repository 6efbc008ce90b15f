"""What enters the first trained block, and what the untouched blocks made of it, computed once.

Training changes nothing below its first block, so what enters that block is the same in every step
and epoch. It is computed for every text once, in large batches of like lengths, without logits and
without gradients, and kept on disk. The reference of the losses is read in the same pass: Lens
(arXiv 2410.04407) runs a frozen copy of the model beside the trained one (docs/methods.md, 7.2, a
copy of the trained blocks would do), but what a frozen copy gives for a text never changes either,
so its output is kept instead, two vectors for each text and layer, and no second model exists.

States are in a folder whose name is a hash of all that decides them beside the text itself: the
model, the first trained block, the layers read and the precision::

    trunk.json            what these are
    shard-H.safetensors   keys (texts 16: hashes of token ids), states (tokens d_model, one text
                          after the other), starts (texts + 1), and by layer last.L and mean.L
                          (texts d_model); H is a hash of the keys

A text is looked up by its key in all files of the folder, so what was computed for any language,
any choice of rows and any run before is not computed again. Files are written whole and not changed
afterwards, so several runs can share a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import Layer, canonical_hash
from crosslatent.lens.states import length_batches
from crosslatent.lens.training.parallel_rows import Ids
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.trained_blocks import (
    Cut,
    autocast,
    last_token,
    read_layers,
    token_mean,
)
from crosslatent.model import Model, PromptBatch, encode_batch
from crosslatent.model.modes import answering
from crosslatent.model.trace import block_input
from crosslatent.runs.files import whole_file, write_json

VERSION = 2
SHARD_BYTES, MOST_SHARDS = 32 * 2**20, 128
"""Bytes of states in a file, give or take a text; more where there would be too many files."""

BATCH_TOKENS = {"cpu": 2048}
"""Padded tokens of a forward on a kind of device: enough to keep it busy."""
MOST_BATCH_TOKENS = 16384

Show = Callable[[int], None]
"""Gets how many more texts are done."""


_UNREADABLE = (SafetensorError, OSError, RuntimeError, IndexError)
"""What reading a file raises that is damaged or of another form."""
_KEY_BYTES = 16


class Shard:
    """One file of states, opened anew for each read: an open file's pages stay in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._small: dict[str, Tensor] = {}

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of a tensor."""
        with safe_open(self.path, framework="pt") as file:
            rows: Tensor = file.get_slice(name)[start:stop]
        return rows

    def small(self, name: str) -> Tensor:
        """A small tensor, kept once it was read."""
        if name not in self._small:
            with safe_open(self.path, framework="pt") as file:
                self._small[name] = file.get_tensor(name)
        return self._small[name]

    def span(self, text: int) -> tuple[int, int]:
        """Where the states of a text begin and end."""
        start, stop = self.small("starts")[text : text + 2].tolist()
        return start, stop

    def keys(self) -> list[bytes]:
        """What its texts are looked up by; none if it cannot be read."""
        try:
            return [bytes(row) for row in self.small("keys").tolist()]
        except _UNREADABLE:
            return []


@dataclass(slots=True)
class FrozenCache:
    """The states of one language's texts, on disk.

    Attributes:
        folder: where they are.
        cut: where the model is cut.
        computed: texts that were computed for this run, and not found.
        place: token ids of a text -> its file, and its number there.
    """

    folder: Path
    cut: Cut
    computed: int
    place: Mapping[Ids, tuple[Shard, int]] = field(repr=False)

    def entering(self, ids: Ids) -> Tensor:
        """What enters the first trained block, pos d_model; not for block 0, which needs none."""
        shard, text = self.place[ids]
        return shard.rows("states", *shard.span(text))

    def reference(self, ids: Ids, layer: Layer, pooling: str) -> Tensor:
        """What the untouched model has at a layer, d_model; `pooling` is "last" or "mean"."""
        shard, text = self.place[ids]
        return shard.small(f"{pooling}.{layer}")[text]


def compute_frozen_cache(
    model: Model,
    texts: Sequence[Sequence[int]],
    cut: Cut,
    cache: Path,
    *,
    processes: Processes | None = None,
    show: Show | None = None,
) -> FrozenCache:
    """The states of one language's texts: found in `cache`, or computed into it.

    Args:
        model: the untouched model.
        texts: token ids; the same text counts once.
        cut: where the model is cut.
        cache: folder for the states of any models and languages.
        processes: that do this together, each some of the files.
        show: called with the number of texts done since the last call.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    together = processes or Processes()
    ordered = sorted({tuple(ids) for ids in texts}, key=lambda ids: (len(ids), ids))
    folder = cache / canonical_hash(_about(model, cut))
    # What one process finds counts for all: another run may write between two looks.
    places = together.agree(_look_up(folder, ordered, model, cut) if together.writes else {})
    # Files hold the missing texts of fixed parts, so a resumed run makes the same batches.
    parts = [[ids for ids in part if _key(ids) not in places] for part in _parts(ordered, model)]
    missing = {_file_name(part): part for part in parts if part}
    _make(folder)
    for name in together.share(list(missing)):
        _write(folder / name, _states(model, missing[name], cut, show), missing[name])
    together.wait()
    if together.writes and missing:
        write_json(folder / "trunk.json", _about(model, cut))
    computed = sum(map(len, missing.values()))
    if show is not None:
        show(len(ordered) - computed)
    for name, part in missing.items():
        places |= {_key(ids): (name, number) for number, ids in enumerate(part)}
    shards = {name: Shard(folder / name) for name, _ in places.values()}
    located = {ids: places[_key(ids)] for ids in ordered}
    place = {ids: (shards[name], number) for ids, (name, number) in located.items()}
    return FrozenCache(folder, cut, computed, place)


def _key(ids: Ids) -> bytes:
    """What a text is looked up by."""
    return hashlib.sha256(json.dumps(ids).encode()).digest()[:_KEY_BYTES]


def _file_name(texts: Sequence[Ids]) -> str:
    """Name of the file of these texts; the same ones in the same order have the same."""
    digest = hashlib.sha256(b"".join(map(_key, texts))).hexdigest()
    return f"shard-{digest[:16]}.safetensors"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"Cannot keep states in {str(folder.parent)!r} ({error.strerror or error}): give a "
            "folder that can be written."
        ) from error


def _write(path: Path, content: dict[str, Tensor], texts: Sequence[Ids]) -> None:
    """Write a file with its texts' keys, whole or not at all."""
    joined = bytearray(b"".join(map(_key, texts)))
    keys = torch.frombuffer(joined, dtype=torch.uint8).view(-1, _KEY_BYTES)
    try:
        with whole_file(path) as temporary:
            save_file({**content, "keys": keys}, temporary)
    except SafetensorError as error:
        raise RunFolderError(
            f"Cannot keep states in {str(path.parent)!r} ({error}): give a folder that can be "
            "written and has space left."
        ) from error


def _look_up(
    folder: Path, ordered: Sequence[Ids], model: Model, cut: Cut
) -> dict[bytes, tuple[str, int]]:
    """File and number of the texts that are there already, by key."""
    wanted = {_key(ids): ids for ids in ordered}
    known: dict[bytes, tuple[str, int]] = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        shard = Shard(path)
        numbered = enumerate(shard.keys())
        held = {key: number for number, key in numbered if key in wanted and key not in known}
        if held:
            shortest = min(held, key=lambda key: (len(wanted[key]), wanted[key]))
            if _serves(shard, wanted[shortest], held[shortest], model, cut):
                known |= {key: (path.name, number) for key, number in held.items()}
    return known


def _about(model: Model, cut: Cut) -> dict[str, Any]:
    parts = ("type", "config_hash", "weights_hash", "dtype")
    return {
        "version": VERSION,
        "model": {part: model.identity.get(part) for part in parts},
        "first": cut.first,
        "layers": list(cut.layers),
        "precision": cut.precision,
    }


def _parts(ordered: Sequence[Ids], model: Model) -> Iterator[list[Ids]]:
    """Texts of each file, in order."""
    size = model.d_model * model.dtype.itemsize
    limit = max(SHARD_BYTES // size, sum(map(len, ordered)) // MOST_SHARDS)
    shard: list[Ids] = []
    tokens = 0
    for ids in ordered:
        if shard and tokens + len(ids) > limit:
            yield shard
            shard, tokens = [], 0
        shard.append(ids)
        tokens += len(ids)
    if shard:
        yield shard


def _serves(shard: Shard, ids: Ids, number: int, model: Model, cut: Cut) -> bool:
    """Whether a file holds what the model gives now.

    One text, a short one, is computed again: a model's identity samples its weights, and a file may
    have been damaged or replaced.
    """
    now = _states(model, [ids], cut, None)
    del now["starts"]
    tolerance = 1e-3 if model.dtype in (torch.float32, torch.float64) else 5e-2
    try:
        start, stop = shard.span(number)
        spans = dict.fromkeys(now, (number, number + 1)) | {"states": (start, stop)}
        return stop - start == len(ids) and all(
            torch.allclose(
                shard.rows(name, *spans[name]).float(), value.float(), rtol=tolerance, atol=1e-3
            )
            for name, value in now.items()
        )
    except (*_UNREADABLE, ValueError):
        return False


@torch.no_grad()
def _states(model: Model, texts: Sequence[Ids], cut: Cut, show: Show | None) -> dict[str, Tensor]:
    """Content of a file."""
    entering: list[Tensor] = []
    pooled: dict[str, list[Tensor]] = {
        f"{pooling}.{layer}": [] for layer in cut.layers for pooling in ("last", "mean")
    }
    for part in batches(texts, model):
        batch = encode_batch(model, part, "right")
        lengths = batch.mask.sum(1)
        states, layers = _read(model, batch, cut)
        if cut.first:
            entering.append(states[batch.mask.bool()].cpu())
        for layer, value in layers.items():
            dtype = torch.promote_types(value.dtype, torch.float32)
            pooled[f"last.{layer}"].append(last_token(value, lengths).to(dtype).cpu())
            pooled[f"mean.{layer}"].append(token_mean(value, lengths).cpu())
        if show is not None:
            show(len(part))
    starts = torch.tensor([0, *map(len, texts)]).cumsum(0)
    content = {name: torch.cat(parts) for name, parts in pooled.items()} | {"starts": starts}
    return content | ({"states": torch.cat(entering)} if cut.first else {})


def _read(model: Model, batch: PromptBatch, cut: Cut) -> tuple[Tensor, dict[Layer, Tensor]]:
    """What enters block `cut.first`, and the states of `cut.layers`; batch pos d_model each."""
    entered: list[Tensor] = []

    def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entered.append(block_input(args, kwargs).clone())

    handle = model.blocks[cut.first].whole.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        with answering(model.hf), autocast(model, cut.precision):
            layers = read_layers(model, batch, cut.layers)
    finally:
        handle.remove()
    return entered[0], layers


def batches(
    texts: Sequence[Sequence[int]], model: Model, most: int | None = None
) -> Iterator[list[Sequence[int]]]:
    """Texts of each forward, in order: as many as fit, padded to the longest.

    Args:
        texts: token ids, best in order of length.
        model: whose device and limit count.
        most: padded tokens of a forward.
    """
    room = most or BATCH_TOKENS.get(model.device.type, MOST_BATCH_TOKENS)
    for part in length_batches(texts, range(len(texts)), model.rotary_limit, tokens=room):
        yield [texts[number] for number in part]
