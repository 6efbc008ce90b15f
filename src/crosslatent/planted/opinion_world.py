"""Invented countries whose opinions are drawn: answers of a model with a known shift towards them.

Every question is asked about every country. A run says the model's own distribution of a question,
moved by what was planted, with noise of its own. The same seed gives the same world as closeness to
every country (`draw`), and as questions with answers, which the measures read (`answers`).
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
    ConditionAnswers,
    CultureAnswer,
    CultureQuestion,
)
from crosslatent.analysis.culture.opinions import entropy, flattened, similarity

Floats = NDArray[np.float64]

COUNTRIES = (
    "Arvenia", "Belmark", "Corvalo", "Dunmere", "Eskaria", "Fenland", "Gorvia", "Halvard",
    "Ilmara", "Jorvik Coast", "Kestria", "Lormont", "Merovia", "Nordal", "Ostaria", "Pelagia",
)  # fmt: skip
"""Names of invented countries."""
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class OpinionWorld:
    """What is planted.

    Attributes:
        questions: asked about every country.
        countries: how many.
        options: fewest and most options of a question.
        known: weight of a country's distribution in unmodified answers to questions about it.
        shift: mean weight of the own country's distribution in answers with its own donor, which
            differs much between questions; other donors bring nothing of their countries.
        moved: countries whose own donor brings the shift, from the first; None for all.
        any_shift: the same weight of the country asked about in answers with any donor.
        mean_shift: weight of the mean of all countries in answers with any donor.
        temperature: of answers with the own donor, which are then those of the unmodified run.
        noise: standard deviation of the logits of a run.
        same_labels: False = which distribution is which country's is drawn anew for each question.
    """

    questions: int = 300
    countries: int = 4
    options: tuple[int, int] = (2, 6)
    known: float = 0.0
    shift: float = 0.0
    moved: int | None = None
    any_shift: float = 0.0
    mean_shift: float = 0.0
    temperature: float = 1.0
    noise: float = 0.1
    same_labels: bool = True

    def draw(self, seed: int) -> Closeness:
        """Answers under every condition, as closeness to every country.

        Args:
            seed: of everything that is drawn.
        """
        return _Drawn(self, np.random.default_rng(seed)).closeness()

    def answers(self, seed: int) -> tuple[list[CultureQuestion], dict[str, ConditionAnswers]]:
        """The questions, and the answers under every condition.

        Args:
            seed: of everything that is drawn.
        """
        drawn = _Drawn(self, np.random.default_rng(seed))
        return drawn.questions(), drawn.answers()


class _Drawn:
    """One draw of a world: rows are questions about countries, options that are not there are 0."""

    def __init__(self, world: OpinionWorld, chance: np.random.Generator) -> None:
        self._world, self._chance = world, chance
        count, rows = world.countries, world.questions * world.countries
        fewest, most = world.options
        sizes = chance.integers(fewest, most + 1, world.questions)
        there = np.arange(most) < sizes[:, None]
        people = self._distributions(1.5, np.repeat(there[:, None], count, axis=1))
        asked = np.repeat(np.arange(world.questions), count)
        self._own = np.tile(np.arange(count), world.questions)
        self._asked, self._sizes = asked, sizes[asked]
        self._people, self._rows = people[asked], np.arange(rows)
        self._about = self._people[self._rows, self._own]
        self._base = self._mixed(self._distributions(2.0, there)[asked], world.known)
        # Who is who can be drawn anew: then no country's answers are nearer than another's.
        orders = chance.permuted(np.tile(np.arange(count), (world.questions, 1)), axis=1)
        self._named = (
            self._people if world.same_labels else self._people[self._rows[:, None], orders[asked]]
        )
        self._said = self._run()

    def _distributions(self, concentration: float, there: NDArray[np.bool_]) -> Floats:
        """Dirichlet draws over the options that are there."""
        found = np.where(there, self._chance.gamma(concentration, size=there.shape), 0.0)
        shares: Floats = found / found.sum(-1, keepdims=True)
        return shares

    def _mixed(self, said: Floats, weight: Floats | float) -> Floats:
        """Moved towards the country that is asked about."""
        return (1 - weight) * said + weight * self._about

    def _weights(self, mean: float) -> Floats:
        """A transplant moves few questions much and most of them little; shape (rows, 1)."""
        found: Floats = np.minimum(mean * self._chance.gamma(0.5, 2.0, (len(self._own), 1)), 1.0)
        return found

    def _run(self) -> dict[str, Floats]:
        """What is answered under every condition; NaN where it is not asked."""
        world = self._world
        everybody = self._people.mean(1)
        any_donor = (1 - world.mean_shift) * self._base + world.mean_shift * everybody
        any_donor = self._mixed(any_donor, self._weights(world.any_shift))
        brings = self._own < (world.countries if world.moved is None else world.moved)
        own_donor = self._mixed(any_donor, self._weights(world.shift) * brings[:, None])
        vanilla = self._noisy(self._base)
        said = {VANILLA: vanilla, TRANSPLANT: self._transplanted(vanilla, own_donor)}
        for donor in range(world.countries):
            said[f"{DONOR}{donor}"] = self._noisy(any_donor)
            said[f"{DONOR}{donor}"][self._own == donor] = np.nan
        return said | {OTHER_CULTURE: self._noisy(any_donor), SHUFFLED: self._noisy(any_donor)}

    def closeness(self) -> Closeness:
        said = self._said
        sure = {name: entropy(said[name]) for name in (VANILLA, TRANSPLANT)}
        return Closeness(
            COUNTRIES[: self._world.countries],
            self._own,
            tuple(map(str, self._asked)),
            {name: self._near(each) for name, each in said.items()},
            sure,
            self._near(flattened(said[VANILLA], sure[TRANSPLANT])),
        )

    def questions(self) -> list[CultureQuestion]:
        named = self._named[self._rows, self._own]
        return [
            CultureQuestion(
                id=str(row),
                task="opinion-world",
                cluster=str(self._asked[row]),
                country=COUNTRIES[self._own[row]],
                lang=str(self._own[row]),
                options=tuple(_LETTERS[:size]),
                labels=tuple(f"answer {letter}" for letter in _LETTERS[:size]),
                shares=tuple(named[row, :size].tolist()),
            )
            for row, size in enumerate(self._sizes)
        ]

    def answers(self) -> dict[str, ConditionAnswers]:
        found = {}
        for name, said in self._said.items():
            asked = np.flatnonzero(~np.isnan(said).any(1))
            found[name] = ConditionAnswers(
                {str(row): _answer(said[row, : self._sizes[row]]) for row in asked}
            )
        return found

    def _transplanted(self, vanilla: Floats, own_donor: Floats) -> Floats:
        if self._world.temperature == 1.0:
            return self._noisy(own_donor)
        tempered = vanilla ** (1 / self._world.temperature)
        found: Floats = tempered / tempered.sum(-1, keepdims=True)
        return found

    def _noisy(self, said: Floats) -> Floats:
        odds = said * np.exp(self._world.noise * self._chance.normal(size=said.shape))
        found: Floats = odds / odds.sum(-1, keepdims=True)
        return found

    def _near(self, said: Floats) -> Floats:
        found: Floats = similarity(said[:, None, :], self._named)
        return found


def _answer(said: Floats) -> CultureAnswer:
    letter = _LETTERS[int(said.argmax())]
    return CultureAnswer(None, prediction=letter, probabilities=tuple(said.tolist()))
