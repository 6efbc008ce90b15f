"""Fit selectors on one split of a run, and test them on another split, of the same or another run.

Source: docs/methods.md 6. A question counts only if its cluster is not in the tuning split;
intervals resample clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import duckdb
import numpy as np

from crosslatent.analysis import other_ways
from crosslatent.analysis.attribution_quality import AttributionResult, judge_attribution
from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import Mask, keep_folded
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.settings import complete, documented
from crosslatent.core.shared_settings import SelectSettings
from crosslatent.runs.contents import readable
from crosslatent.selectors.base import ALL, FittedSelector, Selector, selectors_of
from crosslatent.selectors.division import ENOUGH, PILOT, Division, among
from crosslatent.selectors.findings import Finding, division_of, find
from crosslatent.selectors.selector_results import MOST_COST, SelectorEvaluation
from crosslatent.selectors.selector_scores import evaluate
from crosslatent.selectors.table import (
    SelectorTable,
    TableSplit,
    prompts_of,
    read_table,
)
from crosslatent.stats import Floats

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

# An answer is the option it names, or its text; ties go to the answer that was sampled first.
_MAJORITY = """
WITH drawn AS (
    SELECT s.item, s.correct,
           CASE WHEN i.options IS NULL THEN t.folded ELSE s.prediction END AS answer,
           row_number() OVER (PARTITION BY s.item ORDER BY s.number) AS place
    FROM sampled s JOIN items i USING (item) LEFT JOIN drawn_texts t ON t.output = s.output
), tallied AS (
    SELECT item, answer, count(answer) AS votes, min(place) AS first,
           arg_min(correct, place)::DOUBLE AS correct
    FROM drawn WHERE place <= {most} GROUP BY item, answer
)
SELECT item, arg_min(correct, -votes * 1000000 + first) FROM tallied GROUP BY item
"""

Key = Callable[[str], int]
"""A text -> what it is known again by, however it is written; 0 for a text that is empty."""


@documented(SelectSettings)
@readable()
def evaluate_run(
    run: RunReader | RunData,
    selectors: Sequence[Selector],
    *,
    other: RunReader | None = None,
    text_key: Key | None = None,
    **options: Unpack[SelectSettings],
) -> tuple[SelectorEvaluation, dict[str, FittedSelector]]:
    """Fit selectors on a split of one run, and test them on a split of the same or another run.

    Args:
        run: the run to fit on.
        selectors: what to fit; the fixed pilot pair is added if it is not among them.
        other: the run to test on; None = the same.
        text_key: what prompts are known again by (`tasks.task.text_key`): questions with a prompt
            of the tuning split are left out, as those of one of its facts are; None to go by facts
            alone. `SelectorEvaluation.trained_on` counts them where they are not left out.
        {settings}

    Returns:
        The evaluation, and the fitted selectors by name.

    Raises:
        RunFolderError: a split has no questions with gold answers and rows.
        UsageError: the two runs are of other models, directions or rules.
    """
    asked = complete(SelectSettings, options)
    tune, test, components = asked["tune"], asked["test"], asked["components"]
    data = run if isinstance(run, RunData) else RunData(run)
    tested = data if other is None else RunData(other)
    own_name, name = data.reader.path.name, tested.reader.path.name
    _check_same_setting(data.manifest, tested.manifest, name)
    table = read_table(data, components)
    if other is None and asked["tune"] == PILOT and not any(table.seen.split.tolist()):
        if asked["test"]:
            raise UsageError(
                f"--test is {asked['test']!r}, but the run {own_name!r} has no splits: leave it "
                "out, and questions are divided here."
            )
        return _divided(data, table, selectors, asked["seed"])
    there = table if tested is data else read_table(tested, components)
    tuning = split_to_tune(table, tune, own_name)
    splits = [test] if test else [split for split in tested.items.splits if split != tune]
    if not test and tested is not data:
        splits.append(tune)  # another run may be tested on the same split, if there is no other
    known = None
    if text_key is not None:
        known = _same_text(tuning, prompts_of(data), prompts_of(tested), text_key)
        if tested is data:
            # Within one run its clusters say which questions are one, where they say anything.
            known &= there.seen.cluster == np.array(there.seen.ids)
    testing, shared, split = _first_to_test(
        there, splits, tuning, name, same_text=known, allow=asked["allow_training_data"]
    )
    evaluation, fitted = evaluate(
        tuning,
        testing,
        selectors,
        seed=asked["seed"],
        samples=sampled_majorities(tested, within=int(MOST_COST)),
        surer=_surer(data, tuning.mask, tested),
    )
    return (
        replace(
            evaluation,
            tuned_on=own_name,
            tested_on=name,
            tune=tune,
            test=split,
            left_out=0 if asked["allow_training_data"] else shared,
            trained_on=shared if asked["allow_training_data"] else 0,
            missing=[*evaluation.missing, *other_ways.missing(tested)],
        ),
        fitted,
    )


def _divided(
    data: RunData, table: SelectorTable, selectors: Sequence[Selector], seed: int
) -> tuple[SelectorEvaluation, dict[str, FittedSelector]]:
    """`evaluate_run` on a run without splits: its questions are divided here."""
    division = division_of(table, seed=seed)
    masks = (among(table.seen.ids, ids) for ids in (division.chosen_on, division.tested_on))
    tuning, testing = (TableSplit(table, mask) for mask in masks)
    evaluation, fitted = evaluate(
        tuning,
        testing,
        selectors,
        seed=seed,
        samples=sampled_majorities(data, within=int(MOST_COST)),
        surer=_surer_of(data, division),
        division=division,
    )
    name, (tune, test) = data.reader.path.name, division.names
    return (
        replace(
            evaluation,
            tuned_on=name,
            tested_on=name,
            tune=tune,
            test=test,
            divided=division.sentence,
            missing=[*evaluation.missing, *other_ways.missing(data)],
        ),
        fitted,
    )


def _surer_of(data: RunData, division: Division) -> dict[str, Floats]:
    """`_surer` where questions are divided: each part's margin is fitted on its own questions."""
    calibrated = np.full(len(data.items.ids), np.nan)
    for tune, test in division.parts:
        margin = other_ways.best_margin(data, among(data.items.ids, tune))
        if margin is not None:
            mask = among(data.items.ids, test)
            calibrated[mask] = other_ways.surer(data, margin)[mask]
    return {"surer": other_ways.surer(data), "surer_calibrated": calibrated}


