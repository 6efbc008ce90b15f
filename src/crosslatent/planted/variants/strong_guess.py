"""Guesses as strong as facts; see `strong_guess`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import WorldSettings, draw


@register_variant("strong_guess")
def strong_guess(settings: PlantingSettings) -> Planted:
    """Guesses as strong as facts: the popular answer beats what is weakly believed.

    A transplant of a weak belief repairs only where it replaces the guess too.
    """
    world = draw(WorldSettings(settings.seed, settings.entities))
    circuit = knowledge(world, settings.depth, settings.at, guess=1.2)
    return named("strong_guess", world, circuit, settings)
