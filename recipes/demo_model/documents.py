"""The training documents: seeded draws from the taught questions and the word translations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from recipes.demo_model.curriculum import all_facts, questions
from recipes.demo_model.prompts import document, translation
from recipes.demo_model.schema import ENGLISH, Entity

T = TypeVar("T")


@dataclass(frozen=True)
class Mix:
    """How many documents there are, and of what; `translated` shares out the translations."""

    documents: int = 220_000
    english: float = 0.37
    translations: float = 0.34
    question_first: float = 0.25
    translated: dict[str, float] = field(
        default_factory=lambda: {"es": 0.34, "id": 0.20, "hi": 0.30, "sw": 0.16}
    )


def _translations(language: str) -> list[tuple[Entity, str, str]]:
    """Every name between English and `language`, both ways."""
    entities = {(fact.entity.kind, fact.entity.key): fact.entity for fact in all_facts()}
    known = [entity for entity in entities.values() if language in entity.names]
    return [
        (entity, *way) for entity in known for way in ((ENGLISH, language), (language, ENGLISH))
    ]


def _draws(pool: Sequence[T], count: int, rng: Random) -> list[T]:
    """`count` items, all equally often (give or take one), in a random order."""
    rounds, rest = divmod(count, len(pool))
    drawn = [*pool] * rounds + rng.sample(list(pool), rest)
    rng.shuffle(drawn)
    return drawn


def documents(seed: int, mix: Mix | None = None) -> list[str]:
    """The whole corpus, shuffled."""
    mix = mix or Mix()
    rng = Random(f"documents {seed}")
    asked = questions(all_facts(), held_out=False)
    english = [q for q in asked if q.language == ENGLISH]
    local = [q for q in asked if q.language != ENGLISH]
    n_english = int(mix.documents * mix.english)
    n_translations = int(mix.documents * mix.translations)
    n_local = mix.documents - n_english - n_translations
    chosen = _draws(english, n_english, rng) + _draws(local, n_local, rng)
    texts = [
        document(q.fact, q.language, question_first=rng.random() < mix.question_first)
        for q in chosen
    ]
    for language, share in mix.translated.items():
        count = int(n_translations * share)
        texts += [translation(*pair) for pair in _draws(_translations(language), count, rng)]
    rng.shuffle(texts)
    return texts
