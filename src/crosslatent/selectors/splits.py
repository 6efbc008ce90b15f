"""Which questions selectors are fitted on, and which they are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from crosslatent.core.errors import RunFolderError
from crosslatent.selectors.base import Mask
from crosslatent.selectors.table import SelectorTable

Prompts = Sequence[tuple[str, str]]
"""Main and aux of every item of a table, in its order."""

Key = Callable[[str], int]
"""A text -> what it is known again by, however it is written."""


@dataclass(frozen=True, slots=True)
class TableSplit:
    """The part of a table that is fitted or tested on: questions with gold answers and rows."""

    table: SelectorTable
    mask: Mask

    @property
    def clusters(self) -> list[str]:
        """Of its questions."""
        names: list[str] = self.table.seen.cluster[self.mask].tolist()
        return names

    def __len__(self) -> int:
        return int(self.mask.sum())


def split_to_tune(table: SelectorTable, name: str, run: str) -> TableSplit:
    """The questions that selectors are fitted on.

    Raises:
        RunFolderError: there are none.
    """
    mask = _usable(table) & (table.seen.split == name)
    if not mask.any():
        raise RunFolderError(
            f"The run {run!r} has no questions of the split {name!r} with gold answers and rows: "
            "sweep that split, or name another one with --tune."
        )
    return TableSplit(table, mask)


def split_to_test(
    table: SelectorTable,
    name: str,
    tuning: TableSplit,
    run: str,
    *,
    same_text: Mask | None = None,
    allow: bool = False,
) -> tuple[TableSplit, int]:
    """The questions to test on, and how many of the split stand in the tuning split too.

    Args:
        table: the run to test on.
        name: the split.
        tuning: what was fitted on.
        run: name of the run.
        same_text: items one of whose prompts is one of the tuning split's, (items,).
        allow: keep items that are in both splits, which are left out otherwise.

    Raises:
        RunFolderError: none is left.
    """
    mask = _usable(table) & (table.seen.split == name)
    shared = mask & np.isin(table.seen.cluster, tuning.clusters)
    if same_text is not None:
        shared |= mask & same_text
    if allow and mask.any():
        return TableSplit(table, mask), int(shared.sum())
    if not (mask & ~shared).any():
        count = int(shared.sum())
        why = (
            f"all share a fact with the tuning split, or a text: {count:,} of {count:,} were "
            "trained on"
            if count
            else "it has none"
        )
        raise RunFolderError(
            f"The run {run!r} has no questions of the split {name!r} to test on ({why}): sweep "
            "that split, or name another one with --test"
            f"{', or pass --allow-training-data' if count else ''}."
        )
    return TableSplit(table, mask & ~shared), int(shared.sum())


def same_text(tuning: TableSplit, fitted: Prompts, tested: Prompts, key: Key) -> Mask:
    """Items one of whose prompts is a prompt of the tuning split, (items of the tested run,).

    Args:
        tuning: what is fitted on.
        fitted: prompts of the run that it is of.
        tested: prompts of the run to test on.
        key: what texts are known again by; 0 for a text that is empty.
    """
    chosen = zip(tuning.mask.tolist(), fitted, strict=True)
    known = {key(text) for used, prompts in chosen if used for text in prompts} - {0}
    return np.array([any(key(text) in known for text in prompts) for prompts in tested])


def first_to_test(
    table: SelectorTable,
    names: Sequence[str],
    tuning: TableSplit,
    run: str,
    *,
    same_text: Mask | None = None,
    allow: bool = False,
) -> tuple[TableSplit, int, str]:
    """`split_to_test` of the first split that can be tested on, and its name.

    Raises:
        RunFolderError: there is none.
    """
    reason = RunFolderError(
        f"The run {run!r} has no split to test on but the one that was tuned on: sweep another one."
    )
    for name in names:
        try:
            found = split_to_test(table, name, tuning, run, same_text=same_text, allow=allow)
        except RunFolderError as error:
            reason = error
        else:
            return *found, name
    raise reason


def _usable(table: SelectorTable) -> Mask:
    judged: Mask = ~np.isnan(table.labels.vanilla) & (~np.isnan(table.labels.correct)).any(axis=1)
    return judged
