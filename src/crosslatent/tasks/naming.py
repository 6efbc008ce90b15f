"""Which of some options, or of their labels, a text names; needs no item.

Options are *symbols*, such as "(1)", "A" or "甲", or *words*. `clash` finds indistinguishable
options by asking which options the text of each one names: a task is checked by the code that
judges answers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from crosslatent.core.normal import fold, normal

Span = tuple[int, int]

WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""How Unicode's names of characters begin, in scripts that have no blanks between words."""
_WORDS_OF_ONE = ("CJK", "HANGUL SYLLABLE")
"""How names begin in scripts where a single character can be a word, such as yes or no."""

_CORE = re.compile(r"[(\[{]?\s*(.*?)\s*[)\]}.,:\u3001\u104a\u3002]*", re.DOTALL)
"""The symbol without its brackets and points: the 1 of "(1)" or "1)", the A of "A."."""
_ROMAN = re.compile(r"(?=.)M*(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")


@dataclass(frozen=True, slots=True)
class _Option:
    """How an option, or a label, is named.

    Attributes:
        text: its normal form.
        key: the k of a symbol; None for words.
    """

    text: str
    key: str | None

    def is_named_in(self, text: str) -> bool:
        """Whether a normal text names the symbol: as "(k)" anywhere, or by being k alone."""
        return self.key is not None and (f"({self.key})" in text or text in (self.key, self.text))

    def places(self, folded: str, *, whole: bool) -> list[Span]:
        """Where the words stand in a text without case; `whole`: not within other words."""
        if self.key is not None:
            return []
        words = fold(self.text)
        if whole or _is_letter(self.text):
            return list(_whole_words(folded, words))
        return list(_occurrences(folded, words))


def named_options(output: str, options: Sequence[str]) -> list[str]:
    """The options that an output names, in their own order; see `rules.option`."""
    if not options:
        return []
    named = _named(output, tuple(options), whole=True)
    return [option for k, option in enumerate(options) if k in named]


def labelled_options(output: str, options: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The options that an output names, by themselves or by labels; see `rules.option_or_label`."""
    plain = _without_marks(tuple(labels), tuple(options))
    named = _named(output, tuple(options), whole=True) | _named(output, plain, whole=False)
    return [option for k, option in enumerate(options) if k in named]


def clash(options: Sequence[str], labels: Sequence[str] | None = None) -> str | None:
    """Why options cannot be distinguished; with `labels`, options by either text or label.

    Returns:
        A reason such as "the answer 'Yes' names 'Yes', 'yes'"; None if they are distinct.
    """
    return _clash(tuple(options), None if labels is None else tuple(labels))


@lru_cache(maxsize=4096)
def _clash(options: tuple[str, ...], labels: tuple[str, ...] | None) -> str | None:
    texts = [*enumerate(options), *enumerate(labels or ())]
    for k, text in texts:
        if labels is None:
            named = named_options(text, options)
        else:
            named = labelled_options(text, options, labels)
        if named != [options[k]]:
            return f"the answer {text!r} names {', '.join(map(repr, named)) or 'nothing'}"
    # Answers are matched to letters by case, but "A" and "a" cannot mean two different answers.
    folded = [fold(one.key or one.text) for one in _read(options)]
    for k, text in enumerate(folded):
        if text in folded[:k]:
            return f"{options[folded.index(text)]!r} and {options[k]!r} differ in case alone"
    return None


def key_of(option: str) -> str | None:
    """The k of an option that is a symbol whatever the others are; None for words.

    A number, a letter of any script with its marks, or any word in round brackets.
    """
    text, core = normal(option), _core(option)
    bracketed = text == f"({core})" and all(_in_word(c) or c == "_" for c in core)
    return core if core and (core.isnumeric() or _is_letter(core) or bracketed) else None


def _core(option: str) -> str:
    found = _CORE.fullmatch(normal(option))
    return found[1] if found else ""


@lru_cache(maxsize=4096)
def _read(options: tuple[str, ...]) -> tuple[_Option, ...]:
    read = tuple(_Option(normal(option), key_of(option)) for option in options)
    cores = list(map(_core, options))
    if all(_ROMAN.fullmatch(core) for core in cores) or all(
        _ROMAN.fullmatch(core.upper()) and core.islower() for core in cores
    ):
        return tuple(map(lambda one, core: replace(one, key=core), read, cores))
    if all(one.key is not None for one in read):
        return read
    # Beside words, a character that can be a word is one.
    return tuple(
        replace(one, key=None) if one.key == one.text and _can_be_a_word(one.text) else one
        for one in read
    )


@lru_cache(maxsize=64)
def _named(output: str, options: tuple[str, ...], *, whole: bool) -> frozenset[int]:
    """Which entries an output names; kept, since several rules ask it of one output in turn."""
    read, text, folded = _read(options), normal(output), fold(output)
    words = _outermost([one.places(folded, whole=whole) for one in read])
    return frozenset(words | {k for k, one in enumerate(read) if one.is_named_in(text)})


@lru_cache(maxsize=4096)
def _without_marks(labels: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_without_mark, labels, _read(options)))


def _without_mark(label: str, option: _Option) -> str:
    """A label without the mark of its own option, which may stand before it."""
    text = normal(label)
    return text if option.key is None else text.removeprefix(f"({option.key})").lstrip()


def _can_be_a_word(character: str) -> bool:
    return unicodedata.name(character[0], "").startswith(_WORDS_OF_ONE)


def _is_letter(text: str) -> bool:
    """Whether a text is one letter with its marks.

    A vowel sign makes a syllable of it, which can be a word (Hindi "हाँ"); unlike accents, points
    and tones, such signs have no combining class.
    """
    return text[:1].isalpha() and all(
        unicodedata.combining(c) or unicodedata.category(c) == "Me" for c in text[1:]
    )


def _occurrences(text: str, part: str) -> Iterator[Span]:
    start = text.find(part) if part else -1
    while start >= 0:
        yield start, start + len(part)
        start = text.find(part, start + 1)


def _whole_words(text: str, words: str) -> Iterator[Span]:
    # A single letter occurs in too many words to be found without blanks around it.
    blanks = _is_letter(words)
    for start, end in _occurrences(text, words):
        if all(_is_boundary(text, at, blanks=blanks) for at in (start, end)):
            yield start, end


def _is_boundary(text: str, at: int, *, blanks: bool) -> bool:
    """Whether a word may start or end between the characters before and after `at`.

    With `blanks`, that takes a character that is in no word, in every script.
    """
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    if unicodedata.category(after).startswith("M"):
        return False  # a combining mark belongs to the letter before it
    if _in_number(text, at) or _in_number(text, at - 1):
        return False
    if not (_in_word(before) and _in_word(after)):
        return True
    return not blanks and (_unspaced(before) or _unspaced(after))


def _in_number(text: str, at: int) -> bool:
    """Whether the character there is a point or comma between digits."""
    return text[at] in ".," and text[at - 1 : at].isdecimal() and text[at + 1 : at + 2].isdecimal()


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _unspaced(character: str) -> bool:
    """Whether the script has no blanks between words, or (Korean) writes particles to the word."""
    return unicodedata.name(character, "").startswith((*WITHOUT_BLANKS, "HANGUL"))


def _outermost(spans: list[list[Span]]) -> set[int]:
    """Which entries have an occurrence that lies within no longer occurrence of another entry."""
    everything = [(k, span) for k, group in enumerate(spans) for span in group]
    return {k for k, span in everything if not any(_inside(span, s) for _, s in everything)}


def _inside(inner: Span, outer: Span) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]
