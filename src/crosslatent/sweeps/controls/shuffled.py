"""The control ``shuffled``: another item's aux prompt.

One donor per item and stratum, kept over all pairs: a fresh donor for every pair would inflate the
union. Strata: donors with the same gold answer, the same symbol, another answer; items without gold
answers have the stratum ``any`` (see `sweeps.control`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crosslatent.sweeps.control import Control, Donors, SourcePrompt, Variant, register_control

if TYPE_CHECKING:
    from crosslatent.tasks import Item


@register_control("shuffled")
class Shuffled(Control):
    """Vectors of other questions."""

    knows_answer = True
    """A donor with the same answer brings it along; a blind one is computed of all strata."""

    def variants(self, item: Item, donors: Donors) -> Iterable[Variant]:
        """One for each stratum that has a donor."""
        return donors.shuffled(item)

    def reads(self, item: Item, variant: Variant) -> SourcePrompt:
        """Aux of the donor."""
        del item
        assert variant.donor is not None
        return SourcePrompt("aux", variant.donor)
