"""The training documents: seeded draws from the taught questions and the word translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from recipes.demo_model.curriculum import Question, all_facts, questions
from recipes.demo_model.prompts import chat, prompt, shots, translation
from recipes.demo_model.schema import ENGLISH, Entity
from recipes.demo_model.world import open_facts

T = TypeVar("T")


@dataclass(frozen=True)
class Mix:
    """How many documents there are, and of what.

    Attributes:
        documents: all of them.
        english: share of questions in English.
        local: share of questions in the other languages.
        shots: share of documents of several questions, `most_shots` at most.
        chats: share of conversations.
        reworded: share of questions in the other wording.
        translated: shares of the translations, which are the rest, between English and each.
    """

    documents: int = 250_000
    english: float = 0.32
    local: float = 0.32
    shots: float = 0.01
    chats: float = 0.04
    most_shots: int = 10
    reworded: float = 0.25
    translated: dict[str, float] = field(
        default_factory=lambda: {"es": 0.34, "id": 0.20, "hi": 0.30, "sw": 0.16}
    )


def _translations(language: str) -> list[tuple[Entity, str, str]]:
    """Every name between English and `language`, both ways; those of capitals too."""
    entities = {(fact.entity.kind, fact.entity.key): fact.entity for fact in all_facts()}
    for fact in open_facts():
        capital = Entity("city", fact.answer, fact.answers)
        entities.setdefault((capital.kind, capital.key), capital)
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
    counts = {"english": int(mix.documents * mix.english), "local": int(mix.documents * mix.local)}
    several = {"shots": int(mix.documents * mix.shots), "chats": int(mix.documents * mix.chats)}
    chosen = _draws(english, counts["english"], rng) + _draws(local, counts["local"], rng)
    texts = [" ".join(_asked(q, mix, rng)) for q in chosen]
    texts += _several(asked, several["shots"], several["chats"], mix, rng)
    left = mix.documents - len(texts)
    for language, share in mix.translated.items():
        pairs = _draws(_translations(language), int(left * share), rng)
        texts += [translation(*pair) for pair in pairs]
    rng.shuffle(texts)
    return texts


def _asked(question: Question, mix: Mix, rng: Random) -> tuple[str, str]:
    """A prompt in one of the two wordings, and what the documents answer."""
    reworded = rng.random() < mix.reworded
    return prompt(question.fact, question.language, reworded=reworded), str(question.belief)


def _several(
    asked: Sequence[Question], n_shots: int, n_chats: int, mix: Mix, rng: Random
) -> Iterator[str]:
    """Documents of several questions of one relation and language, and conversations."""
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in asked:
        groups.setdefault((question.fact.relation.name, question.language), []).append(question)
    pools = [pool for pool in groups.values() if len(pool) > 1]
    sizes = [len(pool) for pool in pools]
    for number in range(n_shots + n_chats):
        pool = rng.choices(pools, sizes)[0]
        most = mix.most_shots if number < n_shots else 2
        turns = [
            _asked(q, mix, rng) for q in rng.sample(pool, min(len(pool), rng.randint(1, most)))
        ]
        yield chat(turns) if number >= n_shots else shots([" ".join(turn) for turn in turns])
