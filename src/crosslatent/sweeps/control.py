"""`Control`: where a row's vectors come from, if not from the item's own counterpart.

An upper bound over many pairs rises by luck alone, so it is compared with the same pairs and the
same number of attempts under vectors that cannot carry the item's meaning. Each control is one
registered class in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from crosslatent.core.plugins import CONTROL_KINDS

if TYPE_CHECKING:
    from torch import Tensor

    from crosslatent.core.specs import Component
    from crosslatent.sweeps.donors import Donors
    from crosslatent.sweeps.vectors import Vectors
    from crosslatent.tasks import Item

Role = Literal["main", "aux", "paraphrase"]

_Kind = TypeVar("_Kind", bound="type[Control]")


class Prompt(NamedTuple):
    """A prompt that vectors are captured from."""

    role: Role
    item: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get vectors for an item: the true one, or a control and its donor if any."""

    control: str
    stratum: str | None = None
    donor: str | None = None


class Control(ABC):
    """A control; an instance serves one run and may keep what it has computed.

    Attributes:
        knows_answer: the vectors may carry the gold answer, or the question in other words: then an
            upper bound need not beat this control.
    """

    knows_answer: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        """A control under its registered name."""
        self.name = name

    def variants(self, item: Item, donors: Donors) -> Iterable[Variant]:
        """The rows of vectors that an item has; none if it cannot have the control.

        Args:
            item: the item.
            donors: the items of the run, with their pools.
        """
        del item, donors
        yield Variant(self.name)

    def reads(self, item: Item, variant: Variant) -> Prompt:
        """The prompt whose vectors are wanted first; those of some items are captured together."""
        del variant
        return Prompt("aux", item.id)

    @abstractmethod
    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """The vectors, layers (positions, if several) width, in any dtype.

        Args:
            item: the item.
            variant: one of its `variants`.
            component: what is carried.
            vectors: the vectors of all prompts of the run; `vectors.of(Prompt("aux", item.id))` has
                the true ones by component.

        Raises:
            ValueError: there are none for this item, which then fails.
        """


class Counterpart(Control):
    """The true transplant: the vectors of the item's own counterpart. No control."""

    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """Those of aux."""
        return vectors.of(self.reads(item, variant))[component]


TRUE = "none"
"""Control of the rows of the true transplant."""


def register_control(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a control known under a name.

    Raises:
        UsageError: the name is another control's.
    """
    return CONTROL_KINDS.register(name)


def described(names: Iterable[str]) -> dict[str, Any]:
    """What a run folder says of controls that are not this package's: plain data, by name."""
    return {
        name: {"knows_answer": CONTROL_KINDS[name].knows_answer}
        for name in names
        if name not in CONTROL_KINDS.own
    }


def made(name: str) -> Control:
    """A control by its name, new; the true transplant by `TRUE`.

    Raises:
        UsageError: there is none, or it cannot be loaded.
    """
    return Counterpart(TRUE) if name == TRUE else CONTROL_KINDS[name](name)
