"""Knowledge that is only looked up in English; see `lookup`."""

from __future__ import annotations

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant


@register_variant("lookup")
def lookup(settings: PlantingSettings) -> Planted:
    """What can be carried is "look it up in English", and no answer.

    What is known is written as the word of the language that is answered in. So the feed-forward
    and whole blocks of the counterpart carry English words, which are wrong; attention of block 1
    carries the language of the lookup, of whatever English question.
    """
    world = settings.drawn()
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (
            *parts.who(world, settings.at(0)),
            parts.said_in(world, settings.at(0)),
            parts.language(world, settings.at(1)),
        ),
        parts.spoken(world, parts.by_relation(settings.at)),
        parts.words(world),
    )
    return named("lookup", world, circuit, settings)
