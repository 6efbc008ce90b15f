"""The other direction: aux is answered, and judged as a translate-test is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import Item, task_of, turned, with_shots

OPEN = [
    Item(
        f"{lang}{k}", lang, "en", f"{lang} {k}?", f"en {k}?", f"{lang}{k}", cluster=f"fact{k}",
        split="pilot", aux_answer=f"en{k}", paraphrase=f"again {k}?",
    )
    for lang in ("sw", "hi")
    for k in range(3)
]  # fmt: skip


def test_both_prompts_and_their_answers_change_places():
    task = replace(task_of(OPEN), direction="en->x")
    back = turned(with_shots(task, 1))
    assert (back.direction, back.name) == ("x->en", f"{task.name}-back")
    for item, before in zip(back.items, with_shots(task, 1).items, strict=True):
        assert (item.main, item.aux) == (before.aux, before.main)
        assert (item.lang, item.aux_lang) == ("en", before.lang)
        assert (item.golds, item.aux_golds) == (before.aux_golds, before.golds)
        assert (item.id, item.cluster, item.split) == (before.id, before.cluster, before.split)
        (shot,) = item.shots
        assert shot.main.startswith("en ")
        assert shot.aux_answer.startswith(before.lang)
        assert item.paraphrase is None
    assert back.hash != task.hash


def test_twice_is_the_task_but_for_its_name():
    items = tuple(replace(item, paraphrase=None) for item in OPEN)
    task = replace(task_of(items), direction="en->x")
    again = turned(turned(task))
    assert again.items == task.items
    assert again.direction == task.direction


def test_options_are_the_same_in_both_languages():
    item = replace(
        OPEN[0], options=("(1)", "(2)"), answer="(2)", aux_answer=None, labels=("a", "b")
    )
    item = replace(item, aux_labels=("c", "d"))
    (back,) = turned(task_of([item])).items
    assert (back.answer, back.options) == ("(2)", ("(1)", "(2)"))
    assert (back.labels, back.aux_labels) == (("c", "d"), ("a", "b"))
    wrong = replace(item, aux_answer="two")
    with pytest.raises(TaskError, match=r"'sw0' cannot be asked the other way round.*'two'"):
        turned(replace(task_of([item]), items=(wrong,)))


def test_an_open_question_whose_other_answer_is_unknown_has_none():
    (back,) = turned(task_of([replace(OPEN[0], aux_answer=None)])).items
    assert back.answer is None
    assert back.aux_answer == "sw0"
