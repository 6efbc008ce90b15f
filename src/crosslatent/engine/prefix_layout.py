"""Rows of a batch arranged by the prefix that they share, and what their tokens may see.

A product of all rows with their prefixes is one batched product where every group of rows has its
own line: groups slots, with as many slots as the largest group has rows. Groups of very different
sizes are arranged apart, so that the small ones are not filled up to the large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

_CPU = torch.device("cpu")
_LIKE = 2
"""Groups of which none has more than so many times the rows of another share an arrangement."""


@dataclass(frozen=True, slots=True)
class Copies:
    """A small tensor of the CPU, and its copies on other devices.

    Each is made once: whatever is copied between a CPU and a device makes the one wait for the
    other.
    """

    here: Tensor
    _there: dict[torch.device, Tensor] = field(default_factory=dict)

    def on(self, device: torch.device) -> Tensor:
        """The tensor on a device."""
        if device == self.here.device:
            return self.here
        if device not in self._there:
            self._there[device] = self.here.to(device)
        return self._there[device]


@dataclass(frozen=True, slots=True)
class SlotBlock:
    """Neighbouring groups of like size.

    Attributes:
        groups: which.
        shape: groups slots.
        row_of_slot: the row in each slot; None if that is its own number.
    """

    groups: slice
    shape: tuple[int, int]
    row_of_slot: Int[Tensor, " places"] | None

    def gather(self, rows: Shaped[Tensor, " rows *rest"]) -> Shaped[Tensor, "groups slots *rest"]:
        """Each row in its slot."""
        if self.row_of_slot is not None:
            rows = rows.index_select(0, self.row_of_slot)
        arranged: Tensor = rows.unflatten(0, self.shape)
        return arranged


@dataclass(frozen=True, slots=True)
class Slots:
    """The arrangement of rows, in parts, and the way back.

    Attributes:
        parts: every row is in one of them.
        slot_of_row: the slot of each row, counted through all parts; None if its own number.
    """

    parts: tuple[SlotBlock, ...]
    slot_of_row: Int[Tensor, " rows"] | None

    @classmethod
    def of(cls, groups: Int[Tensor, " rows"], n_groups: int, device: torch.device) -> Slots:
        """Arrange rows.

        Args:
            groups: which group each row belongs to, on the CPU.
            n_groups: how many groups there are; a group may be without rows.
            device: where rows are arranged.
        """
        if n_groups == 1:
            return cls((SlotBlock(slice(0, 1), (1, len(groups)), None),), None)
        counts = torch.bincount(groups, minlength=n_groups)
        first = counts.cumsum(0) - counts
        by_group = torch.argsort(groups, stable=True)
        slot_of_row = torch.empty_like(by_group)
        parts, slots = [], 0
        for start, stop in _alike(counts.tolist()):
            width = int(counts[start:stop].max())
            ranks = torch.arange(width).expand(stop - start, -1)
            filled = ranks < counts[start:stop, None]
            # A slot without a row of its own repeats the group's first; nothing reads its result.
            place = first[start:stop, None] + torch.where(filled, ranks, 0)
            row_of_slot = by_group[place]
            numbers = torch.arange(slots, slots + filled.numel()).view_as(filled)
            slot_of_row[row_of_slot[filled]] = numbers[filled]
            shape = (stop - start, width)
            parts.append(SlotBlock(slice(start, stop), shape, row_of_slot.flatten().to(device)))
            slots += filled.numel()
        return cls(tuple(parts), slot_of_row.to(device))

    def scatter(
        self, parts: Sequence[Shaped[Tensor, "_groups _slots *rest"]]
    ) -> Shaped[Tensor, " rows *rest"]:
        """The rows, out of the slots of every part."""
        slots = [part.flatten(0, 1) for part in parts]
        joined = slots[0] if len(slots) == 1 else torch.cat(slots)
        return joined if self.slot_of_row is None else joined.index_select(0, self.slot_of_row)


def _alike(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of like groups, as (first, one past the last); groups without rows are left out."""
    start = 0
    for group in range(len(counts) + 1):
        run = counts[start : group + 1]
        if group < len(counts) and min(run) and max(run) <= _LIKE * min(run):
            continue
        if group > start:
            yield start, group
        start = group + (group < len(counts) and not counts[group])


def select(
    values: Shaped[Tensor, " rows *rest"], rows: Int[Tensor, " kept"]
) -> Shaped[Tensor, " kept *rest"]:
    """Some rows of a tensor, in this order; neighbours are not copied.

    Args:
        values: of all rows, on any device.
        rows: which, on the CPU.
    """
    together = neighbours(rows)
    return values[rows.to(values.device) if together is None else together]


def neighbours(rows: Int[Tensor, " kept"]) -> slice | None:
    """Rows as a range, where each is the next after the one before; rows on the CPU."""
    first, n_rows = int(rows[0]), len(rows)
    if torch.equal(rows, torch.arange(first, first + n_rows)):
        return slice(first, first + n_rows)
    return None


