"""A symbol is carried instead of a content; see `symbol`."""

from __future__ import annotations

from crosslatent.planted.planting import Planted, PlantingSettings, register_variant
from crosslatent.planted.symbolic import orders, symbolic


@register_variant("symbol")
def symbol(settings: PlantingSettings) -> Planted:
    """The symbol of an option is carried, whatever it means.

    Answers are symbols of four options, in the same order in all languages. What is known of a
    fact is its symbol, so a question with the same symbol and another text repairs as well.
    """
    world = settings.drawn()
    return symbolic("symbol", world, orders(world, settings.seed), settings)
