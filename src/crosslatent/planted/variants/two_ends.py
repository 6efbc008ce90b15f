"""Prompts that end in different tokens; see `two_ends`."""

from __future__ import annotations

from dataclasses import replace

from crosslatent.planted.circuit import END, LAST, LEAST, SILENT
from crosslatent.planted.planting import Planted, PlantingSettings, plant, register_variant

OTHER_LAST = "।"


@register_variant("two_ends")
def two_ends(settings: PlantingSettings) -> Planted:
    """As `diagonal`, but Hindi prompts end in another token than all others."""
    planted = plant("diagonal", settings)
    circuit = replace(
        planted.circuit,
        tokens=planted.circuit.tokens | {OTHER_LAST: {END: 1.0, SILENT: LEAST}},
    )
    items = tuple(
        replace(item, main=item.main.removesuffix(LAST) + OTHER_LAST) if item.lang == "hi" else item
        for item in planted.task.items
    )
    return Planted(circuit, replace(planted.task, name="planted-two_ends", items=items))
