"""Questions with four options, whose answers are symbols that stand for a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from crosslatent.planted import mechanisms as parts
from crosslatent.planted.circuit import Circuit, Feature, Unit
from crosslatent.planted.planting import Asked, Planted, PlantingSettings, plain_prompt, task_of
from crosslatent.planted.world import RELATIONS, PlantedFact, World

OPTIONS = ("(1)", "(2)", "(3)", "(4)")

Orders = Mapping[PlantedFact, Sequence[int]]
"""The entities that the options of a fact stand for, in the order of the options."""


def orders(world: World, seed: int) -> Orders:
    """Options of each fact: the answer, what anybody believes, and others, in a random order."""
    return {fact: _order(world, fact, seed) for fact in sorted(world.truth)}


def _order(world: World, fact: PlantedFact, seed: int) -> list[int]:
    rng = Random(f"options {seed} {fact}")
    believed = {known.answer for (one, _), known in world.known.items() if one == fact}
    meant = sorted(believed | {world.truth[fact]})
    others = [n for n in range(len(world.names)) if n not in meant and n != fact.entity]
    meant += rng.sample(others, len(OPTIONS) - len(meant))
    return rng.sample(meant, len(meant))


def symbolic(
    name: str,
    world: World,
    options: Orders,
    settings: PlantingSettings,
    as_symbol: Callable[[PlantedFact], bool] = lambda _: True,
) -> Planted:
    """A variant whose answers are symbols.

    Args:
        name: of the variant.
        world: who believes what.
        options: of each fact.
        settings: of the variant.
        as_symbol: whether beliefs about a fact are written as the symbol; else they are written as
            the answer, which becomes a symbol further up, by the question's own order.
    """

    def symbol(fact: PlantedFact, number: int) -> Feature:
        return ("symbol", OPTIONS[options[fact].index(number)])

    def write(fact: PlantedFact, number: int) -> Feature:
        return symbol(fact, number) if as_symbol(fact) else parts.answer(number)

    at = settings.at
    guesses = (
        Unit(at(5), (("relation", relation),), 0.5, ("symbol", OPTIONS[n]), 0.6)
        for n, relation in enumerate(RELATIONS)
    )
    # A fact's answer, times that it is asked: its symbol, in the question's own order.
    reading = (
        Unit(
            at(6),
            (parts.entity(fact.entity), ("relation", fact.relation)),
            1.5,
            symbol(fact, number),
            1.0,
            parts.answer(number),
        )
        for fact, order in options.items()
        if not all(map(as_symbol, options))
        for number in order
    )
    circuit = Circuit(
        settings.depth,
        parts.tokens(world),
        (*parts.who(world, at(0)), parts.language(world, at(1))),
        (
            *parts.beliefs(world, parts.by_language(at), write),
            *guesses,
            *reading,
        ),
        {option: ("symbol", option) for option in OPTIONS},
    )
    asked = Asked(
        plain_prompt(world),
        lambda fact, _: OPTIONS[options[fact].index(world.truth[fact])],
        lambda _fact, _lang: OPTIONS,
        lambda fact, lang: [world.names[number][lang] for number in options[fact]],
    )
    return Planted(circuit, task_of(name, world, asked, settings))
