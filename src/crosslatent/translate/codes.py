"""How families of translation models write a language, as candidates to look for in a vocabulary.

A model knows a language only if the code is in its own vocabulary; see `find`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from crosslatent.core.languages import primary, script_of

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


def short(code: str) -> list[str]:
    """Two letters, or three where there are no two: "sw"; with the script first if it was given."""
    language = primary(code)
    return [code.replace("-", "_"), language, *_OTHER_NAMES.get(language, ())]


def three_letters(code: str) -> list[str]:
    """Three letters, of a member and of the whole, then `short`: "swh", "swa", "sw"."""
    language, script = primary(code), script_of(code)
    bases = [_MARIAN.get(language), _INDIVIDUAL.get(language), alpha3(language)]
    known = [base for base in bases if base]
    return [*(f"{base}_{script}" for base in known), *known, *short(code)]


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