def evaluation_of(
    data: RunData, *, tune: str = "pilot", test: str | None = None, seed: int = 0
) -> tuple[SelectorEvaluation | None, str | None]:
    """All selectors on one run, for its report; arguments as for `evaluate_run`.

    Returns:
        The evaluation and None; or None and why there is none, None if the run has no pairs to
        choose from.

    Raises:
        UsageError: a selector of another package cannot be loaded.
        RunFolderError: a table of the run cannot be read.
    """
    selectors = selectors_of(ALL)
    if not data.components:
        return None, None
    asked, judged = len(data.items.ids), ~np.isnan(data.items.vanilla)
    if not any(data.items.split.tolist()) and judged.sum() < ENOUGH:
        return None, (
            f"The {asked:,} questions of the run {data.reader.path.name!r} are too few to compare "
            "selectors on one division; by cross-validation it takes longer: crosslatent select "
            "RUN --strategy all --all."
        )
    try:
        return evaluate_run(data, selectors, tune=tune, test=test, seed=seed)[0], None
    except UsageError as error:
        if isinstance(error.__cause__, duckdb.Error):
            raise
        return None, f"No selectors: {error}"


@dataclass(frozen=True, slots=True)
class Choosing:
    """How pairs were chosen in one run.

    Attributes:
        run: name of the run folder.
        evaluation: selectors fitted on the pilot split and tested on another; None if there is
            none, and `missing` says why.
        attribution: how good the attribution scores are; empty if the run has none.
        finding: what one pair is worth on questions that it was not picked on; None if the run does
            not say, and `divided` is how questions were divided for it.
    """

    run: str
    evaluation: SelectorEvaluation | None
    missing: str | None
    attribution: list[AttributionResult]
    finding: Finding | None = None
    divided: str = ""


def summarise_choosing(data: RunData, *, test: str | None = None, seed: int = 0) -> Choosing:
    """Fit and test all selectors on a run, and judge its attribution scores.

    Raises:
        RunFolderError: the run's scores or samples cannot be read.
        UsageError: a selector of another package cannot be loaded.
    """
    evaluation, missing = evaluation_of(data, test=test, seed=seed)
    finding, divided = find(data, test=test, seed=seed)
    attribution = judge_attribution(data, seed=seed)
    return Choosing(data.reader.path.name, evaluation, missing, attribution, finding, divided)


