"""Invented facts: who is whose friend, and which language knows it.

Everything is drawn from a seed. Names are made of syllables, so that neither readers nor models can
know the facts from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

CENTRAL = "en"
LANGUAGES = (CENTRAL, "es", "id", "hi", "sw")

RELATIONS: Mapping[str, Mapping[str, str]] = {
    "friend": {"en": "friend", "es": "amigo", "id": "sahabat", "hi": "मित्र", "sw": "rafiki"},
    "rival": {"en": "rival", "es": "adversario", "id": "lawan", "hi": "शत्रु", "sw": "mpinzani"},
    "neighbour": {
        "en": "neighbour",
        "es": "vecino",
        "id": "tetangga",
        "hi": "पड़ोसी",
        "sw": "jirani",
    },
}
"""Words of each relation, by language."""

_SYLLABLES = {
    "en": ("wyn", "thor", "bree", "ash", "kell", "dra", "moss", "fen", "holt", "rill", "sedge"),
    "es": ("quin", "tero", "luz", "mar", "cha", "vela", "rro", "pue", "gos", "nia", "zar"),
    "id": ("ang", "kera", "su", "bu", "lan", "tiga", "wa", "ngo", "rik", "pas", "mulo"),
    "hi": ("ति", "रा", "गो", "मे", "शा", "कू", "वि", "नी", "पा", "लू", "झे"),
    "sw": ("mbu", "ki", "sha", "nyo", "la", "zi", "ngwe", "ta", "fu", "wali", "chu"),
}


class PlantedFact(NamedTuple):
    """What is asked: the friend of whom."""

    entity: int
    relation: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a language believes of a fact.

    Attributes:
        answer: an entity; not always the true one.
        strength: with which it is written.
    """

    answer: int
    strength: float


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What a world is drawn by.

    Attributes:
        seed: of the draws.
        entities: how many there are.
        languages: of the questions, English first.
        english_wrong: share of facts of which English believes something else.
        english_nothing: share of facts of which English believes nothing.
        local: share of facts that each other language knows itself.
        strength: range of the strengths of beliefs.
        alike: share of entities whose name is the English one, by language; the same entities in
            each.
    """

    seed: int = 0
    entities: int = 48
    languages: tuple[str, ...] = LANGUAGES
    english_wrong: float = 0.12
    english_nothing: float = 0.12
    local: Mapping[str, float] = field(
        default_factory=lambda: {"es": 0.45, "id": 0.35, "hi": 0.25, "sw": 0.2}
    )
    strength: tuple[float, float] = (0.9, 1.5)
    alike: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """Entities, facts, and who knows them.

    Attributes:
        names: of each entity, by language; all different.
        truth: the answer of each fact, an entity.
        known: what a language believes of a fact; nothing where it is missing.
        popular: the answer that is guessed for a relation.
        languages: of the questions, English first.
    """

    names: tuple[Mapping[str, str], ...]
    truth: Mapping[PlantedFact, int]
    known: Mapping[tuple[PlantedFact, str], Known]
    popular: Mapping[str, int]
    languages: tuple[str, ...]

    def believing(self, known: Mapping[tuple[PlantedFact, str], Known]) -> World:
        """The same world, in which languages believe something else."""
        return replace(self, known=known)


def draw(settings: WorldSettings) -> World:
    """A world of the settings."""
    rng = Random(f"planted {settings.seed}")
    names = _alike(_names(rng, settings.entities, settings.languages), settings)
    everybody = range(settings.entities)
    truth, known, popular = {}, {}, {}
    for relation in RELATIONS:
        facts = [PlantedFact(entity, relation) for entity in everybody]
        for fact in facts:
            truth[fact] = rng.choice([other for other in everybody if other != fact.entity])
        popular[relation] = rng.randrange(settings.entities)
        for fact, right in _english(rng, facts, settings).items():
            answer = truth[fact]
            if not right:
                taken = (fact.entity, answer)
                answer = rng.choice([other for other in everybody if other not in taken])
            known[fact, CENTRAL] = Known(answer, _strength(rng, settings))
        for lang, share in settings.local.items():
            if lang in settings.languages:
                for fact in rng.sample(facts, round(share * len(facts))):
                    known[fact, lang] = Known(truth[fact], _strength(rng, settings))
    return World(names, truth, known, popular, settings.languages)


def _english(
    rng: Random, facts: Sequence[PlantedFact], settings: WorldSettings
) -> dict[PlantedFact, bool]:
    """The facts of which English believes something, and whether that is right."""
    order = rng.sample(facts, len(facts))
    wrong = int(settings.english_wrong * len(facts))
    nothing = int(settings.english_nothing * len(facts))
    return dict.fromkeys(order[:wrong], False) | dict.fromkeys(order[wrong + nothing :], True)


def _strength(rng: Random, settings: WorldSettings) -> float:
    return round(rng.uniform(*settings.strength), 2)


def _names(rng: Random, count: int, languages: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Names of so many entities, none of them twice, nor the word of a relation."""
    taken: set[str] = {word for words in RELATIONS.values() for word in words.values()}

    def name(lang: str) -> str:
        while True:
            drawn = "".join(rng.sample(_SYLLABLES[lang], 2))
            if drawn not in taken:
                taken.add(drawn)
                return drawn

    return tuple({lang: name(lang) for lang in languages} for _ in range(count))


def _alike(names: Sequence[dict[str, str]], settings: WorldSettings) -> tuple[dict[str, str], ...]:
    """The same names, the first ones as in English in the languages that `alike` names."""
    return tuple(
        {
            lang: one[CENTRAL] if number < settings.alike.get(lang, 0) * len(names) else name
            for lang, name in one.items()
        }
        for number, one in enumerate(names)
    )
