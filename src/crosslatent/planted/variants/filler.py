"""Prompts with words that say nothing; see `filler`."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from crosslatent.planted.circuit import LAST
from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import RELATIONS, PlantedFact, WorldSettings, draw

FILLERS = tuple(f"filler{number}" for number in range(10))


@register_variant("filler")
def filler(settings: PlantingSettings) -> Planted:
    """Prompts with words that say nothing, so that main and aux differ in length."""
    world = draw(WorldSettings(settings.seed, settings.entities))
    circuit = knowledge(world, settings.depth, settings.at)
    circuit = replace(circuit, tokens=circuit.tokens | {word: {} for word in FILLERS})

    def prompt(fact: PlantedFact, lang: str) -> str:
        rng = Random(f"{settings.seed} {fact} {lang}")
        before, between, after = (rng.choices(FILLERS, k=rng.randrange(4)) for _ in range(3))
        name, relation = world.names[fact.entity][lang], RELATIONS[fact.relation][lang]
        return " ".join([*before, name, *between, relation, *after, LAST])

    return named("filler", world, circuit, settings, prompt)
