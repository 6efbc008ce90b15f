"""The twin of `fogged`, without the fog; see `clear`."""

from __future__ import annotations

from crosslatent.planted.foggy import foggy
from crosslatent.planted.planting import Planted, PlantingSettings, register_variant


@register_variant("clear")
def clear(settings: PlantingSettings) -> Planted:
    """Nothing for Lens to repair: the twin of `fogged`.

    All languages know most facts, and say them.
    """
    return foggy("clear", settings, 0.0)
