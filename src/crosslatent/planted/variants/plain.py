"""Knowledge of each relation in a block of its own; see `plain`."""

from __future__ import annotations

from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("plain")
def plain(settings: PlantingSettings) -> Planted:
    """Facts that English knows, each relation in a block of its own.

    English knows most facts, in block 2, 3 or 4; the others know few, in block 3. The feed-forward
    repairs from the block of the relation, into every block before the readout but the one whose
    own knowledge it would replace. Attention repairs from block 1, which carries the language of
    the lookup alone, so that any English question does as much.
    """
    world = settings.drawn()
    return named("plain", world, knowledge(world, settings.depth, settings.at), settings)
