"""The control ``self``: the vectors come from main itself, so no second language is involved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.sweeps.control import Control, SourcePrompt, Variant, register_control

if TYPE_CHECKING:
    from crosslatent.tasks import Item


@register_control("self")
class Self(Control):
    """The question's own layers."""

    def reads(self, item: Item, variant: Variant) -> SourcePrompt:
        """Main."""
        del variant
        return SourcePrompt("main", item.id)