Hidden = Bool[Tensor, "_groups 1 1 1 #pos _key"]
"""True where a key is hidden; 1 group, or 1 pos, if all are alike."""

Mask = Hidden | None
"""None hides none."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a token may look.

    Attributes:
        tokens: size of the window (the token itself included), or of a chunk.
        chunked: whether the text is cut into chunks, within which alone tokens see each other
            (Llama 4), counted from its first real token.
    """

    tokens: int
    chunked: bool = False

    def hides(
        self, queries: Int[Tensor, "groups pos 1"], keys: Int[Tensor, "groups 1 key"]
    ) -> Bool[Tensor, "groups pos key"]:
        """Which keys are out of reach, given the positions of queries and keys."""
        if self.chunked:
            return queries // self.tokens != keys // self.tokens
        return queries - keys >= self.tokens


@dataclass(slots=True)
class Step:
    """The tokens of one forward, alike for all rows of a group.

    Attributes:
        depths: place of each token, counted from the first one after the prefix; 1 group if all
            are alike.
        seen: which tokens of this forward each may see.
    """

    depths: Int[Tensor, "groups pos"]
    seen: Bool[Tensor, "groups pos pos"]
    _made: dict[object, Mask] = field(default_factory=dict)

    @classmethod
    def chain(cls, start: int, width: int) -> Step:
        """`width` tokens one after the other, the first at depth `start`."""
        depths = torch.arange(start, start + width)[None]
        return cls(depths, torch.ones(1, width, width, dtype=torch.bool).tril())

    def on(self, device: torch.device) -> Step:
        """The same tokens on a device; one token alone needs no copy."""
        if device.type == "cpu":
            return self
        if self.depths.numel() == 1:
            depths = torch.full((1, 1), int(self.depths), device=device)
            return Step(depths, torch.full((1, 1, 1), bool(self.seen), device=device))
        return Step(self.depths.to(device), self.seen.to(device))

    def hides_prefix(
        self,
        pads: Copies,
        length: int,
        kept: int,
        reach: Reach | None,
        device: torch.device,
    ) -> Mask:
        """Which prefix columns the tokens may not see.

        Args:
            pads: columns of padding in front of each group's prefix.
            length: columns of the prefix.
            kept: how many of them, the last ones, there are keys for.
            reach: how far back a token may look; None for all the way.
            device: where the mask is wanted.
        """
        key = ("prefix", kept, reach, device)
        if key not in self._made:
            self._made[key] = self._mask(
                lambda step, place: _of_prefix(step, pads.on(place), length, kept, reach), device
            )
        return self._made[key]

    def hides_suffix(
        self,
        starts: Copies,
        past: int,
        reach: Reach | None,
        device: torch.device,
    ) -> Mask:
        """Which of the row's own tokens may not be seen: `past` ones, then those of this forward.

        Args:
            starts: tokens in each group's prefix.
            past: tokens that rows have read after the prefix, at depths 0 .. past - 1.
            reach: see `hides_prefix`.
            device: where the mask is wanted.
        """
        key = ("suffix", past, reach, device)
        if key not in self._made:
            self._made[key] = self._mask(
                lambda step, place: _of_suffix(step, starts.on(place), past, reach), device
            )
        return self._made[key]

    def _mask(self, hidden: Callable[[Step, torch.device], Tensor], device: torch.device) -> Mask:
        """A mask; made on the CPU to know whether it hides anything, then where it is wanted."""
        found = hidden(self, _CPU)
        if not bool(found.any()):
            return None
        if device.type != "cpu":
            found = hidden(self.on(device), device)
        return found[:, None, None, None]


def _of_prefix(
    step: Step, pads: Int[Tensor, " groups"], length: int, kept: int, reach: Reach | None
) -> Bool[Tensor, " groups #pos key"]:
    columns = torch.arange(length - kept, length, device=pads.device) - pads[:, None, None]
    hidden = columns < 0
    if reach is not None:
        queries = (length - pads)[:, None, None] + step.depths[..., None]
        hidden = hidden | reach.hides(queries, columns)
    return hidden


def _of_suffix(
    step: Step, starts: Int[Tensor, " groups"], past: int, reach: Reach | None
) -> Bool[Tensor, "#groups pos key"]:
    hidden = torch.cat([step.seen.new_zeros(*step.seen.shape[:2], past), ~step.seen], -1)
    if reach is not None:
        old = torch.arange(past, device=starts.device).expand(len(step.depths), -1)
        # A window slides along with every group; chunks begin where its text does.
        first = starts[:, None] if reach.chunked else 0
        keys, queries = first + torch.cat([old, step.depths], -1), first + step.depths
        hidden = hidden | reach.hides(queries[..., None], keys[:, None])
    return hidden
