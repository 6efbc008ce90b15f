"""How families of translation models take the languages: one table entry each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from crosslatent.core.errors import ModelError
from crosslatent.core.languages import name_of, primary, same_language
from crosslatent.translate import codes

_SHOWN = 8
"""Languages that a message names."""


@dataclass(frozen=True, slots=True)
class Family:
    """One way of telling a translation model its languages.

    Attributes:
        name: for people.
        types: model types of transformers that it goes with.
        form: the token of a language, with "{}" in the place of its code; empty if the model has
            none, since it translates one pair only.
        code: what a code looks like.
        spell: candidates for a code, from what users write.
        scheme: "forced": the tokenizer gets the source, and the first generated token is that of
            the target; "prefix": the token of the target precedes the text.
        tokenizers: starts of names of tokenizer classes; others are another family.
    """

    name: str
    types: frozenset[str]
    form: str
    code: str
    spell: Callable[[str], list[str]]
    scheme: Literal["forced", "prefix"]
    tokenizers: tuple[str, ...] = ("",)

    def known(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
        """The codes in a tokenizer's vocabulary, with the id of their token."""
        if not self.form or not type(tokenizer).__name__.startswith(self.tokenizers):
            return {}
        before, after = map(re.escape, self.form.split("{}"))
        pattern = re.compile(f"{before}({self.code}){after}")
        vocabulary = tokenizer.get_vocab() | getattr(tokenizer, "lang_token_to_id", {})
        found = {pattern.fullmatch(token): number for token, number in vocabulary.items()}
        return {match[1]: int(number) for match, number in found.items() if match}


FAMILIES = (
    Family(
        name="NLLB",
        types=frozenset({"m2m_100", "nllb-moe"}),
        form="{}",
        code="[a-z]{3}_[A-Z][a-z]{3}",
        spell=codes.nllb,
        scheme="forced",
    ),
    Family(
        name="M2M100",
        types=frozenset({"m2m_100"}),
        form="__{}__",
        code="[a-z]{2,3}",
        spell=codes.short,
        scheme="forced",
    ),
    Family(
        name="mBART-50",
        types=frozenset({"mbart"}),
        form="{}",
        code="[a-z]{2}_[A-Z]{2}",
        spell=codes.short,
        scheme="forced",
        # The tokenizer of the first mBART puts the language after the text, not before it.
        tokenizers=("MBart50",),
    ),
    Family(
        name="MADLAD",
        types=frozenset({"t5", "mt5", "umt5"}),
        form="<2{}>",
        code="[a-z]{2,3}(?:_[A-Za-z]+)?",
        spell=codes.short,
        scheme="prefix",
    ),
    Family(
        name="Marian",
        types=frozenset({"marian"}),
        form=">>{}<<",
        code="[a-z]{2,3}(?:_[A-Za-z]+)?",
        spell=codes.three_letters,
        scheme="prefix",
    ),
    Family(
        name="Marian, one pair",
        types=frozenset({"marian"}),
        form="",
        code="",
        spell=codes.three_letters,
        scheme="prefix",
    ),
)


def family_of(model_type: str, tokenizer: PreTrainedTokenizerBase, name: str) -> Family:
    """The family of a model: its type, and language tokens that its tokenizer has.

    Args:
        model_type: of transformers.
        tokenizer: of the model.
        name: what the model was loaded from, for the message.

    Raises:
        ModelError: there is no such family.
    """
    for family in FAMILIES:
        if model_type in family.types and (not family.form or family.known(tokenizer)):
            return family
    wanted = ", ".join(f"{family.name} ({family.form})" for family in FAMILIES if family.form)
    raise ModelError(
        f"{name!r} (type {model_type!r}) does not tell how it takes languages: use a translation "
        f"model whose tokenizer has the language tokens of {wanted}, or a Marian model of one pair."
    )


@dataclass(frozen=True, slots=True)
class Direction:
    """What a model is given for one pair of languages.

    Attributes:
        source: source language code for the tokenizer; None if it takes none.
        first: id of the token that a translation starts with; None for any.
        prefix: text to put before the text to translate.
        marker: id of the token that the prefix must become; None without a prefix.
    """

    source: str | None = None
    first: int | None = None
    prefix: str = ""
    marker: int | None = None


def direction(
    family: Family, known: dict[str, int], name: str, source: str, target: str
) -> Direction:
    """What to give a model so that it translates from `source` to `target`.

    Args:
        family: of the model.
        known: the codes that it knows, from `Family.known`.
        name: what the model was loaded from, for messages.
        source: language of the texts.
        target: language of the translations.

    Raises:
        ModelError: it does not know one of the languages.
    """
    if not family.form:
        return Direction()
    to = _find(family, known, name, target)
    if family.scheme == "prefix":
        return Direction(prefix=family.form.format(to) + " ", marker=known[to])
    return Direction(source=_find(family, known, name, source), first=known[to])


def _find(family: Family, known: dict[str, int], name: str, code: str) -> str:
    candidates = list(dict.fromkeys(family.spell(code)))
    found = codes.find(known, candidates)
    if found is None:
        some = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        raise ModelError(
            f"The translation model {name!r} does not know the language {code!r} "
            f"({name_of(code)}; tried {', '.join(candidates)}): it knows {some}."
        )
    return found


def check_pair(tokenizer: Any, name: str, source: str, target: str) -> None:
    """Refuse another pair than a Marian model was trained for, if its tokenizer names one.

    Some name groups of languages ("mul", "ROMANCE"), and nothing can be said about those.

    Raises:
        ModelError: the tokenizer names another language.
    """
    asked = {"source": source, "target": target}
    for role, code in asked.items():
        own = getattr(tokenizer, f"{role}_lang", None)
        if own and name_of(own) != own and len(primary(own)) == 2 and not same_language(own, code):
            raise ModelError(
                f"The translation model {name!r} has {own!r} ({name_of(own)}) as its {role} "
                f"language, not {code!r}: use a model for {source} to {target}."
            )
