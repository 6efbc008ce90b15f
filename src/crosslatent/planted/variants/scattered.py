"""Knowledge of each fact in a block of its own; see `scattered`."""

from __future__ import annotations

from random import Random

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import CENTRAL, PlantedFact


@register_variant("scattered")
def scattered(settings: PlantingSettings) -> Planted:
    """The block that holds a fact is drawn for each fact.

    So the best source differs from question to question, and nothing else about them says which.
    """
    world = settings.drawn()
    rng = Random(f"blocks {settings.seed}")
    blocks = {fact: rng.choice((2, 3, 4)) for fact in sorted(world.truth)}

    def block_of(fact: PlantedFact, lang: str) -> int:
        return settings.at(blocks[fact] if lang == CENTRAL else 3)

    circuit = knowledge(world, settings.depth, settings.at, block_of=block_of)
    return named("scattered", world, circuit, settings)
