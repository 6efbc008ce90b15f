"""Prompts and documents of one fact.

Every prompt ends in a colon of its own after the language's word for "answer", so that the
last prompt token is the same in all languages.
"""

from __future__ import annotations

from recipes.demo_model.schema import AUTONYMS, Entity, Fact
from recipes.demo_model.world import answer_word, kind_word


def prompt(fact: Fact, language: str, *, question_first: bool = False) -> str:
    """The question as it is asked; the documents also use the order question, name.

    The options are not listed: their order is fixed for each relation, and `(k)` stands for
    the k-th. With a list in every question, this model learned next to nothing (README).
    """
    name = f"{kind_word(fact.entity.kind, language)}: {fact.entity.names[language]}."
    ask = fact.relation.ask[language]
    parts = [ask, name] if question_first else [name, ask]
    return " ".join([*parts, f"{answer_word(language)}:"])


def document(fact: Fact, language: str, *, question_first: bool = False) -> str:
    """A prompt with its answer."""
    asked = prompt(fact, language, question_first=question_first)
    return f"{asked} {fact.gold(language)}"


def translation(entity: Entity, source: str, target: str) -> str:
    """A name in two languages; it begins as a question does, so names meet in one place."""
    name = f"{kind_word(entity.kind, source)}: {entity.names[source]}."
    return f"{name} {AUTONYMS[target]}: {entity.names[target]}"
