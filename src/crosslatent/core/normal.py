"""The one form in which texts are compared, and the questions that are the same in it.

Rules, metrics, checks of tasks, votes of selectors, donors with the same answer and reports all use
`normal`, or `fold`, in which case does not count either. What they make one is listed in
``docs/methods.md``, section 4.1. What is chosen on one copy of a question has seen the other, so
copies are not independent, whatever their ids. `normalised` is of probabilities.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

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
_TEXTS = 2048
"""Texts whose forms are kept: rules and metrics ask for those of an answer and its golds anew."""


@lru_cache(maxsize=_TEXTS)
def normal(text: str) -> str:
    """The text as it is compared: NFKC, and what looks or means the same as one character.

    Digits of every script are the ASCII ones; apostrophes, quotation marks, dashes and blanks are
    one of each; invisible characters are left out, and so are blanks at the ends.
    """
    return _normal(text)


def _normal(text: str) -> str:
    """`normal` of a text that is not looked up, nor kept: most long ones come only once."""
    # Before NFKC, which takes some apostrophes apart, and after it, which makes new characters.
    plain = "".join(map(_plain, text))
    text = unicodedata.normalize("NFKC", plain)
    if text != plain:
        text = unicodedata.normalize("NFKC", "".join(map(_plain, text)))
    text = _TONES.sub(lambda marks: "".join(sorted(marks[0])), text)
    return " ".join(text.split())


@lru_cache(maxsize=_TEXTS)
def fold(text: str) -> str:
    """`normal` without the difference between upper and lower case."""
    return _folded(normal(text))


def _folded(text: str) -> str:
    """A normal text without case; case folding can undo the normal form."""
    return _normal(text.casefold())


def unspaced(text: str) -> str:
    """`fold` without any blank: the form in which prompts and training texts are known again.

    Files and templates break lines and set blanks as they please, and some scripts do without, so
    blanks do not make another question. In answers they count: "1 1" is not "11".
    """
    return _folded(_normal(text)).replace(" ", "")


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


class AskedQuestion(Protocol):
    """What tells whether two questions are the same; an `Item`, or a row of a run folder."""

    @property
    def lang(self) -> str:
        """Language of `main`."""

    @property
    def aux_lang(self) -> str:
        """Language of `aux`."""

    @property
    def main(self) -> str:
        """The prompt that gets answered."""

    @property
    def aux(self) -> str:
        """Its counterpart; empty if there is none yet."""

    @property
    def cluster(self) -> str:
        """What is independent."""

    @property
    def split(self) -> str | None:
        """Pilot, final or another; None without splits."""


_Question = TypeVar("_Question", bound=AskedQuestion)


def one_cluster_each(questions: Sequence[AskedQuestion], given: Sequence[bool]) -> list[str]:
    """The cluster of every question, the same for all that ask the same.

    Equal main prompts ask the same. So do questions in several languages with an equal counterpart,
    unless one language asks two different things with it. Clusters that were given apart stay so.

    Args:
        questions: in the order of the task, which decides the name that clusters get.
        given: whether the task's author gave the cluster, rather than it following from the place.

    Returns:
        Cluster names, shape (questions,); those of the questions where none asks the same.
    """
    fixed = {one.cluster for one, given_ in zip(questions, given, strict=True) if given_}
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for group in _groups(questions):
        first = root(group[0].cluster)
        for other in {root(one.cluster): None for one in group}:
            if other in fixed and first not in fixed:
                above[first] = first = other
            elif other != first and other not in fixed:
                above[other] = first
    return [root(one.cluster) for one in questions]


def repeat_notes(questions: Iterable[AskedQuestion]) -> list[str]:
    """Sentences on prompts that are asked more than once by one pair of languages."""
    groups = [group for group in _copies(questions) if len(group) > 1]
    return [*_together(groups), *_apart(groups)]


def _together(groups: Sequence[list[AskedQuestion]]) -> Iterator[str]:
    alike = [group for group in groups if len({one.cluster for one in group}) == 1]
    across = sum(len({one.split for one in group}) > 1 for group in alike)
    if not alike:
        return
    copies = sum(len(group) - 1 for group in alike)
    yield (
        f"{_count(copies, 'question repeats', 'questions repeat')} the main prompt of another one "
        f"(case, width and blanks aside), and {_count(across, 'prompt is', 'prompts are')} asked "
        "in more than one split; equal prompts are one fact (one cluster)."
    )


def _apart(groups: Sequence[list[AskedQuestion]]) -> Iterator[str]:
    apart = [group for group in groups if len({one.cluster for one in group}) > 1]
    if not apart:
        return
    names = list(dict.fromkeys(one.cluster for one in apart[0]))
    across = sum(len({one.split for one in group}) > 1 for group in apart)
    yield (
        f"{_count(len(apart), 'main prompt is', 'main prompts are')} asked under different facts "
        f"(such as {names[0]!r} and {names[1]!r}), {across} of them in more than one split: "
        "intervals take these facts as independent, so give equal prompts one cluster."
    )


def _groups(questions: Sequence[_Question]) -> Iterator[list[_Question]]:
    """Questions that ask the same, in groups that may overlap."""
    by_main, by_aux = defaultdict[str, list[_Question]](list), defaultdict[str, list[int]](list)
    mains = [unspaced(one.main) for one in questions]
    for place, (one, main) in enumerate(zip(questions, mains, strict=True)):
        by_main[main].append(one)
        if one.aux:
            by_aux[unspaced(one.aux)].append(place)
    yield from by_main.values()
    for aux, places in by_aux.items():
        asked = {(questions[place].lang, mains[place]) for place in places}
        if len(asked) == len({lang for lang, _ in asked}):
            yield [*(questions[place] for place in places), *by_main.get(aux, ())]


def _copies(questions: Iterable[_Question]) -> Iterable[list[_Question]]:
    found = defaultdict[tuple[str, str, str], list[_Question]](list)
    for one in questions:
        found[one.lang, one.aux_lang, unspaced(one.main)].append(one)
    return found.values()


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def normalised(logprobs: Sequence[float | None]) -> list[float] | None:
    """Log-probabilities of options as probabilities that add up to 1; None if one is not known."""
    known = [value for value in logprobs if value is not None and not math.isnan(value)]
    top = max(known, default=-math.inf)
    if len(known) < len(logprobs) or not math.isfinite(top):
        return None
    weights = [math.exp(value - top) for value in known]
    total = sum(weights)
    return [weight / total for weight in weights]
