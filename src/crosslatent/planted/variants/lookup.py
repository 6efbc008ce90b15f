"""Knowledge that is only looked up in English; see `lookup`."""

from __future__ import annotations

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit, Unit
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import CENTRAL, WorldSettings, draw


@register_variant("lookup")
def lookup(settings: PlantingSettings) -> Planted:
    """What can be carried is "look it up in English", and no answer.

    What is known is written as the word of the language that is answered in. So the feed-forward
    and whole blocks of the counterpart carry English words, which are wrong; attention of block 1
    carries the language of the lookup, of whatever English question.
    """
    world = draw(WorldSettings(settings.seed, settings.entities))
    block_of = parts.by_relation(settings.at)
    units = tuple(
        Unit(
            block_of(fact, lang),
            (
                parts.entity(fact.entity),
                ("relation", fact.relation),
                *[("out", said)] * 3,  # so that a doubled entity and relation do not open it
            ),
            4.5,
            ("word", world.names[known.answer][said]),
            known.strength,
            ("lang", lang),
        )
        for (fact, lang), known in world.known.items()
        for said in (world.languages if lang == CENTRAL else (lang,))
    )
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (
            *parts.who(world, settings.at(0)),
            parts.said_in(world, settings.at(0)),
            parts.language(world, settings.at(1)),
        ),
        units,
        parts.words(world),
    )
    return named("lookup", world, circuit, settings)
