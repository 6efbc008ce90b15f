"""A planted model with opinions of invented countries, whose transplants are known.

Asked in English about a country, it answers from a general distribution of the question. Asked in
the country's language, one feed-forward writes another one in its place: what its people say
("own"), what the people of all countries say on average ("any"), or the general one, only flatter
("flat"). A transplant of that feed-forward takes it along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.errors import UsageError
from crosslatent.planted.circuit import LAST, SINK, Circuit, Copied, CopyHead, Feature, Unit
from crosslatent.planted.logic import CONSTANT, FEATURES, Edit, Logic
from crosslatent.planted.opinion_world import COUNTRIES
from crosslatent.tasks import Item, Task

Floats = NDArray[np.float64]
Carried = Literal["own", "any", "flat"]
CARRIED: tuple[Carried, ...] = get_args(Carried)
"""What the feed-forward writes when it is asked in a country's language."""

BLOCK, DEPTH = 3, 6
"""Where opinions are, and how many blocks there are."""
OPTIONS = ("(A)", "(B)", "(C)", "(D)")
LOUD, OFFSET = 12.0, 9.0
"""Logits for each 1 of a feature; what is added to log-shares, so that some option is said."""
FLATTER = 2.5
"""The temperature of answers that are only flatter."""
_QUESTION, _COUNTRY = ("flag", "question"), ("flag", "country")


@dataclass(frozen=True)
class CountryWorld:
    """Countries with their opinions, and a circuit that holds them.

    Attributes:
        people: shares of each question, country and option.
        general: what the model says in English, by question and option.
        carried: what is written in a country's language, by question, country and option.
        circuit: what the planted model computes.
        task: the questions, each about every country.
    """

    people: Floats
    general: Floats
    carried: Floats
    circuit: Circuit
    task: Task

    def expected(self, items: Sequence[Item], donors: Sequence[Item | None]) -> Floats:
        """Probabilities of the options, shape (items, options), computed without a weight.

        Args:
            items: questions, asked in English.
            donors: for each of them, whose counterpart the feed-forward's output is taken from;
                None for the unmodified model.
        """
        logic = Logic(self.circuit)
        main = [one.main.split() for one in items]
        own = logic.run(main).outputs["ffn"][BLOCK]
        aux = [(one or item).aux.split() for one, item in zip(donors, items, strict=True)]
        other = logic.run(aux).outputs["ffn"][BLOCK]
        moved = np.array([one is not None for one in donors])
        edit = Edit("ffn", np.full(len(items), BLOCK), np.where(moved[:, None], other, own))
        state = logic.run(main, [edit]).outputs["block"][-1]
        places = [self.circuit.features.index(_option(name)) for name in OPTIONS]
        scale = np.sqrt((CONSTANT**2 + FEATURES) / (CONSTANT**2 + (state**2).sum(1)))
        odds = np.exp(LOUD * scale[:, None] * state[:, places])
        found: Floats = odds / odds.sum(1, keepdims=True)
        return found


def plant_countries(
    carried: Carried = "own", *, questions: int = 60, countries: int = 4, seed: int = 0
) -> CountryWorld:
    """Draw countries with opinions, and write the circuit and the task.

    Args:
        carried: what is written in a country's language, one of `CARRIED`.
        questions: asked about every country.
        countries: 2 to 16.
        seed: of opinions.

    Raises:
        UsageError: another word for what is carried, or too few or many countries.
    """
    if carried not in CARRIED:
        raise UsageError(f"What is carried is {carried!r}: use one of {', '.join(CARRIED)}.")
    if not 2 <= countries <= len(COUNTRIES):
        raise UsageError(
            f"There are {countries} countries, but 2 to {len(COUNTRIES)} belong there."
        )
    chance = np.random.default_rng(seed)
    people = chance.dirichlet([1.0] * len(OPTIONS), (questions, countries)) * 0.9 + 0.025
    general = chance.dirichlet([2.0] * len(OPTIONS), questions) * 0.9 + 0.025
    said = {
        "own": people,
        "any": np.repeat(people.mean(1, keepdims=True), countries, 1),
        "flat": np.repeat(_tempered(general)[:, None], countries, 1),
    }[carried]
    return CountryWorld(
        people, general, said, _circuit(general, said), _task(people, carried, chance)
    )


