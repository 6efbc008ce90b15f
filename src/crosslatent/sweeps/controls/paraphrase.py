"""The control ``paraphrase``: main in other words of its own language, where an item has them.

The meaning is there, the second language is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crosslatent.sweeps.control import Control, Donors, SourcePrompt, Variant, register_control

if TYPE_CHECKING:
    from crosslatent.tasks import Item


@register_control("paraphrase")
class Paraphrase(Control):
    """The question in other words, same language."""

    knows_answer = True

    def variants(self, item: Item, donors: Donors) -> Iterator[Variant]:
        """One, if the item has a paraphrase."""
        del donors
        if item.paraphrase is not None:
            yield Variant(self.name)

    def reads(self, item: Item, variant: Variant) -> SourcePrompt:
        """The paraphrase."""
        del variant
        return SourcePrompt("paraphrase", item.id)
