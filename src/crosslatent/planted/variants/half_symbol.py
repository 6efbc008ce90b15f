"""Of some facts a symbol is carried, of others a content; see `half_symbol`."""

from __future__ import annotations

from random import Random

from crosslatent.planted.planting import Planted, PlantingSettings, register_variant
from crosslatent.planted.symbolic import orders, symbolic


@register_variant("half_symbol")
def half_symbol(settings: PlantingSettings) -> Planted:
    """Of half of the facts the symbol is carried as in `symbol`, of the others the content.

    So a question with the same symbol and another text repairs half of the time.
    """
    world = settings.drawn()
    facts = sorted(world.truth)
    drawn = Random(f"symbols {settings.seed}").sample(facts, len(facts) // 2)
    as_symbol = frozenset(drawn).__contains__
    return symbolic("half_symbol", world, orders(world, settings.seed), settings, as_symbol)