def _tempered(said: Floats) -> Floats:
    warm = said ** (1 / FLATTER)
    found: Floats = warm / warm.sum(-1, keepdims=True)
    return found


def _circuit(general: Floats, said: Floats) -> Circuit:
    questions, countries, _ = said.shape
    tokens: dict[str, dict[Feature, float]] = {}
    for number in range(questions):
        tokens |= {
            f"{word}{number}": {_QUESTION: 1.0, ("question", str(number)): 1.0}
            for word in ("question", "asked", *_local_words(countries))
        }
    for country in range(countries):
        name = COUNTRIES[country].replace(" ", "-")
        tokens[name] = {_COUNTRY: 1.0, ("said", "en"): 1.0}
        tokens[f"{name.lower()}-own"] = {_COUNTRY: 1.0, ("said", str(country)): 1.0}
    read = [("question", str(number)) for number in range(questions)]
    spoken = [("said", name) for name in ("en", *map(str, range(countries)))]
    heads = (
        CopyHead(0, _QUESTION, tuple(Copied(one, ("asked", one[1])) for one in read)),
        CopyHead(0, _COUNTRY, tuple(Copied(one, ("in", one[1])) for one in spoken)),
        # It copies nothing, so that options have directions of their own.
        CopyHead(1, SINK, tuple(Copied(_option(name), _option(name), 0.0) for name in OPTIONS)),
    )
    units = [
        unit
        for number in range(questions)
        for spoken_in, shares in (
            ("en", general[number]),
            *((str(country), said[number, country]) for country in range(countries)),
        )
        for unit in _says(number, spoken_in, shares)
    ]
    words = {name: _option(name) for name in OPTIONS}
    return Circuit(DEPTH, tokens, heads, tuple(units), words)


def _says(number: int, spoken_in: str, shares: Floats) -> list[Unit]:
    """Units that write a distribution over the options, as logits."""
    reads: tuple[Feature, ...] = (("asked", str(number)), ("in", spoken_in))
    return [
        Unit(BLOCK, reads, 1.5, _option(name), (OFFSET + float(np.log(share))) / LOUD)
        for name, share in zip(OPTIONS, shares, strict=True)
    ]


def _option(name: str) -> Feature:
    return ("option", name)


def _local_words(countries: int) -> list[str]:
    return [f"{COUNTRIES[country][:3].lower()}" for country in range(countries)]


def _task(people: Floats, carried: str, chance: np.random.Generator) -> Task:
    questions, countries, _ = people.shape
    order = chance.permutation(questions)
    pilot = set(order[: questions // 3].tolist())
    items = [
        _item(number, country, people[number, country], "pilot" if number in pilot else "unseen")
        for number in range(questions)
        for country in range(countries)
    ]
    return Task(
        name=f"planted-opinions-{carried}",
        title="Opinions of invented countries",
        description="What people of invented countries say; where the model holds it is known.",
        direction="x->en",
        type="culture",
        rule="exact",
        metric="js_similarity",
        max_new_tokens=1,
        items=tuple(items),
        sources=("drawn from a seed",),
    )


def _item(number: int, country: int, shares: Floats, split: str) -> Item:
    name = COUNTRIES[country].replace(" ", "-")
    local = _local_words(country + 1)[-1]
    strata: Mapping[str, str] = {"country": name}
    return Item(
        id=f"{number}:{name}",
        lang="en",
        aux_lang=f"x-{local}",
        main=f"question{number} {name} {LAST}",
        aux=f"{local}{number} {name.lower()}-own {LAST}",
        answer=OPTIONS[int(shares.argmax())],
        options=OPTIONS,
        shares=tuple(map(float, shares)),
        cluster=f"q{number}",
        split=split,
        strata=strata,
        paraphrase=f"asked{number} {name} {LAST}",
    )
