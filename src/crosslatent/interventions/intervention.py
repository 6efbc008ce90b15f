"""`Intervention`: a change of a forward: at which site, on which tokens, and how.

An intervention holds the values that it brings, so that the oracle, the engine and `patched` need
nothing else; several at once are a tuple. Each kind is one registered class (`kinds`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.plugins import Registry
from crosslatent.core.specs import UNITS, Site

if TYPE_CHECKING:
    from crosslatent.model import Model


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which tokens an intervention changes; positions count real tokens, from 0.

    Attributes:
        kind: "last": the last `count` tokens of the prompt; "span": those from `start` up to and
            without `stop`; "prompt": all tokens of the prompt; "all": generated ones as well.
        count: of "last".
        start, stop: of "span"; of "prompt" and "all", the tokens before `start` are left out.

    Raises:
        PairError: no token would be changed.
    """

    kind: Literal["last", "span", "prompt", "all"] = "last"
    count: int = 1
    start: int = 0
    stop: int = 0

    def __post_init__(self) -> None:
        """Refuse what names no token."""
        if self.kind == "last" and self.count < 1:
            raise PairError(
                f"An intervention changes the last {self.count} tokens: give 1 or more."
            )
        if self.kind == "span" and not 0 <= self.start < self.stop:
            raise PairError(
                f"An intervention changes the tokens from {self.start} up to and without "
                f"{self.stop}: give 0 <= start < stop."
            )

    @property
    def at_end(self) -> bool:
        """Whether only tokens at the end of the prompt are changed."""
        return self.kind == "last"

    @property
    def everywhere(self) -> bool:
        """Whether all tokens are changed, so that nothing need be known of the prompt."""
        return self.kind == "all" and self.start <= 0

    @property
    def about(self) -> str:
        """Which tokens, for people."""
        left_out = self.start if self.kind in ("prompt", "all") else 0
        return self._about + (f" but the first {left_out}" if left_out else "")

    @property
    def _about(self) -> str:
        return {
            "last": f"at the last {self.count} tokens of the prompt"
            if self.count > 1
            else "at the last token of the prompt",
            "span": f"at tokens {self.start} to {self.stop - 1} of the prompt",
            "prompt": "at every token of the prompt",
            "all": "at every token",
        }[self.kind]

    def among(
        self, positions: Int[Tensor, "rows pos"], lengths: Int[Tensor, " rows"]
    ) -> Bool[Tensor, "rows pos"]:
        """Which tokens of a forward are changed, as a mask."""
        lengths = lengths[:, None]
        if self.kind == "all":
            return positions >= self.start
        if self.kind == "prompt":
            return (positions >= max(self.start, 0)) & (positions < lengths)
        if self.kind == "span":
            return (positions >= self.start) & (positions < self.stop)
        return (positions >= lengths - self.count) & (positions < lengths)


LAST = Tokens()
PROMPT = Tokens("prompt")
ALL = Tokens("all")
BUT_THE_FIRST = Tokens("all", start=1)
"""The first token's state is often hundreds of times larger than others, and of no language."""

Values = Float[Tensor, "tokens width"]
"""Values of a site at the tokens that are changed."""

Change = Callable[[Values], Values]
"""What takes the place of a site's own values."""


class Intervention(ABC):
    """A change at one site.

    Attributes:
        site: component and block.
        tokens: which tokens are changed.
    """

    site: Site
    tokens: Tokens

    @property
    def about(self) -> str:
        """What it is, for people; without a full stop."""
        return f"{type(self).__name__} of {self.where}, {self.tokens.about}"

    @property
    def where(self) -> str:
        """Its site, for people."""
        return f"{self.site.component} of block {self.site.layer}"

    @abstractmethod
    def change(self, own: Values, back: int | None = None, /) -> Values:
        """The values that take the place of the site's own.

        Args:
            own: the site's own values.
            back: of `Tokens` "last", which token it is, counted back from the last one; None where
                the tokens are others.
        """

    @classmethod
    def of_text(cls, model: Model, settings: str) -> Iterator[tuple[str, tuple[Self, ...]]]:
        """What settings in words stand for: a label and interventions for each condition.

        Raises:
            UsageError: the kind has no such form, or these are not in it.
            PairError: the model has no such place.
        """
        del model, settings
        raise UsageError(
            f"Interventions of the kind {cls.__name__} cannot be given in words: make them in "
            "Python."
        )

    @classmethod
    def together(cls, members: Sequence[Self], back: int) -> Change:
        """One function for several interventions of a kind at a site, a token each."""
        first = members[0]
        if all(member is first for member in members):
            return lambda own: first.change(own, back)
        return lambda own: torch.cat(
            [member.change(own[row : row + 1], back) for row, member in enumerate(members)]
        )

    def in_float32(self) -> Self:
        """The same with values in float32; itself where it has none."""
        return self


def at_end(row: tuple[Intervention, ...]) -> tuple[Intervention, ...]:
    """Those of a row that change only tokens at the end of the prompt."""
    return tuple(each for each in row if each.tokens.at_end)


def beyond_end(row: tuple[Intervention, ...]) -> tuple[Intervention, ...]:
    """Those of a row that change other tokens too."""
    return tuple(each for each in row if not each.tokens.at_end)


def tail(row: tuple[Intervention, ...]) -> int:
    """How many tokens at the end of the prompt must be read with a row; 1 if it changes none."""
    return max((each.tokens.count for each in row if each.tokens.at_end), default=1)


def check_sites(row: tuple[Intervention, ...]) -> None:
    """Refuse two interventions at one site at the end of the prompt: which would count?

    Raises:
        PairError: there are.
    """
    sites = [(each.site.layer, _module(each.site)) for each in at_end(row)]
    for layer, module in sites:
        if sites.count((layer, module)) > 1:
            raise PairError(
                f"A row edits {module} of block {layer} more than once: keep one of the edits."
            )


def check_places(model: Model, row: tuple[Intervention, ...]) -> None:
    """Refuse sites that a model does not have.

    Raises:
        PairError: it has no such component, block, neurons or heads.
    """
    for each in row:
        component = model.check_component(each.site.component)
        if not 0 <= each.site.layer < model.n_layers:
            raise PairError(
                f"An intervention is at block {each.site.layer}, but this model has "
                f"{model.n_layers}: use 0 to {model.n_layers - 1}."
            )
        if component in UNITS:
            model.units(component)


def check_row(row: tuple[Intervention, ...], length: int) -> None:
    """Refuse what cannot be done to a prompt of `length` tokens.

    Raises:
        PairError: a site is changed twice at the end of the prompt, or more tokens than it has.
    """
    check_sites(row)
    if tail(row) > length:
        raise PairError(
            f"A row edits the last {tail(row)} tokens, but the prompt has {length}: edit at most "
            "as many."
        )
    for each in row:
        if each.tokens.kind == "span" and each.tokens.stop > length:
            raise PairError(
                f"A row edits the tokens up to {each.tokens.stop}, but the prompt has {length}: "
                "end the span within it."
            )


def _module(site: Site) -> str:
    return "attn" if site.component == "attn_residual" else site.component


_Kind = TypeVar("_Kind", bound="type[Intervention]")

KINDS: Registry[type[Intervention]] = Registry(
    "intervention", "interventions.kinds", "interventions.intervention:Intervention"
)
"""Classes of interventions; other packages name theirs as entry points of the group
``crosslatent.interventions``."""


def register_intervention(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a kind of interventions known under a name.

    Raises:
        UsageError: the name is another kind's.
    """
    return KINDS.register(name)
