"""Few-shot prompts from the pilot split."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import Item, task_of, with_shots
from crosslatent.tasks.item import Shot

ITEMS = [
    Item(
        f"{lang}-{split}-{k}", lang, "en", f"{lang} {k}?", f"en {k}?", f"{lang}{k}",
        cluster=f"fact{k}", split=split, aux_answer=f"en{k}",
    )
    for lang in ("sw", "hi")
    for split, facts in (("pilot", range(4)), ("unseen", range(3, 6)))
    for k in facts
]  # fmt: skip


def test_shots_are_solved_pilot_questions_in_both_languages():
    task = with_shots(task_of(ITEMS), 2)
    for item in task.items:
        assert len(item.shots) == 2
        for shot in item.shots:
            fact = shot.main.split()[1][:-1]
            assert shot == Shot(
                f"{item.lang} {fact}?", item.lang + fact, f"en {fact}?", f"en{fact}"
            )
            assert int(fact) < 4
            assert f"fact{fact}" != item.cluster


def test_languages_get_the_same_facts_and_the_seed_decides_which():
    def facts(task, name):
        item = next(item for item in task.items if item.id == name)
        return [shot.main.split()[1] for shot in item.shots]

    task = task_of(ITEMS)
    first = with_shots(task, 2, seed=1)
    assert facts(first, "sw-unseen-5") == facts(first, "hi-unseen-5")
    drawn = {tuple(facts(with_shots(task, 2, seed=seed), "sw-unseen-5")) for seed in range(20)}
    assert len(drawn) > 3
    assert with_shots(task, 0) == task


def test_shots_decide_the_hash():
    assert with_shots(task_of(ITEMS), 1).hash != task_of(ITEMS).hash


def test_too_few_pilot_questions():
    with pytest.raises(TaskError, match="'sw-pilot-0'.*4 shots.*only 3"):
        with_shots(task_of(ITEMS), 4)
    with pytest.raises(TaskError, match="0 or more"):
        with_shots(task_of(ITEMS), -1)
    with pytest.raises(TaskError, match="only 0"):
        with_shots(task_of([item for item in ITEMS if item.split != "pilot"]), 1)
