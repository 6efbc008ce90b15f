"""The answers browser: every question before and after, cell by cell of the map, offline.

A browser refuses to fetch files beside a page that was opened from a disk, but runs a script there:
so the data is a script that assigns one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crosslatent.analysis.data import RunData, control_name
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.core.languages import direction
from crosslatent.report import formatting
from crosslatent.report.examples import gold_of, label_of, prompt_of, site_of
from crosslatent.report.gains import stratum_name
from crosslatent.report.safe import in_script
from crosslatent.report.views import Passage

WHOLE = 10_000
"""Rows up to which all of them can be read, those of controls at all pairs, too."""
MOST = 250_000
"""Rows with the true vector up to which these can be read at all pairs."""
LONGEST = 1_200
"""Characters of a prompt: its end, since that is where vectors are copied to."""


@dataclass(frozen=True, slots=True)
class AnswersView:
    """The page of the browser.

    Attributes:
        name, title: of the run, see `RunView`.
        left_out: what cannot be read here, and where it is; empty if nothing is left out.
        maps: heat maps, one for each component.
    """

    name: str
    title: str
    left_out: str
    maps: Passage


@dataclass(frozen=True, slots=True)
class Extent:
    """Which rows can be read: a condition of SQL on `rows r`, and what is left out."""

    where: str
    left_out: str


def answers(
    data: RunData, run: RunSummary, split: str | None, name: str, maps: Passage
) -> tuple[AnswersView, str]:
    """The browser of a run: its page, and its data as a script.

    Args:
        data: the opened run folder.
        run: its summary.
        split: the split that gains are shown on.
        name: what the run's files begin with.
        maps: its heat maps.
    """
    picked = _picked(run, split)
    shown = _shown(data, picked)
    table = _Table(data, shown)
    called = {one["id"]: one["name"] for one in data.spec.get("conditions") or []}
    plain = {
        "items": table.items,
        "cells": table.cells,
        "donors": table.donors,
        "components": [
            [one, formatting.component(one) if one else "conditions"] for one in table.cells
        ],
        "arms": {
            arm: called.get(arm) or formatting.first_upper(stratum_name(run, arm))
            for arms in table.cells.values()
            for arm in arms
        },
        "languages": {code: formatting.language(code) for code in table.languages},
        "split": split or "",
        "picked": {component: f"{i}-{j}" for component, (i, j) in picked.items()},
    }
    script = f"window.crosslatentAnswers = {in_script(plain)};\n"
    return AnswersView(name, run.title, shown.left_out, maps), script


def _picked(run: RunSummary, split: str | None) -> dict[str, tuple[int, int]]:
    """The pair of each component that examples are taken from."""
    sites = {component: site_of(run, component, split) for component in run.components}
    return {component: site.pair for component, site in sites.items() if site is not None}


def _shown(data: RunData, picked: Mapping[str, tuple[int, int]]) -> Extent:
    """What can be read of a run: less of a large one."""
    total, true = _counts(data)
    if total <= WHOLE or not picked:
        return Extent("true", "")
    at = " OR ".join(
        f"(r.component = '{component}' AND r.source = {i} AND r.target = {j})"
        for component, (i, j) in picked.items()
    )
    pairs = formatting.listing(
        f"{formatting.component(component)} {i} \u2192 {j}" for component, (i, j) in picked.items()
    )
    some = f"r.component IS NULL OR {at}"
    where_else = "crosslatent export writes all rows as one table"
    if true <= MOST:
        return Extent(
            f"{some} OR r.control = 'none'",
            f"Of {total:,} answers, those with control vectors are here at {pairs} alone; "
            f"{where_else}.",
        )
    return Extent(
        some,
        f"Of {total:,} answers, the unmodified ones and those at {pairs} are here, with the "
        f"controls there; {where_else}.",
    )


def _counts(data: RunData) -> tuple[int, int]:
    found = data.con.execute(
        "SELECT count(*), count(*) FILTER (control = 'none') FROM rows"
    ).fetchone()
    return found or (0, 0)


class _Table:
    """The rows of a run for a browser: each different answer of a question is held once.

    Attributes:
        items: what is shown of each question; its ``answers`` are (text, label, right or not).
        cells: component -> control or condition -> pair -> for each question the place of its
            answer, -1 without one.
        donors: control -> for each question the place of the one that its vector is of, or -1.
    """

    def __init__(self, data: RunData, shown: Extent) -> None:
        records = _questions(data)
        self.items = [_question(record) for record in records]
        self.cells: dict[str, dict[str, dict[str, list[int]]]] = {}
        self.donors: dict[str, list[int]] = {}
        self._known: list[dict[tuple[str, str, int], int]] = [{} for _ in self.items]
        for row in _rows(data, shown):
            place, component, arm, pair, output, prediction, correct, donor = row
            aux = arm == "translate_test"
            label = label_of(records[place], prediction, "aux_labels" if aux else "labels")
            answer = self._answer(place, (output.strip(), label, _state(correct)))
            if component is None and arm in ("vanilla", "translate_test"):
                self.items[place][arm] = answer
                continue
            cell = self.cells.setdefault(component or "", {}).setdefault(arm, {})
            cell.setdefault(pair, [-1] * len(self.items))[place] = answer
            if donor is not None:
                self.donors.setdefault(arm, [-1] * len(self.items))[place] = donor

    @property
    def languages(self) -> list[str]:
        """Codes of all languages."""
        return sorted({item[key] for item in self.items for key in ("lang", "auxLang")})

    def _answer(self, place: int, answer: tuple[str, str, int]) -> int:
        """The place of an answer among those of its question."""
        known = self._known[place]
        if answer not in known:
            known[answer] = len(known)
            self.items[place]["answers"].append(answer)
        return known[answer]


def _state(correct: bool | None) -> int:
    return -1 if correct is None else int(correct)


def _questions(data: RunData) -> list[dict[str, Any]]:
    result = data.con.execute("SELECT i.* FROM items i JOIN places p USING (item) ORDER BY p.place")
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]


def _question(record: Mapping[str, Any]) -> dict[str, Any]:
    main, aux = (prompt_of(record, which, LONGEST) for which in ("main", "aux"))
    return {
        "id": record["item"],
        "split": record["split"] or "",
        "lang": main.lang,
        "dir": direction(main.lang),
        "main": [main.head, main.token],
        "auxLang": aux.lang,
        "auxDir": direction(aux.lang),
        "aux": [aux.head, aux.token],
        "gold": gold_of(record),
        "answers": [],
    }


def _rows(data: RunData, shown: Extent) -> Iterator[tuple[Any, ...]]:
    condition = "r.condition" if "condition" in data.columns else "NULL"
    result = data.con.execute(
        f"""
        SELECT p.place, r.component, coalesce({condition}, r.control), r.stratum,
               r.source, r.target, r.output, r.prediction, r.correct, d.place
        FROM rows r JOIN places p USING (item) LEFT JOIN places d ON d.item = r.donor
        WHERE {shown.where}
        ORDER BY r.component, r.control <> 'none', 3, r.stratum, r.source, r.target, p.place
        """
    )
    while batch := result.fetchmany(10_000):
        for place, component, control, stratum, i, j, *rest in batch:
            pair = "" if i is None else f"{i}-{j}"
            yield place, component, control_name(control, stratum), pair, *rest
