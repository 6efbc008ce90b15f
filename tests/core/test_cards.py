"""Cards in notebooks: escaped, without scripts or addresses, in the direction of each text."""

from __future__ import annotations

import pytest

from crosslatent.core.cards import Bars, Card, Drawing, Rows, Sentences, TextIn, TokenLine
from crosslatent.core.languages import direction
from support.hostile import BAD, HOST, Page, bad

ARABIC = "ما نوع هذا الحيوان؟ الجواب:"


@pytest.mark.parametrize(
    ("code", "way"),
    [
        ("ar", "rtl"),
        ("he", "rtl"),
        ("ur", "rtl"),
        ("dv", "rtl"),
        ("nqo", "rtl"),
        ("syr", "rtl"),
        ("ff-Adlm", "rtl"),
        ("pa-PK", "rtl"),
        ("ur-Latn", "ltr"),
        ("hi", "ltr"),
        ("sw", "ltr"),
        ("zh", "ltr"),
        ("und", "auto"),
        ("no code at all", "auto"),
    ],
)
def test_a_language_has_the_direction_of_its_script(code, way):
    assert direction(code) == way


def test_texts_of_others_are_shown_and_nothing_more():
    card = Card(
        bad("title"),
        [
            Sentences([bad("sentence")]),
            Rows([(bad("name"), TextIn(bad("answer"), bad("lang")))], (bad("head"), "")),
            TokenLine(bad("role"), [BAD, bad("token")], 1),
            Drawing("<svg></svg>", bad("caption")),
        ],
    )
    page = Page(card.html())
    assert page.open == page.comments == page.scripts == page.addresses == []
    assert page.elements == {
        "div", "style", "p", "strong", "table", "tr", "th", "td", "bdi", "span", "mark", "figure",
        "svg", "figcaption",
    }  # fmt: skip
    assert {name for _, name in page.attributes} == {"class", "lang", "dir", "scope"}
    assert "".join(page.texts).count(f"http://{HOST}/x") == 9
    assert "\x1b" not in card.html()
    assert "\x1b" not in card.text()


def test_prompts_are_written_in_their_direction_with_the_touched_token_marked():
    line = TokenLine("prompt", [ARABIC[:9], "", ARABIC[9:-1], ":"], 1, whole=False)
    assert '<p class="tokens" lang="ar" dir="rtl">\u2026<span>' in line.html()
    assert line.html().count("<span>") == 2
    assert line.html().endswith("<mark>:</mark></p>")
    assert line.text() == f"prompt: \u2026{ARABIC[:-1]}[:]"
    assert TextIn("(1)").html() == '<bdi dir="auto">(1)</bdi>'
    assert TextIn("Jibu", "sw").html() == '<bdi lang="sw" dir="ltr">Jibu</bdi>'


def test_a_table_of_text_has_columns():
    table = Rows([("attn", "8"), ("feed-forward", Bars([1.0, 2.5]))], ("component", "norms"))
    assert table.text().splitlines() == [
        "component     norms",
        "attn          8",
        "feed-forward  1 2.5",
    ]


def test_bars_are_as_high_as_their_values():
    svg = Bars([0.0, 1.0, 4.0]).html()
    assert [svg.count(f'height="{height}"') for height in ("0.0", "7.0", "28.0")] == [1, 1, 1]
    assert Bars([]).text() == ""
    assert Bars([0.5] * 20 + [2.0]).text() == "0.5 to 2"
