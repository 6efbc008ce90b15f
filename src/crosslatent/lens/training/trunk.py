"""What enters the first trained block, and what the untouched blocks made of it, computed once.

Training changes nothing below its first block, so what enters that block is the same in every step
and epoch. It is computed for every text once, in large batches of like lengths, without logits and
without gradients, and kept on disk. The reference of the losses is read in the same pass: Lens
(arXiv 2410.04407) runs a frozen copy of the model beside the trained one (docs/methods.md, 7.2, a
copy of the trained blocks would do), but what a frozen copy gives for a text never changes either,
so its output is kept instead, two vectors for each text and layer, and no second model exists.

A language's states are in a folder whose name is a hash of all that decides them: the model, the
first trained block, the layers read, the precision and the token ids::

    trunk.json                what is there; written last
    shard-00000.safetensors   states (tokens d_model, one text after the other), starts (texts + 1),
                              and by layer last.L and mean.L (texts d_model)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crosslatent.lens.space import FINAL, Layer
from crosslatent.lens.training.losses import last_token, token_mean
from crosslatent.lens.training.processes import Processes
from crosslatent.lens.training.top import autocast
from crosslatent.model import Model, PromptBatch, encode_batch, reading
from crosslatent.model.tensors import block_input
from crosslatent.specs import Site, canonical_hash
from crosslatent.store.files import whole_file, write_json

VERSION = 1
SHARD_BYTES, MOST_SHARDS = 32 * 2**20, 128
"""Bytes of states in a file, give or take a text; more where there would be too many files."""

BATCH_TOKENS = {"cpu": 2048}
"""Padded tokens of a forward on a kind of device: enough to keep it busy."""
MOST_BATCH_TOKENS = 16384

Ids = tuple[int, ...]
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
class Trunk:
    """The states of one language's texts, on disk.

    Attributes:
        folder: where they are.
        cut: where the model is cut.
        place: token ids of a text -> its number here.
        computed: texts that were computed for this run, and not found.
    """

    folder: Path
    cut: Cut
    place: Mapping[Ids, int]
    computed: int
    _shards: list[_Shard] = field(default_factory=list, repr=False)

    def entering(self, ids: Ids) -> Tensor:
        """What enters the first trained block, pos d_model; not for block 0, which needs none."""
        shard, text = self._find(ids)
        start, stop = shard.starts[text], shard.starts[text + 1]
        states: Tensor = shard.open.get_slice("states")[start:stop]
        return states

    def reference(self, ids: Ids, layer: Layer, pooling: str) -> Tensor:
        """What the untouched model has at a layer, d_model; `pooling` is "last" or "mean"."""
        shard, text = self._find(ids)
        return shard.tensor(f"{pooling}.{layer}")[text]

    def _find(self, ids: Ids) -> tuple[_Shard, int]:
        place = self.place[ids]
        for shard in self._shards:
            if place < len(shard.starts) - 1:
                return shard, place
            place -= len(shard.starts) - 1
        raise AssertionError(f"no shard holds text {place}")


@dataclass
class _Shard:
    """One file of states, read where it is asked for."""

    path: Path

    @property
    def open(self) -> Any:
        # Anew each time: pages of a file that stays open stay in memory once they were read.
        return safe_open(self.path, framework="pt")

    @cached_property
    def starts(self) -> list[int]:
        found: list[int] = self.open.get_tensor("starts").tolist()
        return found

    def tensor(self, name: str) -> Tensor:
        """A small tensor, kept once it was read."""
        known = self.__dict__.setdefault("tensors", {})
        if name not in known:
            known[name] = self.open.get_tensor(name)
        tensor: Tensor = known[name]
        return tensor


def compute_trunk(
    model: Model,
    texts: Sequence[Sequence[int]],
    cut: Cut,
    cache: Path,
    *,
    processes: Processes | None = None,
    show: Show | None = None,
) -> Trunk:
    """The states of one language's texts: found in `cache`, or computed into it.

    Args:
        model: the untouched model.
        texts: token ids; the same text counts once.
        cut: where the model is cut.
        cache: folder for the states of any models and languages.
        processes: that do this together, each some of the files.
        show: told how many more texts are done.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    together = processes or Processes()
    ordered = sorted({tuple(ids) for ids in texts}, key=lambda ids: (len(ids), ids))
    folder = cache / _key(model, cut, ordered)
    shards = list(_shards(ordered, model))
    paths = [folder / f"shard-{number:05d}.safetensors" for number in range(len(shards))]
    missing = [
        (path, shard)
        for path, shard in zip(paths, shards, strict=True)
        if not _serves(path, shard, model, cut)
    ]
    together.wait()  # nobody writes before everybody has looked
    folder.mkdir(parents=True, exist_ok=True)
    for path, shard in together.share(missing):
        with whole_file(path) as temporary:
            save_file(_states(model, shard, cut, show), temporary)
    together.wait()
    if together.writes and missing:
        write_json(folder / "trunk.json", _about(model, cut, ordered))
    computed = sum(len(shard) for _, shard in missing)
    if show is not None:
        show(len(ordered) - computed)
    place = {ids: number for number, ids in enumerate(ordered)}
    return Trunk(folder, cut, place, computed, [_Shard(path) for path in paths])


def _key(model: Model, cut: Cut, ordered: Sequence[Ids]) -> str:
    digest = hashlib.sha256(json.dumps(ordered).encode()).hexdigest()
    return canonical_hash([_about(model, cut, ordered), digest])


def _about(model: Model, cut: Cut, ordered: Sequence[Ids]) -> dict[str, Any]:
    parts = ("type", "config_hash", "weights_hash", "dtype")
    return {
        "version": VERSION,
        "model": {part: model.identity.get(part) for part in parts},
        "first": cut.first,
        "layers": list(cut.layers),
        "precision": cut.precision,
        "texts": len(ordered),
        "tokens": sum(map(len, ordered)),
    }


def _shards(ordered: Sequence[Ids], model: Model) -> Iterator[list[Ids]]:
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


def _serves(path: Path, shard: Sequence[Ids], model: Model, cut: Cut) -> bool:
    """Whether a file is there and holds what the model gives now.

    Its shortest text is computed again: a model's identity samples its weights, and a file may have
    been damaged or replaced.
    """
    if not path.is_file():
        return False
    try:
        found = _Shard(path)
        there = {name: found.open.get_slice(name) for name in found.open.keys()}  # noqa: SIM118
        now = _states(model, shard[:1], cut, None)
        if set(there) != set(now) or len(found.starts) != len(shard) + 1:
            return False
        return all(
            torch.allclose(
                there[name][: len(value)].float(), value.float(), rtol=_tolerance(model), atol=1e-3
            )
            for name, value in now.items()
        )
    except (SafetensorError, OSError, RuntimeError):
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
        with reading(model, sites, keep), autocast(model, cut.precision):
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
