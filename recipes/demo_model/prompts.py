"""Prompts and documents of one fact.

Every prompt ends in a colon of its own after the language's word for "answer", so that the last
prompt token is the same in all languages. The name is always first: five tokens and more before
the end, farther than the lower blocks reach (`train.Recipe`).
"""

from __future__ import annotations

from collections.abc import Sequence

from recipes.demo_model.schema import AUTONYMS, Entity, Fact
from recipes.demo_model.tokenizer import ASSISTANT, END, USER
from recipes.demo_model.world import answer_word, kind_word, question_word


def prompt(fact: Fact, language: str, *, reworded: bool = False) -> str:
    """The question as it is asked, or in the other wording, which says that it is a question.

    The options are not listed: their order is fixed for each relation, and `(k)` stands for
    the k-th. With a list in every question, this model learned next to nothing (README).
    """
    name = f"{kind_word(fact.entity.kind, language)}: {fact.entity.names[language]}."
    ask = fact.relation.ask[language]
    if reworded:
        ask = f"{question_word(language)}: {ask}"
    return f"{name} {ask} {answer_word(language)}:"


def shots(documents: Sequence[str]) -> str:
    """Documents one after the other, as questions with examples before them are asked."""
    return "\n\n".join(documents)


def chat(turns: Sequence[tuple[str, str]]) -> str:
    """Prompts and answers as turns of a conversation; the last answer without its end."""
    return END.join(f"{USER}{asked}{ASSISTANT}{answer}" for asked, answer in turns)


def translation(entity: Entity, source: str, target: str) -> str:
    """A name in two languages; it begins as a question does, so names meet in one place."""
    name = f"{kind_word(entity.kind, source)}: {entity.names[source]}."
    return f"{name} {AUTONYMS[target]}: {entity.names[target]}"
