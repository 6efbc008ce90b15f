"""A readout without a slope; see `closed_gate`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("closed_gate")
def closed_gate(settings: PlantingSettings) -> Planted:
    """The readout is a gate that only an answer opens, without a slope before.

    Transplants repair as they do in `plain`, but no gradient says so.
    """
    world = settings.drawn(strength=(1.0, 1.0))
    circuit = knowledge(world, settings.depth, settings.at, readout="gate")
    return named("closed_gate", world, circuit, settings)
