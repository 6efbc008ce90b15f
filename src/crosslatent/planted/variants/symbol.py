"""A symbol is carried instead of a content; see `symbol`."""

from __future__ import annotations

from random import Random

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit, Unit
from crosslatent.planted.planting import (
    Asked,
    Planted,
    PlantingSettings,
    plain_prompt,
    register_variant,
    task_of,
)
from crosslatent.planted.world import RELATIONS, PlantedFact, World, WorldSettings, draw

OPTIONS = ("(1)", "(2)", "(3)", "(4)")


@register_variant("symbol")
def symbol(settings: PlantingSettings) -> Planted:
    """The symbol of an option is carried, whatever it means.

    Answers are symbols of four options, in the same order in all languages. What is known of a
    fact is its symbol, so a question with the same symbol and another text repairs as well.
    """
    world = draw(WorldSettings(settings.seed, settings.entities))
    orders = {fact: _options(world, fact, settings.seed) for fact in sorted(world.truth)}

    def write(fact: PlantedFact, number: int) -> tuple[str, str]:
        return ("symbol", OPTIONS[orders[fact].index(number)])

    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (*parts.who(world, settings.at(0)), parts.language(world, settings.at(1))),
        (
            *parts.beliefs(world, parts.by_relation(settings.at), write),
            *(
                Unit(settings.at(5), (("relation", relation),), 0.5, ("symbol", OPTIONS[n]), 0.6)
                for n, relation in enumerate(RELATIONS)
            ),
        ),
        {option: ("symbol", option) for option in OPTIONS},
    )
    asked = Asked(
        plain_prompt(world),
        lambda fact, _: write(fact, world.truth[fact])[1],
        lambda _fact, _lang: OPTIONS,
        lambda fact, lang: [world.names[number][lang] for number in orders[fact]],
    )
    return Planted(circuit, task_of("symbol", world, asked, settings))


def _options(world: World, fact: PlantedFact, seed: int) -> list[int]:
    """The true answer and what anybody believes of a fact among four, in an order of its own."""
    rng = Random(f"options {seed} {fact}")
    believed = {known.answer for (one, _), known in world.known.items() if one == fact}
    meant = sorted(believed | {world.truth[fact]})
    others = [n for n in range(len(world.names)) if n not in meant and n != fact.entity]
    meant += rng.sample(others, len(OPTIONS) - len(meant))
    return rng.sample(meant, len(meant))
