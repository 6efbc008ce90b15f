"""What the tokens of one forward may see: of the prefix, of the row's own past, of each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

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

    def hides_prefix(
        self,
        pads: Int[Tensor, " groups"],
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
            columns = torch.arange(length - kept, length) - pads[:, None, None]
            hidden = columns < 0
            if reach is not None:
                queries = (length - pads)[:, None, None] + self.depths[..., None]
                hidden = hidden | reach.hides(queries, columns)
            self._made[key] = _mask(hidden, device)
        return self._made[key]

    def hides_suffix(
        self,
        starts: Int[Tensor, " groups"],
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
            hidden = torch.cat([self.seen.new_zeros(*self.seen.shape[:2], past), ~self.seen], -1)
            if reach is not None:
                old = torch.arange(past).expand(len(self.depths), -1)
                # A window slides along with every group; chunks begin where its text does.
                first = starts[:, None] if reach.chunked else 0
                keys, queries = first + torch.cat([old, self.depths], -1), first + self.depths
                hidden = hidden | reach.hides(queries[..., None], keys[:, None])
            self._made[key] = _mask(hidden, device)
        return self._made[key]


def _mask(hidden: Bool[Tensor, " groups #pos key"], device: torch.device) -> Mask:
    return hidden[:, None, None, None].to(device) if bool(hidden.any()) else None
