"""What an output says: an answer that people gave, a refusal, another language, or something else.

Answers are found by BLEnD's rule as released, or by a simple one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from crosslatent.core.culture_data import culture_table
from crosslatent.core.languages import ENGLISH, same_language
from crosslatent.core.normal import fold

_WITHOUT_BLANKS = ("zh", "ja", "th", "my", "km", "lo", "ko")
"""Languages whose answers are looked for within words, too: they have no blanks between words, or
endings without one."""
_ACUTE = "\u0301"


def gives_answer(output: str, golds: Sequence[str], language: str) -> bool:
    """Whether an output has one of some answers as whole words (the rule ``blend_simple``).

    Case and marks do not count; in languages without blanks between words an answer may be within
    others.
    """
    return any(has_words(output, gold, language) for gold in golds)


def has_words(output: str, gold: str, language: str) -> bool:
    """Whether an output has an answer as whole words; see `gives_answer`."""
    text, wanted = (" ".join(re.findall(r"\w+", bare(one))) for one in (output, gold))
    if not wanted:
        return False
    joined = any(same_language(language, one) for one in _WITHOUT_BLANKS)
    if joined and not wanted.isascii():
        return wanted.replace(" ", "") in text.replace(" ", "")
    return f" {wanted} " in f" {text} "


def bare(text: str) -> str:
    """A text without case and marks, such as accents; letters with hooks stay what they are."""
    parts = unicodedata.normalize("NFD", fold(text))
    kept = "".join(c for c in parts if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", kept)


def gives_as_released(output: str, gold: str) -> bool:
    """Whether an output gives an answer by BLEnD's rule (``blend``), without its lemmatisers.

    The answer is contained in the output, also with hyphens for blanks or the reverse; or each of
    its words, without acute accents and punctuation, is one of the output's.
    """
    text, wanted = output.lower(), gold.lower().strip()
    if not wanted:
        return False
    forms = (wanted, wanted.replace("-", " "), wanted.replace(" ", "-"))
    if any(form in text for form in forms):
        return True
    words, there = _words(wanted), set(_words(text))
    return bool(words) and all(word in there for word in words)


def _words(text: str) -> list[str]:
    parts = unicodedata.normalize("NFD", text).replace(_ACUTE, "")
    return re.findall(r"\w+", unicodedata.normalize("NFC", parts))


Kind = Literal["answer", "refusal", "other language", "other"]


def kind_of(
    output: str,
    langs: Sequence[str],
    output_lang: str | None,
    prediction: str | None,
    *,
    with_options: bool,
) -> Kind:
    """What an output is.

    Args:
        output: the text.
        langs: languages of the question's prompt and of its counterpart.
        output_lang: language of the output; None if it cannot be said.
        prediction: the option that it names; None if none.
        with_options: whether the question has options.

    Returns:
        "answer" if it names an option, or says anything where none is asked for and refuses
        nothing; else why not.
    """
    if prediction is not None:
        return "answer"
    if refuses(output, langs):
        return "refusal"
    if not with_options and output.strip():
        return "answer"
    if output_lang is not None and not any(same_language(output_lang, one) for one in langs):
        return "other language"
    return "other"


def refuses(output: str, langs: Sequence[str]) -> bool:
    """Whether an output has a phrase of refusal, in English or a language of the question."""
    text = fold(output)
    return any(
        phrase in text
        for lang, phrases in _phrases().items()
        if any(same_language(lang, one) for one in (ENGLISH, *langs))
        for phrase in phrases
    )


@lru_cache(maxsize=1)
def _phrases() -> Mapping[str, tuple[str, ...]]:
    return {lang: tuple(map(fold, some)) for lang, some in culture_table("refusals").items()}
