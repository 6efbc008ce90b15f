"""The culture card of a sweep over a culture task: what its rows at the picked pair say."""

from __future__ import annotations

from pathlib import Path

from crosslatent.analysis.culture.card import CultureResult, CultureTaskResult
from crosslatent.analysis.culture.measuring import claimed, measured
from crosslatent.analysis.culture.stored_answers import conditions_of_sweep, stored_answers
from crosslatent.analysis.data import RunData
from crosslatent.analysis.pair_choice import PairChoice
from crosslatent.core.plugins import MEASURES
from crosslatent.core.specs import Component
from crosslatent.report.culture_page import culture_page_text
from crosslatent.report.figure import Reported
from crosslatent.runs.schema import RowKey

CULTURE = "culture"
"""Type of a task about countries."""


def has_countries(data: RunData) -> bool:
    """Whether the questions of a run are about countries."""
    if data.manifest.get("task", {}).get("type") != CULTURE:
        return False
    query = "SELECT count(*) FROM items WHERE strata['country'] IS NOT NULL"
    ((found,),) = data.con.execute(query).fetchall()
    return bool(found)


def culture_of_run(reported: Reported, data: RunData, folder: Path, stem: str) -> str:
    """The page, as HTML; empty where the run's questions are not about countries.

    Args:
        reported: the run, with the split that is reported.
        data: its folder.
        folder: of figures.
        stem: what names of its files begin with.
    """
    found = _picked(reported)
    if found is None or reported.split is None or not has_countries(data):
        return ""
    component, pair = found
    seed, summary = reported.analysis.seed, reported.summary
    query = "SELECT item FROM items WHERE split = ?"
    tested = frozenset(name for (name,) in data.con.execute(query, [reported.split]).fetchall())
    key = RowKey("none", None, component, pair.source, pair.target)
    stored = stored_answers(data, conditions_of_sweep(data, key, seed), tested)
    claims, differences, reason = claimed(stored, seed)
    plain_pair = {"component": component, "source": pair.source, "target": pair.target}
    task = CultureTaskResult(
        task=summary.task,
        design="",
        division=f"Pairs were picked on other questions than the {len(tested):,} tested on.",
        pairs=({**plain_pair, "how": "picked"},),
        matched={},
        questions=len(stored.questions),
        countries=tuple(dict.fromkeys(one.country for one in stored.questions if one.country)),
        claims=claims,
        no_claims=reason,
        differences=differences,
    )
    names = sorted(MEASURES.names(), key=lambda name: MEASURES[name].place)
    measures = [measured(name, [stored], {}, seed) for name in names]
    shown = tuple(one for one in measures if not one.reason)
    result = CultureResult(summary.model, "transplant", shown, (task,), {}, seed)
    return culture_page_text(result, folder, f"{stem}-culture-")


def _picked(reported: Reported) -> tuple[Component, PairChoice] | None:
    """The pair that was picked for all languages; of several components the best on the pilot."""
    found = [
        (one.component, choice)
        for one in reported.summary.picked
        if one.is_pooled
        for choice in one.choices.values()
    ]
    return max(found, key=lambda each: each[1].correct / each[1].n, default=None)
