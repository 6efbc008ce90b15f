"""Prompts cut into what is translated and what stays, so that their structure survives.

Line breaks, blanks, option marks, a closing colon and placeholders never reach the translator as
something that it could lose: a prompt is put together again around them. The colon matters most,
since activations are read at the last token of a prompt.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"  # what `str.splitlines` takes for a line break
_BREAK = re.compile(rf"(\r\n|[{_ENDS}])")

_IN_URL = r"[^\s<>\"'`{}()（）]"
_GROUP_IN_URL = r"\{[^\s{}]*\}|\([^\s()]*\)"
_PLACEHOLDER = re.compile(
    # A URL, but not the punctuation after it.
    rf"https?://(?:{_IN_URL}|{_GROUP_IN_URL})*"
    rf"(?:(?![.,;:!?\]。，；：！？]){_IN_URL}|{_GROUP_IN_URL})"
    rf"|\{{\{{[^{{}}{_ENDS}]*\}}\}}|\{{[^{{}}{_ENDS}]*\}}"  # {{ name }}, {name}
    rf"|</?[A-Za-z][^<>{_ENDS}]*>|<\|[^<>|{_ENDS}]+\|>"  # <tag>, </tag>, <|token|>
    r"|\[[A-Z][A-Z0-9_]+\]"  # [MASK], not [A]
    rf"|`[^`{_ENDS}]+`"
    r"|%\(\w+\)[sdif]|%[sdif](?![^\W_])"  # %(name)s, %s, but not the start of a word
)

_IN_BRACKETS = r"[(（\[]\s*(?:\d{1,3}|[^\W\d_][^\w\s()（）\[\]]{0,2})\s*[)）\]]"  # (1), （A）, (ए)
_LEADING = re.compile(
    rf"(?:{_IN_BRACKETS}|[①-⑳]|[-*•·–—#>]+(?=\s)"
    r"|(?:\d{1,3}|[A-Za-zＡ-Ｚ])(?:[.)](?=\s)|[、．）]))\s*"
)
# Not after a letter, as in "person(s)"; but Chinese and Japanese leave no blank before a mark.
_INLINE_BRACKETS = re.compile(rf"(?<![^\W⺀-鿿])(?:{_IN_BRACKETS}|[①-⑳])\s*")
_INLINE_LETTERS = re.compile(r"(?<!\S)(\d{1,2}|[A-Z])[.)]\s+")

_CLOSING = re.compile(r"[\s:：፦]*[:：፦]\s*$|\s+$")
_LETTER_ALONE = re.compile(r"[A-Za-zＡ-Ｚ][.)]?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Attributes:
        text: the part; all parts together are the text.
        translated: whether it goes to the translator, or stays as it is.
    """

    text: str
    translated: bool


def cut(text: str) -> tuple[Piece, ...]:
    """Cut a prompt at its lines, option marks, surrounding blanks and closing colons.

    Returns:
        Pieces whose texts, joined, are `text`. Those to be translated have letters, no line breaks,
        and no blanks around them; they may hold placeholders.
    """
    pieces: list[str] = []
    for number, line in enumerate(_BREAK.split(text)):
        pieces += [line] if number % 2 else _line(line)
    return tuple(Piece(part, _worth_it(part)) for part in pieces if part)


def cut_placeholders(text: str) -> tuple[Piece, ...]:
    """Cut a piece at its placeholders, and at the punctuation around them."""
    parts: list[str] = []
    at = 0
    for found in _PLACEHOLDER.finditer(text):
        parts += [*_bare(text[at : found.start()]), found[0]]
        at = found.end()
    parts += _bare(text[at:])
    return tuple(Piece(part, _worth_it(part)) for part in parts if part)


def placeholders(text: str) -> Counter[str]:
    """The placeholders of a text, with the number of occurrences of each."""
    return Counter(_PLACEHOLDER.findall(text))


