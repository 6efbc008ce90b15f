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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosslatent.core.specs import FINAL, Layer, Site, canonical_hash
from crosslatent.lens.training.losses import last_token, token_mean
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.shards import (
    UNREADABLE,
    Ids,
    Shard,
    key_of,
    keys_in,
    keys_of,
    make_folder,
    name_of,
    write_shard,
)
from crosslatent.lens.training.trained_blocks import autocast
from crosslatent.model import Model, PromptBatch, encode_batch, reading
from crosslatent.model.modes import answering
from crosslatent.model.trace import block_input
from crosslatent.runs.files import write_json

VERSION = 2
SHARD_BYTES, MOST_SHARDS = 32 * 2**20, 128
"""Bytes of states in a file, give or take a text; more where there would be too many files."""

BATCH_TOKENS = {"cpu": 2048}
"""Padded tokens of a forward on a kind of device: enough to keep it busy."""
MOST_BATCH_TOKENS = 16384

Show = Callable[[int], None]
"""Gets how many more texts are done."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a model is cut into trunk and top, and what is read above.

    Attributes:
        first: the lowest trained block.
        layers: where the reference is read.
        precision: "float32" or "bfloat16", in which forwards run.
    """

    first: int
    layers: tuple[Layer, ...]
    precision: str


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
        start, stop = shard.starts[text], shard.starts[text + 1]
        states: Tensor = shard.open.get_slice("states")[start:stop]
        return states

    def reference(self, ids: Ids, layer: Layer, pooling: str) -> Tensor:
        """What the untouched model has at a layer, d_model; `pooling` is "last" or "mean"."""
        shard, text = self.place[ids]
        return shard.tensor(f"{pooling}.{layer}")[text]


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
    parts = [[ids for ids in part if key_of(ids) not in places] for part in _parts(ordered, model)]
    missing = {name_of(part): part for part in parts if part}
    make_folder(folder)
    for name in together.share(list(missing)):
        write_shard(
            folder / name, _states(model, missing[name], cut, show) | keys_of(missing[name])
        )
    together.wait()
    if together.writes and missing:
        write_json(folder / "trunk.json", _about(model, cut))
    computed = sum(map(len, missing.values()))
    if show is not None:
        show(len(ordered) - computed)
    for name, part in missing.items():
        places |= {key_of(ids): (name, number) for number, ids in enumerate(part)}
    shards = {name: Shard(folder / name) for name, _ in places.values()}
    found = {ids: places[key_of(ids)] for ids in ordered}
    place = {ids: (shards[name], number) for ids, (name, number) in found.items()}
    return FrozenCache(folder, cut, computed, place)


def _look_up(
    folder: Path, ordered: Sequence[Ids], model: Model, cut: Cut
) -> dict[bytes, tuple[str, int]]:
    """File and number of the texts that are there already, by key."""
    wanted = {key_of(ids): ids for ids in ordered}
    found: dict[bytes, tuple[str, int]] = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        held = {
            key: number
            for number, key in enumerate(keys_in(path))
            if key in wanted and key not in found
        }
        if not held:
            continue
        shortest = min(held, key=lambda key: (len(wanted[key]), wanted[key]))
        if _serves(path, wanted[shortest], held[shortest], model, cut):
            found |= {key: (path.name, number) for key, number in held.items()}
    return found


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


def _serves(path: Path, ids: Ids, number: int, model: Model, cut: Cut) -> bool:
    """Whether a file holds what the model gives now.

    One text, a short one, is computed again: a model's identity samples its weights, and a file may
    have been damaged or replaced.
    """
    now = _states(model, [ids], cut, None)
    del now["starts"]
    try:
        found = Shard(path)
        start, stop = found.starts[number], found.starts[number + 1]
        rows = {name: slice(number, number + 1) for name in now} | {"states": slice(start, stop)}
        return stop - start == len(ids) and all(
            torch.allclose(
                found.open.get_slice(name)[rows[name]].float(),
                value.float(),
                rtol=_tolerance(model),
                atol=1e-3,
            )
            for name, value in now.items()
        )
    except UNREADABLE:
        return False


def _tolerance(model: Model) -> float:
    return 1e-3 if model.dtype in (torch.float32, torch.float64) else 5e-2


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
    found: dict[Layer, Tensor] = {}
    entered: list[Tensor] = []

    def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entered.append(block_input(args, kwargs).clone())

    def keep(site: Site, value: Tensor) -> None:
        found[site.layer] = value.clone()

    sites = [Site("block", layer) for layer in cut.layers if isinstance(layer, int)]
    ((_, inputs),) = batch.parts()
    decoder: Any = model.hf.base_model
    handle = model.blocks[cut.first].whole.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        with answering(model.hf), reading(model, sites, keep), autocast(model, cut.precision):
            out = decoder(**inputs, use_cache=False)
    finally:
        handle.remove()
    if FINAL in cut.layers:
        found[FINAL] = out[0]
    return entered[0], found


def batches(
    texts: Sequence[Sequence[int]], model: Model, most: int | None = None
) -> Iterator[list[Sequence[int]]]:
    """Texts of each forward, in order: as many as fit, padded to the longest.

    A text beyond the model's rotary limit is alone: it would change the embeddings of others.

    Args:
        texts: token ids, best in order of length.
        model: whose device and limit count.
        most: padded tokens of a forward.
    """
    limit = model.rotary_limit
    room = most or BATCH_TOKENS.get(model.device.type, MOST_BATCH_TOKENS)
    batch: list[Sequence[int]] = []
    width = 0
    for ids in texts:
        wider = max(width, len(ids))
        alone = limit is not None and wider > limit
        if batch and (alone or wider * (len(batch) + 1) > room):
            yield batch
            batch, wider = [], len(ids)
        batch.append(ids)
        width = wider
    if batch:
        yield batch
