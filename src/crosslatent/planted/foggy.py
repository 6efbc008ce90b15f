"""Models whose questions carry a fog, for Lens to take away."""

from __future__ import annotations

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import LAST, Circuit, Copied, CopyHead, Feature
from crosslatent.planted.planting import Planted, PlantingSettings, named
from crosslatent.planted.world import CENTRAL, RELATIONS, World

FOG: Feature = ("fog",)
DAZE = "daze"
"""The word that fog makes likely."""
_LOUD = 1 / 3
"""Its weight: so many logits for each of a word of the same length."""
_KNOWN = dict.fromkeys(("es", "id", "hi", "sw"), 0.8)


def foggy(name: str, settings: PlantingSettings, fog: float) -> Planted:
    """Questions in other languages than English carry a fog of some length below the last block.

    All languages know most facts. Texts that ask nothing have no fog, so that a probe of them finds
    it in no language.
    """
    world = settings.drawn(
        english_wrong=0.0, english_nothing=0.05, local=_KNOWN, strength=(1.0, 1.2)
    )
    at = settings.at
    tokens = parts.tokens(world)
    for relation in RELATIONS.values():
        for lang, word in relation.items():
            tokens[word] |= {} if lang == CENTRAL else {FOG: 1.0}
    for lang in world.languages:
        tokens[_topic(lang)] = {parts.RELATION: 1.0, ("lang", lang): 1.0, ("source", lang): 1.0}
    circuit = Circuit(
        settings.depth,
        tokens,
        (
            *parts.who(world, at(0)),
            parts.language(world, at(1)),
            parts.said_in(world, at(4)),
            CopyHead(at(6), parts.RELATION, (Copied(FOG, FOG, fog),)),
        ),
        (*parts.beliefs(world, parts.by_relation(at)), *parts.reading(world, at(5))),
        parts.words(world) | {DAZE: FOG},
        loudness={DAZE: _LOUD},
    )
    planted = named(name, world, circuit, settings)
    return Planted(planted.circuit, planted.task, _texts(world))


def _topic(lang: str) -> str:
    return f"topic-{lang}"


def _texts(world: World) -> dict[str, list[str]]:
    """A name and a word that asks nothing, in each language."""
    return {
        lang: [f"{names[lang]} {_topic(lang)} {LAST}" for names in world.names]
        for lang in world.languages
    }
