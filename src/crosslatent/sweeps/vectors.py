"""The vectors of a run's prompts, and of the controls made of them.

Vectors are captured when they are needed and kept while there is room: a run over many items never
holds those of all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from torch import Tensor

from crosslatent.core.errors import ITEM_FAULTS
from crosslatent.core.specs import Component
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.model import Model
from crosslatent.sweeps.control import Control, Donors, Role, SourcePrompt, Variant, made
from crosslatent.tasks import Item

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

    Attributes:
        donors: the items of the run, with their pools.
        seed: of noise.
        advance: called with the number of prompts read for a whole pool, and their total.
    """

    def __init__(
        self,
        model: Model,
        donors: Donors,
        tokens: Mapping[str, tuple[list[int], list[int]]],
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
            tokens: item id -> token ids of (main, aux).
            components: components to capture.
            seed: of noise.
            positions: how many of the last tokens to capture.
            batch_size: prompts that are captured together, if there is room for those of all items.
            paraphrase: token ids of an item's paraphrase, for the control of that name.
            room: bytes of vectors that are kept.
            advance: called with the number of prompts read for a value of a whole pool, such as its
                mean, and their total.
        """
        self._model, self._tokens = model, tokens
        self.donors, self.seed = donors, seed
        self._components = tuple(components)
        self._positions, self._paraphrase = positions, paraphrase
        self.advance = advance or _silent
        self._places = {name: place for place, name in enumerate(donors.items)}
        self._names = list(donors.items)
        width = sum(map(model.width, components))
        each = width * model.n_layers * positions * model.dtype.itemsize
        prompts = len(get_args(Role)) * len(self._names)
        # Without a grid nothing is captured.
        each = max(each, 1)
        self._size = batch_size if prompts * each <= room else 1
        self._most = max(room // (each * self._size), 8 * PREPARED_TOGETHER)
        self._kept: OrderedDict[tuple[Role, int], dict[str, _Found]] = OrderedDict()
        self._controls: dict[str, Control] = {}

    def prepare(self, wanted: Iterable[tuple[Item, Sequence[Variant]]]) -> None:
        """Capture the missing vectors that variants of some items need."""
        for item, variants in wanted:
            for variant in variants:
                self.of(self._control(variant).reads(item, variant))

    def layers(self, item: Item, variant: Variant, component: Component) -> Tensor:
        """The vectors of one variant of one item, layers (positions, if several) d_model."""
        return self._control(variant).layers(item, variant, component, self)

    def _control(self, variant: Variant) -> Control:
        if variant.control not in self._controls:
            self._controls[variant.control] = made(variant.control)
        return self._controls[variant.control]

    def of(self, prompt: SourcePrompt) -> Captured:
        """The vectors of a prompt by component, each layers (positions, if several) width.

        Raises:
            Exception: why it has none, one of `core.errors.ITEM_FAULTS`.
        """
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
            names = [name for name in names if self.donors.items[name].paraphrase is not None]
        prompts = {name: tuple(self._ids(SourcePrompt(role, name))) for name in names}
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

    def _ids(self, prompt: SourcePrompt) -> Sequence[int]:
        if prompt.role == "paraphrase":
            assert self._paraphrase is not None
            return self._paraphrase(self.donors.items[prompt.item])
        main, aux = self._tokens[prompt.item]
        return main if prompt.role == "main" else aux


def _silent(_done: int, _of: int) -> None:
    """An `advance` that does nothing."""
