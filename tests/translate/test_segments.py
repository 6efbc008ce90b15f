from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslatent.translate.segments import cut, cut_placeholders, join, kept, placeholders, tidy

SHOWN = {
    "Nguzo: Msichana.\nChaguo: (1) Mtoto.\n(2) Nepi.\n\nJibu lako:": (
        "Nguzo: Msichana.|Chaguo|Mtoto.|Nepi.|Jibu lako"
    ),
    "(1) x yes (2) y no": "x yes|y no",
    "What? (a) red (b) blue": "What?|red|blue",
    "A. red\nB) blue": "red|blue",
    "A. red B. blue C. green": "red|blue|green",
    "1. red 2. blue": "red|blue",
    "- red\n  * blue": "red|blue",
    "（A）红色（B）蓝色\n答案：": "红色|蓝色|答案",
    "(ሀ) እያደገ\n(ለ) እየቀነሰ ነው።": "እያደገ|እየቀነሰ ነው።",
    "(ए) हिन्दी\n(बी) भाषा": "हिन्दी|भाषा",
    "Réponse :": "Réponse",
    "  two  blanks  ": "two  blanks",
    "person(s) in need": "person(s) in need",
    "Mr. A. Smith and B. Jones": "Mr. A. Smith and B. Jones",
    "Which? A. red B. blue": "Which?|red|blue",
    "It was 1. and then 2. again": "It was 1. and then 2. again",
    "see `f (1) g` and {x} (1) there": "see `f (1) g` and {x} (1) there",
    "the case (1) alone": "the case (1) alone",
    "`one\u2028two`": "`one|two`",
    "(1)\n(2)\nA\nB.\n": "",
    "": "",
}


@pytest.mark.parametrize(("text", "translated"), SHOWN.items())
def test_what_is_translated(text: str, translated: str) -> None:
    pieces = cut(text)
    assert "".join(piece.text for piece in pieces) == text
    assert "|".join(piece.text for piece in pieces if piece.translated) == translated


@pytest.mark.parametrize(
    "text",
    [
        "{name}",
        "{{ name }}",
        "<tag>",
        "</b>",
        "<|end|>",
        "%s",
        "%(count)d",
        "[MASK]",
        "`code: x`",
        "https://example.org/a?b=c",
        "https://example.org/a_(b)",
        "https://example.org/{id}/a",
    ],
)
def test_placeholders(text: str) -> None:
    assert placeholders(f"see {text}, please") == {text: 1}
    assert [piece.text for piece in cut_placeholders(f"see {text}, please")] == [
        "see",
        " ",
        text,
        ", ",
        "please",
    ]


@pytest.mark.parametrize("text", ["100% sure", "a < b > c", "[A] red", "x {", "http", "it's 5 %so"])
def test_what_is_no_placeholder(text: str) -> None:
    assert not placeholders(text)


def test_vowel_signs_stay_with_their_word() -> None:
    pieces = cut_placeholders("{x} हिन्दी, भाषा")
    assert [piece.text for piece in pieces if piece.translated] == ["हिन्दी, भाषा"]


def test_a_translation_must_have_the_same_placeholders() -> None:
    assert kept("a {x} {x} b", "c {x} d {x}")
    for broken in ("c {x}", "{x} {x} {x}", "{x} {X}", "{x} {x} %s", ""):
        assert not kept("a {x} {x} b", broken)


def test_a_translation_becomes_one_line_without_a_second_colon() -> None:
    assert tidy("\n one\r\ntwo : \n") == "one two"


def test_a_piece_without_translation_leaves_nothing() -> None:
    pieces = cut("(1) red\n(2) blue")
    assert join(pieces, {"red": "rouge", "blue": "bleu"}.__getitem__) == "(1) rouge\n(2) bleu"
    assert join(pieces, {"red": "rouge", "blue": ""}.__getitem__) == ""


# Texts out of what prompts are made of, and of what could break them.
PARTS = st.sampled_from(
    [
        *(
            "(1) ",
            "(2) ",
            "（A）",
            "A. ",
            "B. ",
            "B) ",
            "- ",
            "① ",
            ": ",
            "：",
            "?",
            ".",
            ",",
            "%",
            "`",
        ),
        *("\n", "\n\n", "\r\n", "\u2028", " ", "  ", "\t"),
        *("{name}", "{{ x }}", "<b>", "</b>", "%s", "[MASK]", "https://a.bc/d?e=f", "`x (1) y`"),
        *("red", "blue sky", "Jibu lako", "红色", "हिन्दी", "እያደገ", "é", "A", "7", "{", "<", "]"),
    ]
)
TEXTS = st.one_of(st.lists(PARTS, max_size=14).map("".join), st.text(max_size=40))


@settings(max_examples=400, derandomize=True)
@given(TEXTS)
def test_pieces_are_the_text(text: str) -> None:
    pieces = cut(text)
    assert "".join(piece.text for piece in pieces) == text
    for piece in pieces:
        assert piece.text
        again = cut_placeholders(piece.text)
        assert "".join(part.text for part in again) == piece.text
        if piece.translated:
            assert tidy(piece.text) == piece.text
            assert any(letter.isalpha() for letter in piece.text)


def _reversed_words(text: str) -> str:
    return " ".join(reversed(text.split()))


def _without_placeholders(text: str) -> str:
    for found in placeholders(text):
        text = text.replace(found, "")
    return text


def _doubled(text: str) -> str:
    return f"{text} {text}"


def _with_breaks(text: str) -> str:
    return f"\n{text.replace(' ', chr(10))}:\n"


TRANSLATORS = (str, str.upper, _reversed_words, _without_placeholders, _doubled, _with_breaks)


def _translated(text: str, translator: Callable[[str], str]) -> str:
    """As `Lookup` does it."""

    def part(piece: str) -> str:
        found = tidy(translator(piece))
        return found if kept(piece, found) else ""

    def whole(piece: str) -> str:
        return part(piece) or join(cut_placeholders(piece), part)

    return join(cut(text), whole)


@settings(max_examples=200, derandomize=True)
@given(TEXTS)
def test_a_translator_that_changes_nothing_gives_the_same_text(text: str) -> None:
    assert _translated(text, str) == text


@pytest.mark.parametrize("translator", TRANSLATORS, ids=lambda function: function.__name__)
@settings(max_examples=200, derandomize=True)
@given(TEXTS)
def test_structure_survives_any_translator(translator: Callable[[str], str], text: str) -> None:
    done = _translated(text, translator)
    if not done:  # a word that had no translation: nothing is better than half
        return
    at = 0
    for piece in cut(text):
        if not piece.translated:
            found = done.find(piece.text, at)
            assert found >= 0
            at = found + len(piece.text)
    assert len(done.splitlines()) == len(text.splitlines())
    assert placeholders(done) == placeholders(text)
    assert done.endswith(":") == text.endswith(":")
