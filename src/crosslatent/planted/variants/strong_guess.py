"""Guesses as strong as facts; see `strong_guess`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import Known


@register_variant("strong_guess")
def strong_guess(settings: PlantingSettings) -> Planted:
    """Guesses as strong as facts: the popular answer beats what is weakly believed.

    A transplant of a weak belief repairs only where it replaces the guess too.
    """
    drawn = settings.drawn()
    world = drawn.believing(
        {one: Known(k.answer, 0.8 if k.strength < 1.2 else 1.6) for one, k in drawn.known.items()}
    )
    circuit = knowledge(world, settings.depth, settings.at, guess=1.2)
    return named("strong_guess", world, circuit, settings)
