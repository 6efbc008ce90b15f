"""Few-shot prompts: solved questions of the pilot split before every question."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from crosslatent.core.errors import TaskError
from crosslatent.tasks.item import Item, Shot
from crosslatent.tasks.task import Task

PILOT = "pilot"


def with_shots(task: Task, count: int, *, seed: int = 0) -> Task:
    """The task with solved pilot questions before each question, in both of its languages.

    The order in which pilot questions are taken is drawn once, by what is independent
    (`Item.cluster`), so that items get the same ones in every language of a parallel data set. A
    question is never put before itself or one about the same fact.

    Args:
        task: the task; its items need gold answers and counterparts.
        count: how many solved questions; 0 changes nothing.
        seed: of the draw.

    Raises:
        TaskError: `count` is negative, or the pilot split has too few questions that can be shown.
    """
    if count < 0:
        raise TaskError(f"The number of shots is {count}: it must be 0 or more.")
    if count == 0:
        return task
    pools = _pools(task.items, seed)
    items = tuple(replace(item, shots=_shots(task, item, pools, count)) for item in task.items)
    return replace(task, items=items)


def _pools(items: Iterable[Item], seed: int) -> dict[tuple[str, str], list[Item]]:
    """Solved pilot questions by languages, one for each cluster, in the drawn order."""
    pools: dict[tuple[str, str], dict[str, Item]] = defaultdict(dict)
    for item in items:
        if item.split == PILOT and item.answer is not None:
            pools[item.lang, item.aux_lang].setdefault(item.cluster, item)
    return {
        languages: sorted(pool.values(), key=lambda item: _drawn(item.cluster, seed))
        for languages, pool in pools.items()
    }


def _drawn(cluster: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{cluster}".encode()).digest()


def _shots(
    task: Task, item: Item, pools: dict[tuple[str, str], list[Item]], count: int
) -> tuple[Shot, ...]:
    pool = pools.get((item.lang, item.aux_lang), [])
    chosen = [other for other in pool if other.cluster != item.cluster][:count]
    if len(chosen) < count:
        raise TaskError(
            f"Item {item.id!r} of {task.name!r} was to get {count} shots, but the split {PILOT!r} "
            f"has only {len(chosen)} solved questions of these languages about other facts: give a "
            "smaller number of shots."
        )
    return tuple(_shot(one) for one in chosen)


def _shot(item: Item) -> Shot:
    """A solved question; an unknown answer in aux's language is replaced by main's."""
    answer = item.answer or ""
    return Shot(item.main, answer, item.aux, item.as_aux().answer or answer)
