"""A user's questions before anything is tried: which can be judged, and what is odd of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import name_of
from crosslatent.core.normal import fold
from crosslatent.selectors.division import FEWEST, Division, divide
from crosslatent.tasks import Item, Task

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData

LEAST_KNOWN = 0.1
"""Below this share of right open answers, in both languages, a model does not know the answers."""


def answered(task: Task, failures: Mapping[str, str]) -> Task:
    """The questions of a task that can be judged.

    Raises:
        TaskError: they are too few, or all have the same gold answer.
    """
    asked = [item for item in task.items if item.id not in failures]
    known = tuple(item for item in asked if item.answer is not None)
    if len(known) < FEWEST:
        raise TaskError(
            f"{len(known)} of {len(asked)} questions have a gold answer, without which nothing can "
            f"be judged: add the field 'answer' to {FEWEST} questions or more."
        )
    _check_variety(known)
    return replace(task, items=known)


def division_of(task: Task, seed: int) -> Division:
    """How questions with gold answers are divided; see `divide`."""
    return divide(
        [item.id for item in task.items],
        [item.cluster for item in task.items],
        [item.split or "" for item in task.items],
        seed=seed,
    )


def _check_variety(known: Sequence[Item]) -> None:
    """TaskError if all questions have one answer."""
    if len({tuple(sorted(map(fold, item.golds))) for item in known}) == 1:
        raise TaskError(
            f"All {len(known)} questions have the answer {known[0].answer!r}: a model that always "
            "says that would be right, so add questions with other answers."
        )


_ODD = """
SELECT count(*), count(*) FILTER (i.main_token <> i.aux_token),
       min_by([i.item, i.main_token, i.aux_token], i.item) FILTER (i.main_token <> i.aux_token),
       count(*) FILTER (len(i.options) > coalesce(list_count(r.option_logprobs), 0))
FROM items i JOIN rows r USING (item) WHERE r.control = 'vanilla'
"""


def odd_prompts(known: RunData, *, scored: bool) -> Iterator[str]:
    """Sentences on prompts that end in different tokens, and on options that begin alike."""
    ((items, ends, example, alike),) = known.con.execute(_ODD).fetchall()
    if ends:
        name, main, aux = example
        yield (
            f"{ends} of {items} questions end in another token than their counterpart (such as "
            f"{name!r}: {main!r} and {aux!r}): what is copied is read and put at the last tokens, "
            "so let both prompts end alike."
        )
    if alike and not scored:
        yield (
            f"In {alike} of {items} questions options begin with the same token, so the first step "
            "does not say how sure the model is of each: --score-options reads them whole."
        )


def guessing(task: Task) -> tuple[float, str]:
    """The share of right answers from which on a model knows something, and why, as a clause."""
    options = [len(item.options) for item in task.items if item.options]
    if not options:
        return LEAST_KNOWN, ""
    floor = float(np.mean([1 / n for n in options]))
    return floor, f", where guessing gives {100 * floor:.0f} %"


def language_of_aux(task: Task) -> str:
    """Name of the language of aux; "the other language" where there are several."""
    names = {item.aux_lang for item in task.items}
    return name_of(names.pop()) if len(names) == 1 else "the other language"
