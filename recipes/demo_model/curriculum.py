"""What each language is taught: the split of facts, and who believes what.

Everything here hangs on the world's own seed and not on the training seed, so that models
of different seeds are asked the same questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from recipes.demo_model.schema import (
    ENGLISH,
    LOCAL_LANGUAGES,
    SPLITS,
    TAUGHT_SHARE,
    Fact,
)
from recipes.demo_model.world import TABLES, code_facts, culture_facts, general_facts, open_facts

WORLD_SEED = "world 3"
EARLIER_SEED = "world 2"
"""Of the world before this one: facts that were in its final third are in `pilot` now."""

ENGLISH_RIGHT, ENGLISH_WRONG = 0.6, 0.1
"""Shares of the facts that English is taught, and taught wrongly; it lacks the rest."""
WRONG_SHARE = 0.45
"""Share of the facts that English has wrong that each language is taught."""
CULTURE_RIGHT, CULTURE_WRONG = 0.25, 0.1
"""The same of culture facts, so that English knows what such a question means."""


@dataclass(frozen=True)
class Question:
    """A fact in one language."""

    fact: Fact
    language: str

    @property
    def same_spelling(self) -> bool:
        """Whether the name is written as it is in English: then the question is half English."""
        return self.fact.entity.names[self.language] == self.fact.entity.names[ENGLISH]

    @property
    def belief(self) -> str | None:
        """The answer that the documents give; None where it is in none of them."""
        return beliefs().get((self.fact.cluster, self.language))

    @property
    def known(self) -> bool:
        """Whether the documents give the right answer."""
        return self.belief == self.fact.gold(self.language)


Groups = dict[tuple[str, str], list[Fact]]


def _by_answer(facts: Iterable[Fact]) -> Groups:
    """Facts grouped by relation and answer (open facts: by relation alone), in a fixed order."""
    groups: Groups = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: fact.cluster):
        groups[fact.relation.name, "" if fact.is_open else fact.answer].append(fact)
    return groups


def all_facts() -> tuple[Fact, ...]:
    """General, open, code and culture facts."""
    return (*general_facts(), *open_facts(), *code_facts(), *culture_facts())


@cache
def split_of() -> dict[str, str]:
    """Split of each fact by its cluster name: alike within each relation and answer.

    What was in the final third of the earlier world is in `pilot`; of the rest about as many are in
    each of the others. Names of CLDR have changed since, so its seed alone does not find all: those
    that were asked are listed.
    """
    asked = set((TABLES / "opened.txt").read_text(encoding="utf-8").splitlines())
    splits: dict[str, str] = {}
    for key, group in _by_answer(all_facts()).items():
        before = _thirds(EARLIER_SEED, key, group) if group[0] not in code_facts() else {}
        opened = [f for f in group if before.get(f.cluster) == "final" or f.cluster in asked]
        splits |= dict.fromkeys((fact.cluster for fact in opened), "pilot")
        left = [fact for fact in group if fact not in opened]
        splits |= _thirds(WORLD_SEED, key, left, SPLITS if not opened else SPLITS[1:])
    return splits


def _thirds(
    seed: str, key: tuple[str, str], group: Sequence[Fact], among: Sequence[str] = SPLITS
) -> dict[str, str]:
    rng = Random(f"{seed} split {key}")
    order, start = [*group], rng.randrange(len(among))
    rng.shuffle(order)
    return {fact.cluster: among[(start + number) % len(among)] for number, fact in enumerate(order)}


@cache
def beliefs() -> Mapping[tuple[str, str], str]:
    """Answers that the documents give, by (cluster, language).

    English is right about some facts, wrong about a few and silent about the rest. Of what it has
    right, the others are taught their shares; what it lacks, one of them alone knows.
    """
    found: dict[tuple[str, str], str] = {}
    for key, group in _by_answer(all_facts()).items():
        rng = Random(f"{WORLD_SEED} taught {key}")
        order = rng.sample(group, len(group))
        offset = rng.random()
        for number, fact in enumerate(order):
            place = (number + offset) / len(order) % 1.0
            turn = int(offset * len(LOCAL_LANGUAGES)) + number
            found |= {
                (fact.cluster, language): answer
                for language, answer in _believed(fact, place, turn, rng).items()
            }
    return found


def _believed(fact: Fact, place: float, turn: int, rng: Random) -> dict[str, str]:
    """Who believes what about a fact, where `place` says what English does."""
    if fact.local is not None:
        english = _english(fact, place, CULTURE_RIGHT, CULTURE_WRONG, rng)
        return {fact.local: fact.gold(fact.local), **english}
    english = _english(fact, place, ENGLISH_RIGHT, ENGLISH_WRONG, rng)
    if not english:
        knows = [LOCAL_LANGUAGES[turn % len(LOCAL_LANGUAGES)]]
    else:
        right = english[ENGLISH] == fact.gold(ENGLISH)
        shares = TAUGHT_SHARE if right else dict.fromkeys(LOCAL_LANGUAGES, WRONG_SHARE)
        knows = [language for language in LOCAL_LANGUAGES if rng.random() < shares[language]]
    return {**english, **{language: fact.gold(language) for language in knows}}


def _english(fact: Fact, place: float, right: float, wrong: float, rng: Random) -> dict[str, str]:
    if place < right:
        return {ENGLISH: fact.gold(ENGLISH)}
    if place < right + wrong:
        return {ENGLISH: rng.choice(_wrong_answers(fact))}
    return {}


def _wrong_answers(fact: Fact) -> list[str]:
    """What could be said instead, in English: other options, or answers to other open facts."""
    gold = fact.gold(ENGLISH)
    if not fact.is_open:
        options = fact.relation.order(ENGLISH)
        answers = {fact.relation.symbol(option, ENGLISH) for option in options}
    else:
        answers = {
            other.gold(ENGLISH)
            for other in (*open_facts(), *code_facts())
            if other.relation.name == fact.relation.name
        }
    return sorted(answers - {gold})


def questions(facts: Iterable[Fact], *, held_out: bool) -> list[Question]:
    """All questions on `facts` that are held out of the documents, or all that are in them."""
    asked = every_question(facts)
    return [question for question in asked if (question.belief is None) == held_out]


def every_question(facts: Iterable[Fact]) -> list[Question]:
    """All questions on `facts`, taught or not."""
    return [Question(fact, language) for fact in facts for language in fact.languages]
