"""English is surely wrong on half of the facts; see `wrong_english`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("wrong_english")
def wrong_english(settings: PlantingSettings) -> Planted:
    """English believes something else of half of the facts, as surely as what it knows.

    Its vectors break what the other languages know, and translate-test is worse than leaving some
    questions as they are.
    """
    world = settings.drawn(english_wrong=0.5)
    circuit = knowledge(world, settings.depth, settings.at)
    return named("wrong_english", world, circuit, settings)
