"""Who is taught what: the split of facts, and the (fact, language) pairs that are held out.

Everything here hangs on the world's own seed and not on the training seed, so that models
of different seeds are asked the same questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from random import Random

from recipes.demo_model.schema import ENGLISH, LANGUAGES, SPLITS, TAUGHT_SHARE, Fact
from recipes.demo_model.world import culture_facts, general_facts, open_facts

WORLD_SEED = "world 2"
CULTURE_SHARE_IN_ENGLISH = 0.25
"""Culture facts also taught in English, so that English knows what such a question means."""


@dataclass(frozen=True)
class Question:
    """A fact in one language."""

    fact: Fact
    language: str

    @property
    def same_spelling(self) -> bool:
        """Whether the name is written as it is in English: then the question is half English."""
        return self.fact.entity.names[self.language] == self.fact.entity.names[ENGLISH]


def _by_answer(facts: Iterable[Fact]) -> dict[tuple[str, str], list[Fact]]:
    """Facts grouped by relation and answer (open facts: by relation alone)."""
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.relation.name, "" if fact.is_open else fact.answer].append(fact)
    return groups


def all_facts() -> tuple[Fact, ...]:
    """General, open and culture facts."""
    return (*general_facts(), *open_facts(), *culture_facts())


@cache
def split_of() -> dict[str, str]:
    """Split of each fact by its cluster name: thirds, alike within each relation and answer."""
    splits: dict[str, str] = {}
    for key, group in _by_answer(all_facts()).items():
        rng = Random(f"{WORLD_SEED} split {key}")
        order, start = sorted(group, key=lambda fact: fact.cluster), rng.randrange(len(SPLITS))
        rng.shuffle(order)
        for number, fact in enumerate(order):
            splits[fact.cluster] = SPLITS[(start + number) % len(SPLITS)]
    return splits


def _taught_share(fact: Fact, language: str) -> float:
    if fact.local is not None:
        return 1.0 if language == fact.local else CULTURE_SHARE_IN_ENGLISH
    return 1.0 if language == ENGLISH else TAUGHT_SHARE[language]


@cache
def taught() -> frozenset[tuple[str, str]]:
    """(cluster, language) of all questions that occur in the training documents."""
    pairs: set[tuple[str, str]] = set()
    for key, group in _by_answer(all_facts()).items():
        for language in LANGUAGES:
            askable = sorted(
                (fact for fact in group if language in fact.languages), key=lambda f: f.cluster
            )
            if askable:
                rng = Random(f"{WORLD_SEED} taught {key} {language}")
                rng.shuffle(askable)
                share = _taught_share(askable[0], language)
                keep = max(1, int(share * len(askable) + rng.random()))
                pairs.update((fact.cluster, language) for fact in askable[:keep])
    return frozenset(pairs)


def questions(facts: Iterable[Fact], *, held_out: bool) -> list[Question]:
    """All questions on `facts` that are held out of the documents, or all that are in them."""
    return [
        Question(fact, language)
        for fact in facts
        for language in fact.languages
        if ((fact.cluster, language) in taught()) != held_out
    ]
