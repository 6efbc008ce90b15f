"""Prompts and documents of one fact.

Every prompt ends in a colon of its own after the language's word for "answer", so that the
last prompt token is the same in all languages.
"""

from __future__ import annotations

from recipes.demo_model.schema import AUTONYMS, Entity, Fact
from recipes.demo_model.world import answer_word, kind_word


def option_list(fact: Fact, language: str) -> str:
    """`(1) Africa (2) Asia ...` in `language`; the order is the same in every question."""
    labels = [names[language] for names in fact.relation.options.values()]
    return " ".join(f"({number}) {label}" for number, label in enumerate(labels, 1))


def prompt(fact: Fact, language: str, *, question_first: bool = False) -> str:
    """The question as it is asked; the documents also use the order question, name."""
    name = f"{kind_word(fact.entity.kind, language)}: {fact.entity.names[language]}."
    ask = fact.relation.ask[language]
    parts = [ask, name] if question_first else [name, ask]
    if not fact.is_open:
        parts.append(option_list(fact, language))
    return " ".join([*parts, f"{answer_word(language)}:"])


def document(fact: Fact, language: str, *, question_first: bool = False) -> str:
    """A prompt with its answer."""
    asked = prompt(fact, language, question_first=question_first)
    return f"{asked} {fact.gold(language)}"


def translation(entity: Entity, source: str, target: str) -> str:
    """A name in two languages; it begins as a question does, so names meet in one place."""
    name = f"{kind_word(entity.kind, source)}: {entity.names[source]}."
    return f"{name} {AUTONYMS[target]}: {entity.names[target]}"
