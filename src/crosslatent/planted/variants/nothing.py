"""English knows nothing; see `nothing`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("nothing")
def nothing(settings: PlantingSettings) -> Planted:
    """Nothing that a transplant could repair: English knows no fact at all.

    The other languages know some facts, so that the model is right on some questions.
    """
    world = settings.drawn(english_wrong=0, english_nothing=1)
    return named("nothing", world, knowledge(world, settings.depth, settings.at), settings)
