"""Languages: their names, their scripts, and which one a text is written in.

A code is an ISO 639 code or a BCP 47 tag ("sw", "zh-CN"). Tasks may use language codes of their
own, so an unknown code is never an error here.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from langcodes import Language

ENGLISH = "en"
UNKNOWN = "und"
"""ISO 639's code for an undetermined language."""

CONFIDENCE = 0.7
"""Probability below which `identify` gives no answer.

Measured on released evaluation data, never used for training here, as accuracy of the answers given
and share of texts without an answer: options of XCOPA (1,200 texts, 12 languages) 0.998 and 0.14;
answers of XQuAD (600 texts, 12 languages; mostly names and numbers) 0.988 and 0.57; whole prompts
of XCOPA, XQuAD, XNLI and GlobalOpinionQA (2,900 texts, 28 languages) 1.000 and 0.001. Without a
threshold, XCOPA's options would be 0.97 and XQuAD's answers 0.59 right: Indonesian is taken for
Malay, and a name in Latin letters for anything.
"""

LEAST_BYTES = 6
"""Letters that a text must have, counted in bytes of UTF-8: six Latin ones, or two Chinese ones."""

_RIGHT_TO_LEFT = (
    "Adlm", "Arab", "Aran", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi",
)  # fmt: skip
"""ISO 15924 codes of scripts in use that are written from right to left."""

_NO_LANGUAGE = "zxx"  # the identifier's answer to text that is no language, such as code


def name_of(code: str) -> str:
    """English name of a language: "sw" is "Swahili"; the code itself if it has no name."""
    language = _parse(code)
    name = "" if language is None else str(language.display_name())
    return code if not name or "Unknown" in name else name


def code_of(name: str) -> str:
    """The code of a language: of its name in any language ("hausa" is "ha"), or a code as it is.

    Raises:
        LookupError: it is neither; the message says what may have been meant.
    """
    if _parse(name) is not None or name in ("", UNKNOWN):
        return name
    import langcodes

    try:
        return str(langcodes.find(name))
    except LookupError:
        known = {name_of(code).casefold(): code for code in _identifier().labels}
        found = get_close_matches(name.casefold(), known, n=1, cutoff=0.7)
        meant = f" (did you mean {known[found[0]]!r}, {found[0].title()}?)" if found else ""
        raise LookupError(
            f"{name!r} is neither a code nor a name of a language{meant}: write its ISO 639 code, "
            "such as 'sw', or a code of your own that begins with x-, such as 'x-mine'"
        ) from None


def code_among(name: str, known: Collection[str]) -> str:
    """A language as `known` spells it: as given, or else the code that it is the name of."""
    if name in known:
        return name
    try:
        code = code_of(name)
    except LookupError:
        return name
    return next((one for one in known if same_language(one, code)), name)


def script_of(code: str) -> str | None:
    """ISO 15924 code of the script that a language is mostly written in, such as "Latn".

    Returns:
        None for a code that is not known.
    """
    language = _parse(code)
    return None if language is None else language.maximize().script


def direction(code: str) -> Literal["ltr", "rtl", "auto"]:
    """How a language is written, as HTML's ``dir`` has it: "ar" is "rtl", "ur-Latn" is "ltr".

    Returns:
        "auto" for a code that is not known: the first letter of a text decides.
    """
    script = script_of(code)
    return "auto" if script is None else "rtl" if script in _RIGHT_TO_LEFT else "ltr"


def same_language(first: str, second: str) -> bool:
    """Whether two codes name one language, whatever its region or script: "zh-CN" and "zh".

    An unknown language ("und") is the same as none, not even itself.
    """
    return primary(first) == primary(second) != UNKNOWN


def primary(code: str) -> str:
    """The language of a code, without region and script, as short as ISO 639 has it.

    Members of a macrolanguage that have no two-letter code of their own count as the whole of it:
    "cmn" is "zh", "swh" is "sw".
    """
    language = _parse(code)
    if language is None or language.language is None:
        return code.strip().lower() or UNKNOWN
    if len(language.language) > 2:
        language = language.prefer_macrolanguage()
    # ISO 639 has codes for Norwegian as a whole and for both of its written forms.
    return "no" if language.language in ("nb", "nn") else str(language.language)


@lru_cache(maxsize=100_000)
def identify(text: str) -> str | None:
    """ISO 639-1 code of the language of a text.

    Returns:
        None if the text has too few letters (`LEAST_BYTES`), as option marks such as "(1)" have, or
        the identifier is not sure (`CONFIDENCE`).
    """
    if not _has_letters_enough(text):
        return None
    code, confidence = _identifier().classify(text)
    return str(code) if confidence >= CONFIDENCE and code != _NO_LANGUAGE else None


def _has_letters_enough(text: str) -> bool:
    letters = filter(str.isalpha, text)  # Unicode's categories of letters
    sizes = accumulate(len(letter.encode()) for letter in letters)
    return any(size >= LEAST_BYTES for size in sizes)


@lru_cache(maxsize=10_000)
def can_identify(code: str) -> bool:
    """Whether `identify` could name this language at all."""
    return any(same_language(code, label) for label in _identifier().labels)


@lru_cache(maxsize=10_000)
def _parse(code: str) -> Language | None:
    """None for what is no code, and for "und"."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(code)
    except LanguageTagError:
        return None
    return language if language.language and language.is_valid() else None


@cache
def _identifier() -> Any:
    """The identifier of py3langid, over the languages that have a two-letter code.

    Without the rest, such as Wu or Egyptian Arabic, Chinese and Arabic are found more surely.
    """
    import numpy as np
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    kept = [label for label in identifier.labels if len(label) == 2 or label == _NO_LANGUAGE]
    identifier.set_languages(kept)
    # It reads whole rows, which the choice of columns has left apart in memory.
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc)
    return identifier
