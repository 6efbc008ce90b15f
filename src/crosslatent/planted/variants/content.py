"""A content is carried where answers are symbols; see `content`."""

from __future__ import annotations

from crosslatent.planted.planting import Planted, PlantingSettings, register_variant
from crosslatent.planted.symbolic import orders, symbolic


@register_variant("content")
def content(settings: PlantingSettings) -> Planted:
    """What an option means is carried, and becomes a symbol by the question's own order.

    Questions and options are those of `symbol`. A question with the same symbol and another text
    repairs nothing, one with the same text does.
    """
    world = settings.drawn()
    return symbolic("content", world, orders(world, settings.seed), settings, lambda _: False)
