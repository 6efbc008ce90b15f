"""What a variant plants: a circuit, and the questions of which it decides the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from random import Random
from typing import Any

from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import Registry
from crosslatent.planted.circuit import LAST, Circuit
from crosslatent.planted.world import (
    CENTRAL,
    RELATIONS,
    PlantedFact,
    World,
    WorldSettings,
    draw,
)
from crosslatent.tasks import Item, Task

SPLITS = ("pilot", "unseen", "final")


@dataclass(frozen=True, slots=True)
class PlantingSettings:
    """What a variant is made by.

    Attributes:
        seed: of facts, names and splits.
        depth: blocks of the model, 8 or more; what is planted spreads over all of them.
        entities: those that facts are about, 12 to 49.
        options: questions name all possible answers.
        world: fields of `WorldSettings` that are others than the variant says.
    """

    seed: int = 0
    depth: int = 8
    entities: int = 48
    options: bool = True
    world: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the circuits have no room in.

        Raises:
            UsageError: fewer blocks than 8, fewer than 12 or more than 49 entities, or a setting
                that worlds do not have.
        """
        if self.depth < 8:
            raise UsageError(f"A planted model has {self.depth} blocks, but it needs 8 or more.")
        if not 12 <= self.entities <= 49:
            raise UsageError(f"There are {self.entities} entities, but 12 to 49 belong there.")
        known = WorldSettings.__dataclass_fields__
        if unknown := sorted(set(self.world) - set(known)):
            raise UsageError(
                f"A world has no setting {', '.join(unknown)}: use some of {', '.join(known)}."
            )

    def drawn(self, **usual: Any) -> World:
        """The world of these settings, where they say nothing else with what is usual."""
        given = {"seed": self.seed, "entities": self.entities, **usual, **self.world}
        return draw(WorldSettings(**given))

    def at(self, block: int) -> int:
        """The block that has the place of one in a model of 8 blocks."""
        return round(block * (self.depth - 1) / 7)


@dataclass(frozen=True)
class Planted:
    """What is planted.

    Attributes:
        circuit: what the model computes.
        task: the questions, each asked in several languages.
        texts: texts of each language that ask nothing, to probe for what languages share.
    """

    circuit: Circuit
    task: Task
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """How questions are put.

    Attributes:
        prompt: the text of a fact in a language; it ends in `LAST`.
        answers: the word of an answer in a language.
        options: all words that an answer in a language may be; None for open questions.
        strata: further groups of a question in a language.
    """

    prompt: Callable[[PlantedFact, str], str]
    answers: Callable[[PlantedFact, str], str]
    options: Callable[[PlantedFact, str], Sequence[str]] | None = None
    labels: Callable[[PlantedFact, str], Sequence[str]] | None = None
    strata: Callable[[PlantedFact, str], Mapping[str, str]] = field(default=lambda _fact, _lang: {})


class PlantedVariant:
    """A variant, as `register_variant` makes it of a function.

    Attributes:
        title: what it shows, in one line: the first line of the function's docstring.
    """

    def __init__(self, plant: Callable[[PlantingSettings], Planted]) -> None:
        """Wrap a function."""
        self._plant = plant
        self.title = (plant.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        update_wrapper(self, plant)

    def __call__(self, settings: PlantingSettings) -> Planted:
        """What is planted."""
        return self._plant(settings)


VARIANTS: Registry[PlantedVariant] = Registry(
    "planted variant",
    "planted.variants",
    "planted.planting:PlantedVariant",
    decorator="register_variant",
)
"""The variants by name; other packages name theirs as entry points of the group
``crosslatent.variants``."""


def register_variant(
    name: str,
) -> Callable[[Callable[[PlantingSettings], Planted]], PlantedVariant]:
    """A decorator that makes a function ``settings -> Planted`` known as a variant.

    Raises:
        UsageError: the name is another variant's.
    """
    return lambda plant: VARIANTS.register(name)(PlantedVariant(plant))


def plant(name: str, settings: PlantingSettings) -> Planted:
    """What a variant plants; its task has the variant's name.

    Raises:
        UsageError: there is no such variant, or it does not fit the settings.
    """
    return VARIANTS[name](settings)


def task_of(name: str, world: World, asked: Asked, settings: PlantingSettings) -> Task:
    """The questions on all facts of a world, in all languages but English, beside English ones.

    Facts are dealt to the three splits at random, whatever the language.
    """
    facts = sorted(world.truth)
    shuffled = Random(f"splits {settings.seed}").sample(facts, len(facts))
    splits = {fact: SPLITS[n % len(SPLITS)] for n, fact in enumerate(shuffled)}
    others = [lang for lang in world.languages if lang != CENTRAL]
    items = tuple(
        _item(world, fact, lang, asked, splits[fact]) for fact in facts for lang in others
    )
    return Task(
        name=f"planted-{name}",
        title=VARIANTS[name].title,
        description="Invented facts whose place in the model is known.",
        direction="en->x",
        type="generation",
        rule="exact",
        max_new_tokens=1,
        items=items,
        sources=("drawn from a seed",),
    )


def _item(world: World, fact: PlantedFact, lang: str, asked: Asked, split: str) -> Item:
    name = f"{fact.relation}:{world.names[fact.entity][CENTRAL]}"
    belief = world.known.get((fact, CENTRAL))
    english = "nothing" if belief is None else "wrong"
    if belief is not None and belief.answer == world.truth[fact]:
        english = "right"
    return Item(
        id=f"{name}:{lang}",
        lang=lang,
        aux_lang=CENTRAL,
        main=asked.prompt(fact, lang),
        aux=asked.prompt(fact, CENTRAL),
        answer=asked.answers(fact, lang),
        aux_answer=asked.answers(fact, CENTRAL),
        options=None if asked.options is None else tuple(asked.options(fact, lang)),
        labels=None if asked.labels is None else tuple(asked.labels(fact, lang)),
        cluster=name,
        split=split,
        strata={
            "relation": fact.relation,
            "english": english,
            "local": "knows" if (fact, lang) in world.known else "lacks",
            **asked.strata(fact, lang),
        },
    )


def plain_prompt(world: World) -> Callable[[PlantedFact, str], str]:
    """Prompts of a name, the word of a relation, and the last token."""

    def prompt(fact: PlantedFact, lang: str) -> str:
        return f"{world.names[fact.entity][lang]} {RELATIONS[fact.relation][lang]} {LAST}"

    return prompt


def named(
    name: str,
    world: World,
    circuit: Circuit,
    settings: PlantingSettings,
    prompt: Callable[[PlantedFact, str], str] | None = None,
) -> Planted:
    """A variant whose questions are answered by the name of an entity.

    Args:
        name: of the variant.
        world: its facts.
        circuit: what is computed.
        settings: of the variant.
        prompt: the text of a fact in a language; `plain_prompt` by default.
    """
    asked = Asked(
        prompt or plain_prompt(world),
        lambda fact, lang: world.names[world.truth[fact]][lang],
        (lambda _, lang: [one[lang] for one in world.names]) if settings.options else None,
    )
    return Planted(circuit, task_of(name, world, asked, settings))
