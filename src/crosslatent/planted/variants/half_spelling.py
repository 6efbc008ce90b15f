"""Of some facts an English word is carried, of others a content; see `half_spelling`."""

from __future__ import annotations

from random import Random

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import LANGUAGES


@register_variant("half_spelling")
def half_spelling(settings: PlantingSettings) -> Planted:
    """Of half of the facts an English word is carried, of the others an answer in any language.

    Half of the names are the same in all languages. A feed-forward that carries a word repairs
    where the answer has such a name, one that carries an answer repairs everywhere.
    """
    world = settings.drawn(alike=dict.fromkeys(LANGUAGES, 0.5))
    facts = sorted(world.truth)
    words = frozenset(Random(f"words {settings.seed}").sample(facts, len(facts) // 2))
    contents = {one: known for one, known in world.known.items() if one[0] not in words}
    at = settings.at
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (
            *parts.who(world, at(0)),
            parts.said_in(world, at(0)),
            parts.language(world, at(1)),
        ),
        (
            *parts.spoken(world, parts.by_language(at), words.__contains__),
            *parts.beliefs(world.believing(contents), parts.by_language(at)),
            *parts.reading(world, at(6)),
        ),
        parts.words(world),
    )
    return named("half_spelling", world, circuit, settings)
