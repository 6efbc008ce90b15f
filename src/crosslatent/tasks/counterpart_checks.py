"""Counterparts that are no translation of their question: what gives them away, in sentences.

A vector is read at the last token of the counterpart, so one that is cut short, has lost its
question, or holds an answer carries something else than the question in another language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from crosslatent.core.normal import fold
from crosslatent.tasks.item import Item

_MARKS = "?\uff1f\u061f\u055e\u1367\u037e\u2e2e"
_MARK = re.compile(f"[{re.escape(_MARKS)}]")
_SHORT = 0.5
"""A counterpart with less than this share of its question's letters is much shorter."""
_FEWEST = 12
"""Of letters in the question, below which lengths say nothing."""
_WORD = 3
"""Options of so few letters are ordinary words."""
_TAIL = 2
"""So many more words after the question mark than in the question itself are an answer."""
_DENSE = {"W": 3.0, "F": 3.0}
"""What a letter of East Asian width counts as, in alphabetic letters."""


def leaks(items: Sequence[Item]) -> list[str]:
    """Sentences on counterparts that deserve a look; empty if all seem to be fine.

    Args:
        items: questions; those without a counterpart are left out.
    """
    ready = [item for item in items if item.aux.strip()]
    found = []
    for what, why, holds in _CHECKS:
        given = [item for item in ready if holds(item)]
        if given:
            count = len(given)
            found.append(
                f"{count} of {len(ready)} counterparts {what[count > 1]} (such as that of "
                f"{given[0].id!r}: {_shown(given[0].aux)}); {why}."
            )
    return found


def _shown(text: str, most: int = 60) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= most else f"{flat[:most]}…")


def letters(text: str) -> float:
    """How long a text is, in letters of an alphabet; marks of vowels and tones do not count."""
    return sum(
        _DENSE.get(unicodedata.east_asian_width(one), 1.0)
        for one in text
        if unicodedata.category(one)[0] in "LN"
    )


def _is_short(item: Item) -> bool:
    main = letters(item.main)
    return main >= _FEWEST and letters(item.aux) < _SHORT * main


def _lost_mark(item: Item) -> bool:
    return bool(_MARK.search(item.main)) and not _MARK.search(item.aux)


def _holds_answer(item: Item) -> bool:
    """The counterpart holds a gold answer, or one option alone, that the question does not."""
    main, aux = fold(item.main), fold(item.aux)
    if item.options is None:
        golds = {fold(gold) for gold in (*item.golds, *item.aux_golds)}
        return any(_has(aux, gold) and not _has(main, gold) for gold in golds if gold)
    for texts in (item.options, item.aux_labels or item.labels or ()):
        # Letters, and words such as "no", are in many questions.
        said = [text for text in map(fold, texts) if len(text) > _WORD or not text.isalpha()]
        named = [text for text in said if _has(aux, text)]
        if len(named) == 1 and not _has(main, named[0]):
            return True
    return False


def _has(text: str, part: str) -> bool:
    """Whether a text has a part that is not inside a longer word."""
    before, after = (r"\b" if _is_spaced(one) else "" for one in (part[:1], part[-1:]))
    return re.search(f"{before}{re.escape(part)}{after}", text) is not None


def _is_spaced(letter: str) -> bool:
    """A letter of a script that sets blanks between words."""
    return letter.isalnum() and unicodedata.east_asian_width(letter) not in _DENSE


def _goes_on(item: Item) -> bool:
    """After its question mark the counterpart says more than the question does."""
    tails = [_MARK.split(text)[-1] for text in (item.main, item.aux)]
    if not all(_MARK.search(text) for text in (item.main, item.aux)):
        return False
    main, aux = (len(tail.split()) for tail in tails)
    return aux > main + _TAIL


_CHECKS: tuple[tuple[tuple[str, str], str, Callable[[Item], bool]], ...] = (
    (
        ("is much shorter than its question", "are much shorter than their questions"),
        "a translation leaves nothing out",
        _is_short,
    ),
    (
        ("has lost the question mark", "have lost the question mark"),
        "a statement carries something else than a question",
        _lost_mark,
    ),
    (
        (
            "holds an answer that its question does not",
            "hold an answer that their questions do not",
        ),
        "what is carried over may be that text, and not what the model knows",
        _holds_answer,
    ),
    (
        ("goes on after the question", "go on after the question"),
        "it may have been answered instead of translated",
        _goes_on,
    ),
)


def unlike_ends(items: Sequence[Item]) -> Iterator[str]:
    """A sentence on items whose prompts end in different characters, if there are any."""
    unlike = [item for item in items if item.aux and item.main[-1:] != item.aux[-1:]]
    if unlike:
        one = unlike[0]
        yield (
            f"{len(unlike)} items end in another character in main than in aux (such as {one.id!r}:"
            f" {one.main[-1:]!r} and {one.aux[-1:]!r}); a transplant happens at the last tokens, "
            "so prompts that end alike compare better."
        )
