"""The analysis of one run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crosslatent.analysis import (
    accuracy,
    bounds,
    conditions,
    control_bounds,
    donor_answers,
    layers,
    passk,
    pilot,
    significance,
    spelling,
    stability,
    surer,
    traits,
    ways,
)
from crosslatent.analysis.data import RunData
from crosslatent.analysis.graded import Graded
from crosslatent.analysis.results import Cost, Coverage, Headline, Picked, RunSummary
from crosslatent.analysis.unions import BoundVersus, UpperBound
from crosslatent.core.specs import CONTROLS, Component, near_tie_margin

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

PILOT = "pilot"
EXPLORATORY = ("strata", "strict_room", "surer", "pass_at_k", "spelling")
"""Figures that were defined after rows of `SEEN_TASKS` had been seen: the report says so."""
SEEN_TASKS = ("demo-facts", "demo-culture", "demo-open")
"""The tasks that come with the package's model."""

UNDER_CONDITIONS = "SELECT count(*) FROM census WHERE control = 'condition'"

T = TypeVar("T")

_OF_ITEMS = """
SELECT count(*) FILTER (respelled),
       count(*) FILTER (main_token = aux_token AND item IN (SELECT item FROM places)),
       count(*) FILTER (options IS NOT NULL AND item IN (SELECT item FROM places)),
       count(*) FILTER (labels[list_position(options, answer)] IS NOT NULL
                        AND item IN (SELECT item FROM places))
FROM items
"""


def summarise_run(
    reader: RunReader, *, tune: str = PILOT, seed: int = 0, headline: Headline | None = None
) -> RunSummary:
    """Everything that one run folder says.

    Args:
        reader: the run folder.
        tune: the split that pairs are picked on.
        seed: of the intervals.
        headline: the comparison that was declared beforehand; it alone is not corrected.

    Returns:
        The summary; what the folder cannot say is left out, with the reason in `missing`.
    """
    return summary_of(RunData(reader), tune, seed, headline)


def summary_of(data: RunData, tune: str, seed: int, headline: Headline | None) -> RunSummary:
    """`summarise_run` of a folder that is open."""
    components = data.components
    picks = {component: pilot.picked(data, component, tune, seed) for component in components}
    picked = [pick for component in components for pick in picks[component]]
    found, versus = _bounds(data, seed)
    graded = Graded(data, seed)
    identity = _identity(data)
    shown = pilot.judged_split(picked, headline.test if headline else None)
    return RunSummary(
        **identity,
        metric=graded.metric,
        components=components,
        coverage=coverage(data),
        accuracy=accuracy.accuracies(data, tune, seed),
        grids=[
            grid
            for component in components
            for grid in accuracy.grids(data, component, seed, shown)
        ],
        upper_bounds=found,
        bounds_versus=versus,
        pass_at_k=_known(passk.pass_at_k(data, component, seed) for component in components),
        picked=picked,
        **_comparisons(data, picked, versus, headline, seed),
        **_by_layer(data, picked, shown, seed),
        scores=graded.scores(),
        scores_at_pair=graded.scores_at_pairs(picked),
        fidelity=graded.fidelity(),
        fidelity_at_pair=graded.fidelity_at_pairs(picked),
        rules=graded.rules(),
        follow=[
            follow
            for component in components
            for follow in donor_answers.follows(data, component, picks[component], seed)
        ],
        cost=cost(data),
        missing=[*_missing(data, picks, tune), *passk.missing(data), *surer.missing(data)],
        ways=ways.other_ways(data, tune, shown, identity["type"], seed),
        spelling=spelling.spellings(data, picked, seed),
        exploratory=exploratory_of(data.manifest),
        conditions=conditions.conditions(data, seed),
    )


def exploratory_of(manifest: Mapping[str, Any]) -> list[str]:
    """Figures that were defined after rows of the task were seen, according to a run's arguments.

    For the shipped tasks, always all of `EXPLORATORY`.
    """
    if (manifest.get("task") or {}).get("name") in SEEN_TASKS:
        return list(EXPLORATORY)
    names = (manifest.get("requested") or {}).get("exploratory")
    return [str(name) for name in names] if isinstance(names, list) else []


def _comparisons(
    data: RunData,
    picked: list[Picked],
    versus: list[BoundVersus],
    headline: Headline | None,
    seed: int,
) -> dict[str, Any]:
    """What is tested: bounds against controls, picked pairs, languages by their traits."""
    over = _known(
        control_bounds.over_controls(data, component, seed) for component in data.components
    )
    tests = significance.significance(data, picked, headline, seed)
    figures = traits.language_figures(data, tests, over, versus)
    return {
        "over_controls": over,
        "significance": tests,
        "languages": figures,
        "correlations": traits.correlations(figures, seed),
    }


def _by_layer(data: RunData, picked: list[Picked], split: str | None, seed: int) -> dict[str, Any]:
    """Which layers matter, and how steady the grids and what was picked from them are."""
    components = data.components
    return {
        "layers": _known(
            layers.layer_profile(data, component, seed, split) for component in components
        ),
        "layer_tests": [
            test
            for component in components
            for test in control_bounds.layer_tests(data, component, seed)
        ],
        "grid_stability": _known(
            stability.grid_stability(data, component, seed) for component in components
        ),
        "pick_stability": _known(
            stability.pick_stability(data, pick, seed)
            for pick in picked
            if pick.pooling == "pooled"
        ),
    }


def _known(found: Iterable[T | None]) -> list[T]:
    return [one for one in found if one is not None]


