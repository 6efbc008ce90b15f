"""The one form in which texts are compared, wherever crosslatent asks whether two are the same.

Rules, metrics, checks of tasks, votes of selectors, donors with the same answer and reports all use
`normal`, or `fold`, in which case does not count either. What they make one is listed in
``docs/methods.md``, section 4.1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_ONE = {
    "'": "`\u00b4\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u02b9\u02bb\u02bc\u02bd\u02be"
    "\u02bf\u055a\u05f3\u07f4\u07f5\ua78b\ua78c",
    '"': "\u00ab\u00bb\u201c\u201d\u201e\u201f\u2033\u2036\u05f4\u300c-\u300f\u301d-\u301f",
    "-": "\u02d7\u2043\u2212",  # and the category Pd
    "~": "\u301c",  # the wave dash, which other encodings write as a tilde
    "/": "\u2044\u2215",
    ".": "\u066b",
    ",": "\u066c",
    "%": "\u066a",
    " ": "\u2800",  # the empty Braille cell, which is no blank to Unicode
    # No format characters, but unseen: joiners and fillers of letters, variants, and the tatweel.
    "": "\u034f\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef",
}
"""What a text is compared with -> the characters (and ranges of them) that count as that."""

_PATTERNS = {one: re.compile(f"[{same}]") for one, same in _ONE.items()}
_TONES = re.compile("[\u0e48-\u0e4b\u0e4d]{2,}|[\u0ec8-\u0ecb\u0ecd]{2,}")
"""Tone marks and the circle of sara am, of Thai and Lao, which look the same in any order."""


def normal(text: str) -> str:
    """The text as it is compared: NFKC, and what looks or means the same as one character.

    Digits of every script are the ASCII ones; apostrophes, quotation marks, dashes and blanks are
    one of each; invisible characters are left out, and so are blanks at the ends.
    """
    # Before NFKC, which takes some apostrophes apart, and after it, which makes new characters.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", "".join(map(_plain, text)))
    text = _TONES.sub(lambda marks: "".join(sorted(marks[0])), text)
    return " ".join(text.split())


def fold(text: str) -> str:
    """`normal` without the difference between upper and lower case."""
    # Case folding can undo the normal form, so it is normalised once more.
    return normal(normal(text).casefold())


def unspaced(text: str) -> str:
    """`fold` without any blank: the form in which prompts and training texts are known again.

    Files and templates break lines and set blanks as they please, and some scripts do without, so
    blanks do not make another question. In answers they count: "1 1" is not "11".
    """
    return fold(text).replace(" ", "")


def answer_keys(golds: Iterable[str]) -> tuple[str, ...]:
    """Gold answers of an open question, each in the form that is the same for the same answer."""
    return tuple(dict.fromkeys(map(fold, golds)))


def says_something(text: str) -> bool:
    """Whether a text has a letter, number or symbol: other answers hold it by accident."""
    return any(unicodedata.category(character)[0] in "LNMS" for character in normal(text))


@lru_cache(maxsize=65536)
def _plain(character: str) -> str:
    for one, pattern in _PATTERNS.items():
        if pattern.fullmatch(character):
            return one
    kind = unicodedata.category(character)
    if kind == "Pd":
        return "-"
    if kind == "Cf" or (kind == "Cc" and not character.isspace()):
        return ""
    return str(unicodedata.decimal(character, character))
