"""What a run folder holds, what it cost, and what it cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from crosslatent.analysis.carried import without_donor
from crosslatent.analysis.data import RunData
from crosslatent.analysis.picked import Picked
from crosslatent.core.specs import CONTROLS, Component, near_tie_margin


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the run holds.

    Attributes:
        items: questions with at least one row.
        clusters: independent facts among them.
        not_run: questions of the run without any row (failed, or still to do).
        failures: questions that failed.
        without_gold: questions without a gold answer.
        without_donor: by stratum of the shuffled control, questions that no donor was found for.
        near_ties: rows whose smallest margin is below `near_tie_margin` (logits):
            another batch size may give another output.
        near_ties_settled: rows as close that were answered again in float32, one by one.
        not_finite: rows with a logit that was NaN or infinite.
        respelled: questions with an option (or gold answer) whose tokens are not those that it has
            in one text with its prompt, see the column of that name.
        repeats: sentences on questions that are asked twice.
        same_last_token: questions whose two prompts end in the same token.
        with_labels: questions whose gold answer is an option with a text behind its mark.
        with_options: questions with options.
    """

    items: int
    clusters: int
    languages: list[str]
    items_by_split: dict[str, int]
    not_run: int
    failures: int
    without_gold: int
    without_donor: dict[str, int]
    rows: int
    near_ties: int
    near_ties_settled: int
    near_tie_margin: float
    not_finite: int
    repeats: list[str]
    respelled: int = 0
    same_last_token: int = 0
    with_labels: int = 0
    with_options: int = 0


@dataclass(frozen=True, slots=True)
class RunCost:
    """What the rows cost. Seconds are wall time of the rows' forward passes and decoding."""

    rows: int
    rows_by_control: dict[str, int]
    rows_by_path: dict[str, int]
    generated_tokens: int
    prompt_tokens: int
    seconds: float | None
    rows_per_second: float | None


_OF_ITEMS = """
SELECT count(*) FILTER (respelled),
       count(*) FILTER (main_token = aux_token AND item IN (SELECT item FROM places)),
       count(*) FILTER (options IS NOT NULL AND item IN (SELECT item FROM places)),
       count(*) FILTER (labels[list_position(options, answer)] IS NOT NULL
                        AND item IN (SELECT item FROM places))
FROM items
"""

UNDER_CONDITIONS = "SELECT count(*) FROM census WHERE control = 'condition'"


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
        without_donor=without_donor(data),
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


def cost(data: RunData) -> RunCost:
    """Rows, tokens and seconds."""
    rows, tokens, seconds = _fetch(
        data, "SELECT count(*), sum(len(output_ids)), sum(seconds::DOUBLE) FROM rows"
    )
    (prompt_tokens,) = _fetch(
        data,
        "SELECT sum(main_length + aux_length) FROM items WHERE item IN (SELECT item FROM places)",
    )
    return RunCost(
        rows=rows,
        rows_by_control=_counts(data, "control"),
        rows_by_path=_counts(data, "path"),
        generated_tokens=int(tokens or 0),
        prompt_tokens=int(prompt_tokens or 0),
        seconds=seconds,
        rows_per_second=rows / seconds if seconds else None,
    )


def identity(data: RunData) -> dict[str, Any]:
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
        "run_seed": data.spec.get("seed"),
        "positions": data.spec.get("positions", 1),
        "strength": data.spec.get("strength", 1.0),
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


def missing(data: RunData, picks: dict[Component, list[Picked]], tune: str) -> Iterator[str]:
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