def tidy(translation: str) -> str:
    """A translation as one line without blanks or a colon at its end, as pieces are."""
    return _CLOSING.sub("", _BREAK.sub(" ", translation).strip())


def kept(source: str, translation: str) -> bool:
    """Whether a translation is there, and has the placeholders of its source, each as often."""
    return bool(translation) and placeholders(source) == placeholders(translation)


def join(pieces: Sequence[Piece], translate: Callable[[str], str]) -> str:
    """Put a text together again.

    Args:
        pieces: from `cut` or `cut_placeholders`.
        translate: gives the translation of the text of a piece; empty if there is none.

    Returns:
        The text; empty if a piece has no translation.
    """
    parts = [translate(piece.text) if piece.translated else piece.text for piece in pieces]
    return "".join(parts) if all(parts) else ""


def _worth_it(part: str) -> bool:
    """Whether a part has letters beside its placeholders, and is no mark, such as "A" alone."""
    if _LEADING.fullmatch(part) or _LETTER_ALONE.fullmatch(part):
        return False
    return any(letter.isalpha() for letter in _PLACEHOLDER.sub("", part))


def _line(line: str) -> Iterator[str]:
    """A line, cut at its marks; what is between them, cut at blanks and closing colons."""
    at = 0
    for start, stop in _marks(line):
        yield from _between(line[at:start])
        yield line[start:stop]
        at = stop
    yield from _between(line[at:])


def _between(part: str) -> tuple[str, str, str]:
    """What is between marks: blanks before it, the text, and its closing colon and blanks."""
    start = len(part) - len(part.lstrip())
    closing = _CLOSING.search(part, start)
    stop = closing.start() if closing else len(part)
    return part[:start], part[start:stop], part[stop:]


def _bare(part: str) -> tuple[str, str, str]:
    """A part, without the punctuation and blanks at its ends; vowel signs are part of a word."""
    inside = [at for at, sign in enumerate(part) if unicodedata.category(sign)[0] in "LMN"]
    if not inside:
        return part, "", ""
    return part[: inside[0]], part[inside[0] : inside[-1] + 1], part[inside[-1] + 1 :]


def _marks(line: str) -> list[tuple[int, int]]:
    """Where option marks are: at the start, and inside a line that has several or a colon."""
    held = [found.span() for found in _PLACEHOLDER.finditer(line)]

    def free(found: Iterable[re.Match[str]]) -> list[re.Match[str]]:
        return [mark for mark in found if not any(_overlap(mark.span(), span) for span in held)]

    start = len(line) - len(line.lstrip())
    leading = _LEADING.match(line, start)
    first = free([leading] if leading else [])
    brackets = free(_INLINE_BRACKETS.finditer(line))
    if len(brackets) == 1 and not _opens(line[: brackets[0].start()]):
        brackets = []
    found = [*first, *brackets, *_in_order(line, free(_INLINE_LETTERS.finditer(line)))]
    return _apart(sorted({mark.span() for mark in found}))


def _opens(before: str) -> bool:
    """Whether options may start after this text, as after a colon."""
    return not before.strip() or before.rstrip().endswith((":", "：", "፦", "?", "？"))


def _in_order(line: str, marks: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Marks such as "A. x B. y": only from the first letter or number on, and in their order.

    Otherwise they may be initials or numbers that end a sentence.
    """
    found = []
    for alphabet in ("ABCDEFGHIJ", "123456789"):
        run: list[re.Match[str]] = []
        for mark in marks:
            expected = alphabet[len(run) : len(run) + 1]
            if mark[1] == expected and (run or _opens(line[: mark.start()])):
                run.append(mark)
        found += run if len(run) > 1 else []
    return found


def _apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in their order, without those that overlap one before."""
    kept_apart: list[tuple[int, int]] = []
    for span in spans:
        if not kept_apart or span[0] >= kept_apart[-1][1]:
            kept_apart.append(span)
    return kept_apart


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return first[0] < second[1] and second[0] < first[1]
