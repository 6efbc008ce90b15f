"""A readout without a slope; see `hard_and`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import WorldSettings, draw


@register_variant("hard_and")
def hard_and(settings: PlantingSettings) -> Planted:
    """The readout opens for answer and language together, and has no slope before.

    Transplants repair as they do in `plain`, but no gradient says so.
    """
    world = draw(WorldSettings(settings.seed, settings.entities, strength=(1.0, 1.0)))
    circuit = knowledge(world, settings.depth, settings.at, readout="and")
    return named("hard_and", world, circuit, settings)
