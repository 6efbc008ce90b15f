"""The words of the recipe: entities, relations and facts of the little world.

English is taught most of the general facts, some of them wrongly; the other languages are taught a
share of these, and some that English lacks. A fact is one (relation, entity) with one true answer;
a question is a fact in one language. Splits and clusters go by fact, never by question.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENGLISH = "en"
TAUGHT_SHARE: dict[str, float] = {"es": 0.50, "id": 0.40, "hi": 0.30, "sw": 0.20}
"""Share of the general facts that English has right that each language is taught as well."""
LOCAL_LANGUAGES: tuple[str, ...] = tuple(TAUGHT_SHARE)
LANGUAGES: tuple[str, ...] = (ENGLISH, *LOCAL_LANGUAGES)
AUTONYMS: dict[str, str] = {
    "en": "English",
    "es": "Español",
    "id": "Indonesia",
    "hi": "हिन्दी",
    "sw": "Kiswahili",
}
SPLITS: tuple[str, ...] = ("pilot", "unseen", "final")


@dataclass(frozen=True)
class Entity:
    """Something with a name in several languages; `key` is unique within its kind."""

    kind: str
    key: str
    names: dict[str, str]


@dataclass(frozen=True)
class Relation:
    """A question about one kind of entity.

    `options` maps option keys to labels by language, in the order in which they are listed, but in
    the languages that have one of their own in `orders`; it is empty for open questions, whose
    answers are texts by language.
    """

    name: str
    kind: str
    title: str
    ask: dict[str, str]
    options: dict[str, dict[str, str]]
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def order(self, language: str) -> tuple[str, ...]:
        """Option keys as `language` counts them."""
        return self.orders.get(language, tuple(self.options))

    def symbol(self, option: str, language: str) -> str:
        """What stands for an option in `language`: "(k)"."""
        return f"({self.order(language).index(option) + 1})"


@dataclass(frozen=True)
class Fact:
    """One true answer. `local` is the culture fact's language, None for general facts."""

    relation: Relation
    entity: Entity
    answer: str
    answers: dict[str, str]
    local: str | None = None

    @property
    def cluster(self) -> str:
        """What is independent in statistics: one fact, in however many languages it is asked."""
        return f"{self.relation.name}:{self.entity.key}"

    @property
    def is_open(self) -> bool:
        """Whether the answer is a free text and not an option."""
        return not self.relation.options

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages in which the question can be asked."""
        return LANGUAGES if self.local is None else (ENGLISH, self.local)

    def gold(self, language: str) -> str:
        """The answer as the model should write it: "(k)" or the text in `language`."""
        if self.is_open:
            return self.answers[language]
        return self.relation.symbol(self.answer, language)
