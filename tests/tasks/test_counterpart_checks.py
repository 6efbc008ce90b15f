"""Counterparts that are no translation of their question."""

from __future__ import annotations

import pytest

from crosslatent.tasks import items_of, list_tasks, load_task
from crosslatent.tasks.counterpart_checks import leaks, letters, unlike_ends

KENYA = "Mji mkuu wa Kenya ni upi? Jibu:"
CAPITAL = "What is the capital of Kenya? Answer:"


def said(main, aux, **more):
    return leaks(items_of([{"main": main, "aux": aux, "answer": "Nairobi", **more}]))


@pytest.mark.parametrize(
    ("main", "aux"),
    [
        (KENYA, CAPITAL),
        (CAPITAL, KENYA),
        (CAPITAL, "肯尼亚的首都是哪里？答："),
        ("肯尼亚的首都是哪里？答：", CAPITAL),
        ("केन्या की राजधानी क्या है? उत्तर:", CAPITAL),
        ("ما عاصمة كينيا؟ الجواب:", CAPITAL),
        ("Nairobi ni mji mkuu wa nchi gani? Jibu:", "Nairobi is the capital of which country?"),
        ("Mji?", "City?"),
        ("Chagua (1) au (2). Jibu:", "Choose (1) or (2). Answer:"),
    ],
)
def test_translations_in_any_script_pass(main, aux):
    assert said(main, aux) == []
    options = {"options": ["(1)", "(2)"], "answer": "(1)"}
    assert said(main, aux, **options) == []


@pytest.mark.parametrize(
    ("aux", "more", "says"),
    [
        ("Nairobi:", {}, "much shorter than its question"),
        ("The capital of Kenya is the following one:", {}, "has lost the question mark"),
        ("Is Nairobi the capital of Kenya? Answer:", {}, "holds an answer"),
        ("Is NAIROBI  the capital of Kenya? Answer:", {}, "holds an answer"),
        (
            "What is the capital? (2) Answer:",
            {"options": ["(1)", "(2)"], "answer": "(1)"},
            "holds an answer",
        ),
        ("What is the capital? It is the largest city there. Answer:", {}, "goes on after"),
    ],
)
def test_what_gives_a_counterpart_away(aux, more, says):
    found = said(KENYA, aux, **more)
    assert any(says in one for one in found), found
    assert all("'1'" in one and one.endswith(".") for one in found)


def test_a_name_inside_a_longer_word_is_no_answer():
    assert said("Nchi gani? Jibu:", "Which country, Nigeria?", answer="Niger") == []


def test_counts_and_questions_without_counterparts():
    items = items_of([{"id": str(k), "main": KENYA, "aux": "Nairobi:"} for k in range(3)])
    assert any(one.startswith("3 of 3 counterparts are much shorter") for one in leaks(items))
    assert leaks(()) == []
    assert letters("राजधानी") < len("राजधानी")
    (one,) = unlike_ends(items_of([{"main": "a?", "aux": "b:"}]))
    assert "1 items end in another character" in one


def test_counterparts_of_the_shipped_tasks_pass():
    for task in ("demo-facts", "demo-codes", "demo-order", "demo-culture"):
        assert task in {one.name for one in list_tasks()}
        assert leaks(load_task(task).items) == []
