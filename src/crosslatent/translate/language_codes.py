"""How families of translation models take the languages: one table entry each.

A code is looked for among candidates, since a model knows a language only if the code is in its own
vocabulary; see `find`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from crosslatent.core.errors import ModelError
from crosslatent.core.languages import name_of, primary, same_language, script_of

_INDIVIDUAL = {
    "ar": "arb",
    "ay": "ayr",
    "az": "azj",
    "et": "est",
    "fa": "pes",
    "ff": "fuv",
    "fil": "tgl",
    "kr": "knc",
    "ku": "kmr",
    "lv": "lvs",
    "mg": "plt",
    "mn": "khk",
    "ms": "zsm",
    "ne": "npi",
    "no": "nob",
    "om": "gaz",
    "or": "ory",
    "ps": "pbt",
    "qu": "quy",
    "sq": "als",
    "sw": "swh",
    "uz": "uzn",
    "yi": "ydd",
    "din": "dik",
}
"""Member of a macrolanguage that FLORES-200, and so NLLB, has under its ISO 639-3 code."""

_OTHER_NAMES = {
    "fil": ("tl",),
    "he": ("iw",),
    "id": ("in",),
    "jv": ("jw",),
    "nb": ("no",),
    "nn": ("no",),
    "no": ("nb",),
    "nso": ("ns",),
    "yi": ("ji",),
}
"""Older or neighbouring codes that some models use."""

_MARIAN = {"zh": "cmn", "et": "ekk"}
"""Members of a macrolanguage that Marian models have by another name than NLLB."""

_SCRIPTS = {"Kore": "Hang"}
"""Scripts that FLORES-200 names otherwise than the likely subtags of Unicode."""


def nllb(code: str) -> list[str]:
    """Language and script: "sw" is "swh_Latn", "zh-TW" is "zho_Hant"."""
    script = script_of(code) or ""
    bases = [alpha3(code), _INDIVIDUAL.get(primary(code), alpha3(primary(code)))]
    whole = [code.replace("-", "_"), *(f"{base}_{_SCRIPTS.get(script, script)}" for base in bases)]
    # Another script than the one that was asked for would not do.
    return whole if _names_script(code) else [*whole, *bases]


def short_codes(code: str) -> list[str]:
    """Two letters, or three where there are no two: "sw"; with the script first if it was given."""
    language = primary(code)
    return [code.replace("-", "_"), language, *_OTHER_NAMES.get(language, ())]


def three_letters(code: str) -> list[str]:
    """Three letters, of a member and of the whole, then `short_codes`: "swh", "swa", "sw"."""
    language, script = primary(code), script_of(code)
    bases = [_MARIAN.get(language), _INDIVIDUAL.get(language), alpha3(language)]
    known = [base for base in bases if base]
    return [*(f"{base}_{script}" for base in known), *known, *short_codes(code)]


def alpha3(code: str) -> str:
    """ISO 639-3 code, "und" for a code that is not known."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        return str(Language.get(code).to_alpha3())
    except (LanguageTagError, LookupError):
        return "und"


def find(known: Collection[str], candidates: Sequence[str]) -> str | None:
    """The first candidate that a model knows, else the only known code that extends one.

    Args:
        known: codes of the model, as it writes them.
        candidates: best first; "sw" is extended by "sw_KE".

    Returns:
        The code as the model writes it; None if there is none, or several that could be meant.
    """
    by_name = {code.lower(): code for code in sorted(known)}
    for candidate in candidates:
        if candidate.lower() in by_name:
            return by_name[candidate.lower()]
    for candidate in candidates:
        longer = [by_name[name] for name in by_name if name.startswith(f"{candidate.lower()}_")]
        if len(longer) == 1:
            return longer[0]
    return None


def _names_script(code: str) -> bool:
    return any(len(part) == 4 and part.isalpha() for part in code.replace("-", "_").split("_")[1:])


_SHOWN = 8
"""Languages that a message names."""


@dataclass(frozen=True, slots=True)
class ModelFamily:
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
    ModelFamily(
        name="NLLB",
        types=frozenset({"m2m_100", "nllb-moe"}),
        form="{}",
        code="[a-z]{3}_[A-Z][a-z]{3}",
        spell=nllb,
        scheme="forced",
    ),
    ModelFamily(
        name="M2M100",
        types=frozenset({"m2m_100"}),
        form="__{}__",
        code="[a-z]{2,3}",
        spell=short_codes,
        scheme="forced",
    ),
    ModelFamily(
        name="mBART-50",
        types=frozenset({"mbart"}),
        form="{}",
        code="[a-z]{2}_[A-Z]{2}",
        spell=short_codes,
        scheme="forced",
        # The tokenizer of the first mBART puts the language after the text, not before it.
        tokenizers=("MBart50",),
    ),
    ModelFamily(
        name="MADLAD",
        types=frozenset({"t5", "mt5", "umt5"}),
        form="<2{}>",
        code="[a-z]{2,3}(?:_[A-Za-z]+)?",
        spell=short_codes,
        scheme="prefix",
    ),
    ModelFamily(
        name="Marian",
        types=frozenset({"marian"}),
        form=">>{}<<",
        code="[a-z]{2,3}(?:_[A-Za-z]+)?",
        spell=three_letters,
        scheme="prefix",
    ),
    ModelFamily(
        name="Marian, one pair",
        types=frozenset({"marian"}),
        form="",
        code="",
        spell=three_letters,
        scheme="prefix",
    ),
)


def family_of(model_type: str, tokenizer: PreTrainedTokenizerBase, name: str) -> ModelFamily:
    """The family of a model: its type, and language tokens that its tokenizer has.

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
    family: ModelFamily, known: dict[str, int], name: str, source: str, target: str
) -> Direction:
    """What to give a model that knows some codes (`ModelFamily.known`) for a pair of languages.

    Raises:
        ModelError: it does not know one of the languages.
    """
    if not family.form:
        return Direction()
    to = _find(family, known, name, target)
    if family.scheme == "prefix":
        return Direction(prefix=family.form.format(to) + " ", marker=known[to])
    return Direction(source=_find(family, known, name, source), first=known[to])


def _find(family: ModelFamily, known: dict[str, int], name: str, code: str) -> str:
    candidates = list(dict.fromkeys(family.spell(code)))
    found = find(known, candidates)
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
