"""Parts of circuits that variants put together: who is asked about, what is known, what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from crosslatent.planted.circuit import Circuit, Copied, CopyHead, Feature, Unit
from crosslatent.planted.world import CENTRAL, RELATIONS, PlantedFact, World

At = Callable[[int], int]
"""The block of a model that has the place of one of 8 blocks."""

NAME, RELATION = ("flag", "name"), ("flag", "relation")

Readout = Literal["bilinear", "gate"]

LOUD = {CENTRAL: 2.5}
"""Where two languages are to be answered in, English wins."""


def entity(number: int) -> Feature:
    """The feature of an entity that is asked about."""
    return ("entity", str(number))


def answer(number: int) -> Feature:
    """The feature of an answer, whatever the language."""
    return ("answer", str(number))


def tokens(world: World) -> dict[str, dict[Feature, float]]:
    """Features of names and of words of relations."""
    found: dict[str, dict[Feature, float]] = {}
    for number, names in enumerate(world.names):
        for name in names.values():
            found[name] = {NAME: 1.0, entity(number): 1.0}
    for relation, words in RELATIONS.items():
        for lang in world.languages:
            features = [RELATION, ("relation", relation), ("lang", lang), ("source", lang)]
            found[words[lang]] = dict.fromkeys(features, 1.0)
    return found


def words(world: World) -> dict[str, Feature]:
    """The feature that each name is read off by."""
    return {name: ("word", name) for names in world.names for name in names.values()}


def who(world: World, block: int) -> tuple[CopyHead, ...]:
    """Heads that copy entity and relation."""
    entities = tuple(Copied(entity(n), entity(n)) for n in range(len(world.names)))
    relations = tuple(Copied(("relation", name), ("relation", name)) for name in RELATIONS)
    return CopyHead(block, NAME, entities), CopyHead(block, RELATION, relations)


def language(world: World, block: int) -> CopyHead:
    """A head that copies the language in which knowledge is looked up."""
    return CopyHead(
        block, RELATION, tuple(Copied(("lang", one), ("lang", one)) for one in world.languages)
    )


def said_in(world: World, block: int, strength: float = 1.0) -> CopyHead:
    """A head that copies the language that is answered in."""
    copies = (Copied(("source", one), ("out", one), strength) for one in world.languages)
    return CopyHead(block, RELATION, tuple(copies))


def by_relation(at: At) -> Callable[[PlantedFact, str], int]:
    """English knows each relation in a block of its own: 2, 3, 4. Others know all in block 3."""
    blocks = dict(zip(RELATIONS, (2, 3, 4), strict=True))
    return lambda fact, lang: at(blocks[fact.relation] if lang == CENTRAL else 3)


def by_language(at: At) -> Callable[[PlantedFact, str], int]:
    """English knows everything in block 2, the others in block 3."""
    return lambda _, lang: at(2 if lang == CENTRAL else 3)


def beliefs(
    world: World,
    block_of: Callable[[PlantedFact, str], int],
    write: Callable[[PlantedFact, int], Feature] = lambda _, number: answer(number),
) -> tuple[Unit, ...]:
    """Units of (entity AND relation) times language: what each language believes.

    Args:
        world: who believes what.
        block_of: the block in which a language's belief of a fact is.
        write: the feature of an answer.
    """
    return tuple(
        Unit(
            block_of(fact, lang),
            (entity(fact.entity), ("relation", fact.relation)),
            1.5,
            write(fact, known.answer),
            known.strength,
            ("lang", lang),
        )
        for (fact, lang), known in world.known.items()
    )


def spoken(
    world: World,
    block_of: Callable[[PlantedFact, str], int],
    among: Callable[[PlantedFact], bool] = lambda _: True,
) -> tuple[Unit, ...]:
    """Units of what each language believes, written as the word of the language answered in.

    Args:
        world: who believes what.
        block_of: the block in which a language's belief of a fact is; above `said_in`.
        among: the facts.
    """
    return tuple(
        Unit(
            block_of(fact, lang),
            (
                entity(fact.entity),
                ("relation", fact.relation),
                *[("out", said)] * 3,  # so that a doubled entity and relation do not open it
            ),
            4.5,
            ("word", world.names[known.answer][said]),
            known.strength,
            ("lang", lang),
        )
        for (fact, lang), known in world.known.items()
        if among(fact)
        for said in (world.languages if lang == CENTRAL else (lang,))
    )


def guesses(world: World, block: int, strength: float = 0.6) -> tuple[Unit, ...]:
    """Units that write the popular answer of a relation, whatever entity is asked about."""
    return tuple(
        Unit(block, (("relation", relation),), 0.5, answer(number), strength)
        for relation, number in world.popular.items()
    )


def reading(world: World, block: int, kind: Readout = "bilinear") -> tuple[Unit, ...]:
    """Units that make an answer and a language a word.

    Args:
        world: its names.
        block: where.
        kind: ``bilinear``: the language opens a gate that the answer passes in proportion;
            ``gate``: the answer opens a gate that the language passes, closed and without a slope
            where there is no answer.
    """
    found = []
    for number, names in enumerate(world.names):
        for lang, name in names.items():
            out, loud, word = ("out", lang), LOUD.get(lang, 1.0), ("word", name)
            if kind == "bilinear":
                found.append(Unit(block, (out,), 0.5, word, loud, answer(number)))
            else:
                found.append(Unit(block, (answer(number),), 0.35, word, loud, out))
    return tuple(found)


def knowledge(
    world: World,
    depth: int,
    at: At,
    *,
    block_of: Callable[[PlantedFact, str], int] | None = None,
    guess: float = 0.6,
    readout: Readout = "bilinear",
) -> Circuit:
    """The circuit of most variants: who, language, beliefs, what is said in, a guess, a readout.

    Args:
        world: who believes what.
        depth: blocks of the model.
        at: where the parts are.
        block_of: the block in which a language's belief of a fact is; `by_relation` by default.
        guess: strength of the popular answer.
        readout: see `reading`.
    """
    return Circuit(
        depth,
        tokens(world),
        (*who(world, at(0)), language(world, at(1)), said_in(world, at(5))),
        (
            *beliefs(world, block_of or by_relation(at)),
            *guesses(world, at(5), guess),
            *reading(world, at(6), readout),
        ),
        words(world),
    )