def split_to_tune(table: SelectorTable, name: str, run: str) -> TableSplit:
    """The questions that selectors are fitted on.

    Raises:
        RunFolderError: there are none.
    """
    mask = table.usable & (table.seen.split == name)
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
    """The questions to test on, and how many of the split are in the tuning split too.

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
    mask = table.usable & (table.seen.split == name)
    shared = mask & np.isin(table.seen.cluster, tuning.clusters)
    if same_text is not None:
        shared |= mask & same_text
    count, left = int(shared.sum()), mask if allow else mask & ~shared
    if left.any():
        return TableSplit(table, left), count
    why = (
        f"all share a fact with the tuning split, or a text: {count:,} of {count:,} were trained on"
        if count
        else "it has none"
    )
    raise RunFolderError(
        f"The run {run!r} has no questions of the split {name!r} to test on ({why}): sweep that "
        f"split, or name another one with --test{', or pass --allow-training-data' * (count > 0)}."
    )


def _first_to_test(
    table: SelectorTable,
    names: Sequence[str],
    tuning: TableSplit,
    run: str,
    *,
    same_text: Mask | None,
    allow: bool,
) -> tuple[TableSplit, int, str]:
    """`split_to_test` of the first split that can be tested on, and its name."""
    reason = RunFolderError(
        f"The run {run!r} has no split to test on but the one that was tuned on: sweep another one."
    )
    for name in names:
        try:
            return *split_to_test(table, name, tuning, run, same_text=same_text, allow=allow), name
        except RunFolderError as error:
            reason = error
    raise reason


def _same_text(
    tuning: TableSplit,
    fitted: Sequence[tuple[str, str]],
    tested: Sequence[tuple[str, str]],
    key: Key,
) -> Mask:
    """Items one of whose prompts is a prompt of the tuning split, (items of the tested run,)."""
    chosen = zip(tuning.mask.tolist(), fitted, strict=True)
    known = {key(text) for used, prompts in chosen if used for text in prompts} - {0}
    return np.array([any(key(text) in known for text in prompts) for prompts in tested])


def _surer(data: RunData, tuned: Mask, tested: RunData) -> dict[str, Floats]:
    """The surer of both prompts on the tested run: without a margin, and with a fitted one."""
    margin = other_ways.best_margin(data, tuned)
    ways = {"surer": other_ways.surer(tested)}
    return ways if margin is None else ways | {"surer_calibrated": other_ways.surer(tested, margin)}


def _check_same_setting(mine: Mapping[str, Any], other: Mapping[str, Any], run: str) -> None:
    """Refuse to test on a run of another model, direction or rule than the one to fit on.

    Raises:
        UsageError: something of that is known of both manifests, and differs.
    """
    named = {
        "model": ("n_layers", "config_hash", "weights_hash", "tokenizer_hash"),
        "task": ("direction", "rule"),
    }
    for part, names in named.items():
        here, there = mine.get(part) or {}, other.get(part) or {}
        for name in names:
            a, b = here.get(name), there.get(name)
            if a is not None and b is not None and a != b:
                raise UsageError(
                    f"The run {run!r} has the {part} {name} {b!r}, but selectors are fitted on "
                    f"{a!r}: test on a run of the same model, direction and rule."
                )


def sampled_majorities(data: RunData, *, within: int) -> dict[int, Floats]:
    """Majority votes of samples, by how many: as many as there are, and `within` of them.

    Args:
        data: the run folder.
        within: the number of samples that has the cost to compare with; they are in ``samples/``.

    Returns:
        Number of samples -> right or wrong of each item, shape (items,), NaN = no samples. Empty if
        the run has none.

    Raises:
        RunFolderError: they cannot be read.
    """
    table = data.reader.samples()
    if table is None:
        return {}
    data.con.register("sampled", table)
    keep_folded(data.con, "drawn_texts", "sampled")
    ((most,),) = data.con.execute(
        "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM sampled GROUP BY item)"
    ).fetchall()
    majorities = {}
    for number in sorted({min(within, most), most} - {0}):
        right = dict(data.con.execute(_MAJORITY.format(most=number)).fetchall())
        values = [right.get(item) for item in data.items.ids]
        majorities[number] = np.array([np.nan if v is None else v for v in values])
    return majorities
