"""Where a row's vector comes from: the true transplant, or one of the controls.

An upper bound over many pairs rises by luck alone, so it is compared with the same pairs and the
same number of attempts under vectors that cannot carry the item's meaning:

- ``shuffled``: another item's aux prompt; ONE donor per item and stratum, kept over all pairs (a
  fresh donor per pair would inflate the union). Strata: donors with the same gold answer, and with
  a different one; items without gold answers have the stratum ``any`` (see `donors`);
- ``noise``: Gaussian with the true vector's norm, one draw per (item, source), reused over targets;
- ``mean``: the mean vector of that layer over the other questions of the pool;
- ``self``: the vector comes from main itself, so no second language is involved;
- ``paraphrase``: the vector comes from main in other words of its own language, where an item has
  them: the meaning is there, the second language is not.

Vectors are captured when they are needed and kept while there is room: a run over many items never
holds those of all.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from crosslatent.core.errors import ITEM_FAULTS
from crosslatent.core.specs import Component
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.model import Model
from crosslatent.sweeps.donors import Donors, Pool, Variant, pool_of
from crosslatent.tasks import Item

__all__ = ["PREPARED_TOGETHER", "Tokens", "Variant", "Vectors"]


class Tokens(Protocol):
    """Item id -> token ids of (main, aux), which may be made only when they are asked for."""

    def __getitem__(self, name: str, /) -> tuple[list[int], list[int]]:
        """The ids of one item."""
        ...


Role = Literal["main", "aux", "paraphrase"]


class Prompt(NamedTuple):
    """A prompt that vectors are captured from."""

    role: Role
    item: str


PREPARED_TOGETHER = 16
"""Items that rows are made for together."""

_Found = Captured | Exception
"""The vectors of a prompt, or why there are none."""

_ROOM = 2**30
"""Bytes of vectors that are kept for rows that may need them again."""


class Vectors:
    """The vectors of all variants of all items.

    Padding, and what else is in a batch, moves the last bits of a vector. So items are captured in
    fixed groups of neighbours, or each by itself where not all can be kept: which rows are missing,
    and who else works on the run, then changes nothing.
    """

    def __init__(
        self,
        model: Model,
        donors: Donors,
        tokens: Tokens,
        components: Sequence[Component],
        *,
        seed: int = 0,
        positions: int = 1,
        batch_size: int = 16,
        paraphrase: Callable[[Item], Sequence[int]] | None = None,
        room: int = _ROOM,
        advance: Callable[[int, int], None] | None = None,
    ) -> None:
        """Prepare to capture.

        Args:
            model: the model.
            donors: the items of the run, with their pools.
            tokens: token ids of the items' prompts.
            components: components to capture.
            seed: of noise.
            positions: how many of the last tokens to capture.
            batch_size: prompts that are captured together, if there is room for those of all items.
            paraphrase: token ids of an item's paraphrase, for the control of that name.
            room: bytes of vectors that are kept.
            advance: told how many prompts of how many have been read for the mean of a pool.
        """
        self._model, self._donors, self._tokens = model, donors, tokens
        self._components = tuple(components)
        self._seed, self._positions = seed, positions
        self._paraphrase, self._advance = paraphrase, advance
        self._places = {name: place for place, name in enumerate(donors.items)}
        self._names = list(donors.items)
        width = sum(map(model.width, components))
        each = width * model.n_layers * positions * model.dtype.itemsize
        prompts = len(get_args(Role)) * len(self._names)
        self._size = batch_size if prompts * each <= room else 1
        self._most = max(room // (each * self._size), 8 * PREPARED_TOGETHER)
        self._kept: OrderedDict[tuple[Role, int], dict[str, _Found]] = OrderedDict()
        self._sums: dict[Pool, tuple[Captured, list[str]]] = {}

    def prepare(self, wanted: Iterable[tuple[Item, Sequence[Variant]]]) -> None:
        """Capture what variants of some items need, as far as it is not there."""
        for item, variants in wanted:
            for variant in variants:
                self._of(_prompt(item, variant))

    def layers(self, item: Item, variant: Variant, component: Component) -> Tensor:
        """The vectors of one variant of one item, layers (positions, if several) d_model."""
        if variant.control == "mean":
            return self._mean(item, component)
        true = self._of(_prompt(item, variant))[component]
        return self._noise(item, component, true) if variant.control == "noise" else true

    def _of(self, prompt: Prompt) -> Captured:
        group = prompt.role, self._places[prompt.item] // self._size
        if group not in self._kept:
            self._kept[group] = self._captured(*group)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        found = self._kept[group][prompt.item]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def _captured(self, role: Role, group: int) -> dict[str, _Found]:
        """The vectors of one group; if that fails, of each by itself, or why it has none."""
        names = self._names[group * self._size : (group + 1) * self._size]
        if role == "paraphrase":
            names = [name for name in names if self._donors.items[name].paraphrase is not None]
        prompts = {name: tuple(self._ids(Prompt(role, name))) for name in names}
        try:
            return {**self._read(prompts)}
        except ITEM_FAULTS:
            return {name: self._alone(name, ids) for name, ids in prompts.items()}

    def _alone(self, name: str, ids: tuple[int, ...]) -> _Found:
        try:
            return self._read({name: ids})[name]
        except ITEM_FAULTS as error:
            # Without its frames, which hold on to tensors.
            return error.with_traceback(None)

    def _read(self, prompts: Mapping[str, tuple[int, ...]]) -> dict[str, Captured]:
        """The vectors of some prompts together; equal ones are read once."""
        distinct = list(dict.fromkeys(prompts.values()))
        vectors = capture_ids(
            self._model,
            distinct,
            self._components,
            batch_size=self._size,
            positions=self._positions,
        )
        at = {ids: place for place, ids in enumerate(distinct)}
        return {
            name: {kind: vectors[kind][at[ids]] for kind in self._components}
            for name, ids in prompts.items()
        }

    def _ids(self, prompt: Prompt) -> Sequence[int]:
        if prompt.role == "paraphrase":
            assert self._paraphrase is not None
            return self._paraphrase(self._donors.items[prompt.item])
        main, aux = self._tokens[prompt.item]
        return main if prompt.role == "main" else aux

    def _mean(self, item: Item, component: Component) -> Tensor:
        pool = pool_of(item)
        if pool not in self._sums:
            self._sums[pool] = self._sum(self._donors.pools[pool])
        # In the order of the pool, so that the sum is the same in every call.
        twins = self._donors.same(item)
        total, readable = self._sums[pool]
        same = [name for name in readable if name in twins]
        left_out = [self._of(Prompt("aux", name))[component].float() for name in same]
        others = len(readable) - len(same)
        if not others:
            raise ValueError("no other question of its pool could be read for the mean")
        return (total[component] - sum(left_out, torch.zeros(()))) / others

    def _sum(self, names: Sequence[str]) -> tuple[Captured, list[str]]:
        """The vectors of a pool, summed in float32, and whose they are: one may have none."""
        sums: Captured = {}
        readable = []
        for done, name in enumerate(names, 1):
            with suppress(*ITEM_FAULTS):
                vectors = self._of(Prompt("aux", name))
                readable.append(name)
                for kind in self._components:
                    added = vectors[kind].float()
                    sums[kind] = sums[kind] + added if kind in sums else added
            if self._advance is not None:
                self._advance(done, len(names))
        return sums, readable

    def _noise(self, item: Item, component: Component, true: Tensor) -> Tensor:
        label = f"{self._seed}/{item.id}/{component}"
        digest = hashlib.sha256(label.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        noise = torch.randn(true.shape, generator=generator)
        scale = true.float().norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        scaled: Tensor = (noise * scale).to(true.dtype)
        return scaled


def _prompt(item: Item, variant: Variant) -> Prompt:
    """What the vectors of a variant are captured from; for the mean, what is left out of it."""
    if variant.control == "self":
        return Prompt("main", item.id)
    if variant.control == "paraphrase":
        return Prompt("paraphrase", item.id)
    if variant.control == "shuffled":
        assert variant.donor is not None
        return Prompt("aux", variant.donor)
    return Prompt("aux", item.id)