def _bounds(data: RunData, seed: int) -> tuple[list[UpperBound], list[BoundVersus]]:
    found = _known(bounds.upper_bound(data, component, seed) for component in data.components)
    versus = _known(
        bounds.bound_versus(data, arm, seed)
        for component in data.components
        for arm in bounds.controls(data, component)
    )
    return found, versus


def coverage(data: RunData) -> Coverage:
    """What the run holds, and what of it needs care."""
    margin = near_tie_margin(data.manifest.get("model", {}).get("dtype", "float32"))
    rows, near_ties, settled, not_finite = _fetch(
        data,
        f"SELECT count(*), count(*) FILTER (min_margin < {margin} AND path <> 'exact'), "
        f"count(*) FILTER (min_margin < {margin} AND path = 'exact'), "
        "count(*) FILTER (NOT finite) FROM rows",
    )
    (listed,) = _fetch(data, "SELECT count(*) FROM items")
    (failures,) = _fetch(data, "SELECT count(*) FROM failures")
    respelled, alike, options, labels = _fetch(data, _OF_ITEMS)
    items = data.items
    return Coverage(
        items=len(items.ids),
        clusters=len(set(items.cluster.tolist())),
        languages=items.languages,
        items_by_split={split: int(items.in_group(split).sum()) for split in items.splits},
        not_run=listed - len(items.ids),
        failures=failures,
        without_gold=sum(answer is None for answer in items.answer),
        without_donor=donor_answers.without_donor(data),
        rows=rows,
        near_ties=near_ties,
        near_ties_settled=settled,
        near_tie_margin=margin,
        not_finite=not_finite,
        respelled=respelled,
        repeats=data.repeats,
        same_last_token=alike,
        with_labels=labels,
        with_options=options,
    )


def cost(data: RunData) -> Cost:
    """Rows, tokens and seconds."""
    rows, tokens, seconds = _fetch(
        data, "SELECT count(*), sum(len(output_ids)), sum(seconds::DOUBLE) FROM rows"
    )
    (prompt_tokens,) = _fetch(
        data,
        "SELECT sum(main_length + aux_length) FROM items WHERE item IN (SELECT item FROM places)",
    )
    return Cost(
        rows=rows,
        rows_by_control=_counts(data, "control"),
        rows_by_path=_counts(data, "path"),
        generated_tokens=int(tokens or 0),
        prompt_tokens=int(prompt_tokens or 0),
        seconds=seconds,
        rows_per_second=rows / seconds if seconds else None,
    )


def _identity(data: RunData) -> dict[str, Any]:
    """Who made the run, from its manifest; older or hand-made folders may lack any of it."""
    manifest = data.manifest
    task, model = manifest.get("task", {}), manifest.get("model", {})
    return {
        "name": data.reader.name,
        "task": task.get("name") or "prompts",
        "title": task.get("title") or task.get("name") or "prompts",
        "direction": task.get("direction") or "custom",
        "type": task.get("type") or "custom",
        "rule": task.get("rule") or "",
        "model": _model_name(model.get("name") or ""),
        "n_layers": data.n_layers,
        "created": manifest.get("created"),
        "versions": {str(k): str(v) for k, v in (manifest.get("versions") or {}).items()},
        "run_seed": manifest.get("spec", {}).get("seed"),
        "positions": manifest.get("spec", {}).get("positions", 1),
        "strength": manifest.get("spec", {}).get("strength", 1.0),
    }


def _model_name(name: str) -> str:
    """The name without the folders above it, which a shared report should not disclose."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name


def _fetch(data: RunData, query: str) -> tuple[Any, ...]:
    row = data.con.execute(query).fetchone()
    return row if row is not None else ()


def _counts(data: RunData, column: str) -> dict[str, int]:
    query = f"SELECT {column}, count(*) FROM rows GROUP BY ALL ORDER BY ALL"
    return dict(data.con.execute(query).fetchall())


def _without_translate_test(data: RunData) -> Iterator[str]:
    """A sentence on questions that have no translate-test, if there are any."""
    (answers,) = _fetch(data, "SELECT count(*) FROM plain WHERE control = 'translate_test'")
    if not answers:
        yield "No translate-test baseline: the run has no answers to the counterpart prompts."
        return
    judged = ~np.isnan(data.items.vanilla)
    unknown = int((judged & np.isnan(data.items.translate_test)).sum())
    if unknown:
        left = "No translate-test baseline" if unknown == judged.sum() else "Translate-test"
        yield (
            f"{left} for {unknown:,} of {int(judged.sum()):,} questions: they are open, and their "
            "gold answer in the language of aux (aux_answer) is not known."
        )


def _missing(data: RunData, picks: dict[Component, list[Picked]], tune: str) -> Iterator[str]:
    """Sentences on what the run cannot say, and why."""
    if np.isnan(data.items.vanilla).all():
        yield "No accuracy: no question has a gold answer and a row of the unmodified model."
        return
    yield from _without_translate_test(data)
    if not picks:
        if data.arms or not _fetch(data, UNDER_CONDITIONS)[0]:
            yield "No transplants: the run holds no rows of any component."
    elif tune not in data.items.splits:
        yield f"No picked pair: the run has no split {tune!r} to pick it on."
    elif data.items.splits == [tune]:
        yield f"No test of the picked pair: the run has no split but {tune!r}."
    for component in picks:
        run = {arm.control for arm in data.controls_of(component)}
        # Few tasks have a paraphrase, so its absence is not worth a sentence.
        wanted = [control for control in CONTROLS if control != "paraphrase"]
        if lacking := [control for control in wanted if control not in run]:
            yield f"No comparison of {component} with {', '.join(lacking)}: not run."
