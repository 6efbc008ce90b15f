"""Prompts with words that say nothing; see `filler`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from crosslatent.planted.circuit import LAST
from crosslatent.planted.mechanisms import knowledge
from crosslatent.planted.planting import Planted, PlantingSettings, named, register_variant
from crosslatent.planted.world import RELATIONS, PlantedFact
from crosslatent.tasks import Item

FILLERS = tuple(f"filler{number}" for number in range(10))


@register_variant("filler")
def filler(settings: PlantingSettings) -> Planted:
    """Prompts with words that say nothing, so that main and aux differ in length.

    With others of these words, a question is a paraphrase of itself.
    """
    world = settings.drawn()
    circuit = knowledge(world, settings.depth, settings.at)
    circuit = replace(circuit, tokens=circuit.tokens | {word: {} for word in FILLERS})

    def prompt(fact: PlantedFact, lang: str) -> str:
        words = world.names[fact.entity][lang], RELATIONS[fact.relation][lang]
        return _filled(words, f"{settings.seed} {fact} {lang}")

    def again(item: Item) -> Item:
        words = [word for word in item.main.split() if word not in FILLERS]
        return replace(item, paraphrase=_filled(words[:2], f"{settings.seed} again {item.id}"))

    planted = named("filler", world, circuit, settings, prompt)
    return replace(planted, task=replace(planted.task, items=tuple(map(again, planted.task.items))))


def _filled(words: Sequence[str], seed: str) -> str:
    """Name and relation with up to three fillers before each, and before the end."""
    rng = Random(seed)
    before, between, after = (rng.choices(FILLERS, k=rng.randrange(4)) for _ in range(3))
    return " ".join([*before, words[0], *between, words[1], *after, LAST])
