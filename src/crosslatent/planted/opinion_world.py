"""Invented countries whose opinions are drawn: answers of a model with a known shift towards them.

Every question is asked about every country. A run says the model's own distribution of a question,
moved by what was planted, with noise of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.culture.culture_answers import (
    DONOR,
    OTHER_CULTURE,
    SHUFFLED,
    TRANSPLANT,
    VANILLA,
    Closeness,
)
from crosslatent.analysis.culture.opinions import entropy, flattened, similarity

Floats = NDArray[np.float64]

COUNTRIES = (
    "Arvenia", "Belmark", "Corvalo", "Dunmere", "Eskaria", "Fenland", "Gorvia", "Halvard",
    "Ilmara", "Jorvik Coast", "Kestria", "Lormont", "Merovia", "Nordal", "Ostaria", "Pelagia",
)  # fmt: skip
"""Names of invented countries."""


@dataclass(frozen=True, slots=True)
class OpinionWorld:
    """What is planted.

    Attributes:
        questions: asked about every country.
        countries: how many.
        options: of a question.
        shift: mean weight of the own country's distribution in answers with its own donor, which
            differs much between questions; other donors bring nothing of their countries.
        any_shift: weight of the mean of all countries in answers with any donor.
        temperature: of answers with the own donor, which are then those of the unmodified run.
        noise: standard deviation of the logits of a run.
        same_labels: False = which distribution is which country's is drawn anew for each question.
    """

    questions: int = 300
    countries: int = 4
    options: int = 4
    shift: float = 0.0
    any_shift: float = 0.0
    temperature: float = 1.0
    noise: float = 0.1
    same_labels: bool = True

    def draw(self, seed: int) -> Closeness:
        """Answers under every condition, as closeness to every country.

        Args:
            seed: of everything that is drawn.
        """
        return _Drawn(self, np.random.default_rng(seed)).closeness()


class _Drawn:
    """One draw of a world: rows are questions about countries."""

    def __init__(self, world: OpinionWorld, chance: np.random.Generator) -> None:
        self._world, self._chance = world, chance
        count, rows = world.countries, world.questions * world.countries
        people = chance.dirichlet([1.5] * world.options, (world.questions, count))
        asked = np.repeat(np.arange(world.questions), count)
        self._own = np.tile(np.arange(count), world.questions)
        self._clusters = tuple(map(str, asked))
        self._people = people[asked]
        self._base = chance.dirichlet([2.0] * world.options, world.questions)[asked]
        self._rows = np.arange(rows)
        # Who is who can be drawn anew: then no country's answers are nearer than another's.
        orders = chance.permuted(np.tile(np.arange(count), (world.questions, 1)), axis=1)
        self._named = (
            self._people if world.same_labels else self._people[self._rows[:, None], orders[asked]]
        )

    def closeness(self) -> Closeness:
        world = self._world
        everybody = self._people.mean(1)
        any_donor = (1 - world.any_shift) * self._base + world.any_shift * everybody
        own = self._people[self._rows, self._own]
        # A transplant moves few questions much and most of them little.
        weight = world.shift * self._chance.gamma(0.5, 2.0, (len(own), 1))
        weight = np.minimum(weight, 1.0)
        moved = (1 - weight) * any_donor + weight * own
        vanilla = self._noisy(self._base)
        said = {VANILLA: vanilla, TRANSPLANT: self._transplanted(vanilla, moved)}
        for donor in range(world.countries):
            said[f"{DONOR}{donor}"] = self._noisy(any_donor)
            said[f"{DONOR}{donor}"][self._own == donor] = np.nan
        said |= {OTHER_CULTURE: self._noisy(any_donor), SHUFFLED: self._noisy(any_donor)}
        sure = {name: entropy(said[name]) for name in (VANILLA, TRANSPLANT)}
        return Closeness(
            COUNTRIES[: world.countries],
            self._own,
            self._clusters,
            {name: self._near(each) for name, each in said.items()},
            sure,
            self._near(flattened(vanilla, sure[TRANSPLANT])),
        )

    def _transplanted(self, vanilla: Floats, moved: Floats) -> Floats:
        if self._world.temperature == 1.0:
            return self._noisy(moved)
        tempered = vanilla ** (1 / self._world.temperature)
        found: Floats = tempered / tempered.sum(-1, keepdims=True)
        return found

    def _noisy(self, said: Floats) -> Floats:
        logits = np.log(said) + self._world.noise * self._chance.normal(size=said.shape)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        found: Floats = odds / odds.sum(-1, keepdims=True)
        return found

    def _near(self, said: Floats) -> Floats:
        found: Floats = similarity(said[:, None, :], self._named)
        return found
