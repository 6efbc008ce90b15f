"""Other forms of a question: options in another order, other words around it, asked of a person.

What is put around a question goes in front of it, so that its last token stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from crosslatent.core.countries import country_in
from crosslatent.core.culture_data import culture_table
from crosslatent.core.errors import TaskError
from crosslatent.core.languages import ENGLISH, same_language
from crosslatent.tasks.item import Item

FRAMES, PERSONAS = 3, 2
"""How many frames and personas there are."""


def reordered(item: Item, order: Sequence[int]) -> Item:
    """The same question with its options in another order.

    The marks stay where they are, the texts behind them move: the text at place k is that of
    option ``order[k]``.

    Args:
        item: with options that its prompts list, each on a line with its mark.
        order: places of the options.

    Raises:
        TaskError: it has no options, or a prompt does not list their texts.
    """
    options, labels = item.options, item.labels
    if options is None or labels is None:
        raise TaskError(f"The question {item.id!r} has no options with texts to put in order.")
    aux_labels = item.aux_labels or labels
    gold = None if item.answer is None else options[order.index(options.index(item.answer))]
    aux_gold = (
        options[order.index(options.index(item.aux_answer))]
        if item.aux_answer in options
        else item.aux_answer
    )
    return replace(
        item,
        main=_exchanged(item, item.main, labels, order),
        aux=_exchanged(item, item.aux, aux_labels, order) if item.aux else "",
        paraphrase=None
        if item.paraphrase is None
        else _exchanged(item, item.paraphrase, labels, order),
        labels=tuple(labels[k] for k in order),
        aux_labels=None if item.aux_labels is None else tuple(item.aux_labels[k] for k in order),
        answer=gold,
        aux_answer=aux_gold,
        shares=None if item.shares is None else tuple(item.shares[k] for k in order),
    )


def _exchanged(item: Item, prompt: str, labels: Sequence[str], order: Sequence[int]) -> str:
    """A prompt with the texts behind the marks in another order."""
    options = item.options or ()
    found = [_place(prompt, option, label) for option, label in zip(options, labels, strict=True)]
    if any(place is None for place in found):
        raise TaskError(f"The prompt of {item.id!r} does not list its options with their texts.")
    pieces, end = [], 0
    places = [place for place in found if place is not None]
    for k, (start, stop) in sorted(enumerate(places), key=lambda one: one[1]):
        if start < end:
            raise TaskError(f"The texts of the options of {item.id!r} overlap in its prompt.")
        pieces += [prompt[end:start], labels[order[k]]]
        end = stop
    return "".join([*pieces, prompt[end:]])


def _place(prompt: str, option: str, label: str) -> tuple[int, int] | None:
    """Where the text of an option is, behind its mark, for the last time."""
    if not label:
        return None
    mark = re.escape(option.strip("()[]"))
    pattern = rf"[(\uff08]{mark}[)\uff09]\s*({re.escape(label)})(?=\s*$|\s)"
    every = list(re.finditer(pattern, prompt, re.MULTILINE))
    return every[-1].span(1) if every else None


def framed(item: Item, number: int) -> Item:
    """The same question with a sentence before it, which asks for nothing else.

    Args:
        item: the question.
        number: of the frame, from 1 to `FRAMES`.
    """
    return _begun(item, _words(item.lang)["frames"][number - 1])


def as_person(item: Item, country: str, language: str, number: int) -> Item:
    """The same question, to be answered as somebody of a country.

    Args:
        item: the question.
        country: by our name.
        language: that this is said in; English where the sentence is not known in it.
        number: of the persona, from 1 to `PERSONAS`.
    """
    known = language if language_has_words(language) else ENGLISH
    sentence: str = _words(known)["personas"][number - 1]
    return _begun(item, sentence.format(country=country_in(country, known)))


def _begun(item: Item, sentence: str) -> Item:
    return replace(item, main=f"{sentence}\n{item.main}")


def language_has_words(language: str) -> bool:
    """Whether frames and personas are known in a language."""
    return any(same_language(language, name) for name in culture_table("words"))


def _words(language: str) -> Mapping[str, Any]:
    every = culture_table("words")
    return next(
        (some for name, some in every.items() if same_language(language, name)), every[ENGLISH]
    )
