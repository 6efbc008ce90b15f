"""Questions about countries and their answers, read from a run folder for the measures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslatent.analysis.culture.culture_answers import (
    DONOR,
    OTHER_CULTURE,
    PLAIN,
    SHUFFLED,
    TRANSPLANT,
    VANILLA,
    Answers,
    ConditionAnswers,
    CultureAnswer,
    CultureQuestion,
)
from crosslatent.core.answer_words import kind_of
from crosslatent.core.countries import known_name
from crosslatent.core.specs import ACCURACY, STRATA
from crosslatent.runs.schema import RowKey

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData

_ITEM = "item, lang, aux_lang, answer, other_answers, options, labels, shares, cluster, strata"
_LISTS = ("options", "labels", "shares")
_COLUMNS = (
    "output",
    "output_lang",
    "prediction",
    "correct",
    "scores",
    "option_logprobs",
    "option_scores",
)
COUNTRY = "country"
"""The group of an item that names the country that it is about."""


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What a run folder holds for the card.

    Attributes:
        questions: those that are tested on.
        runs: condition -> its answers.
    """

    questions: list[CultureQuestion]
    runs: dict[str, ConditionAnswers]


def country_of(strata: Mapping[str, str]) -> str:
    """Whom a question is about, by our name; as the data spells it where that is not known."""
    given = strata.get(COUNTRY, "")
    return known_name(given) or given


def stored_answers(
    data: RunData, conditions: Sequence[Mapping[str, Any]], tested: frozenset[str]
) -> StoredAnswers:
    """The answers of a culture card's own run folder.

    Args:
        data: the run folder.
        conditions: of each its name, form, key and, where it has not all questions, `only`.
        tested: ids of the questions that are tested on.
    """
    asked = {one.id: one for one in _questions(data) if one.id in tested}
    metric = data.manifest["task"].get("metric", ACCURACY)
    named: dict[RowKey, list[Mapping[str, Any]]] = {}
    for one in conditions:
        named.setdefault(RowKey(*one["key"]), []).append(one)
    found: dict[str, dict[str, dict[str, CultureAnswer]]] = {}
    for key, row in _rows(data):
        question = asked.get(row["item"])
        for one in named.get(key, ()):
            if question is not None and question.id in (one.get("only") or asked):
                forms = found.setdefault(one["name"], {}).setdefault(one["form"], {})
                forms[question.id] = answer_of(row, question, one["form"], metric)
    runs = {
        name: ConditionAnswers(some.get(PLAIN, {}), {n: a for n, a in some.items() if n != PLAIN})
        for name, some in found.items()
    }
    return StoredAnswers([*asked.values()], runs)


def conditions_of_sweep(data: RunData, pair: RowKey, seed: int) -> list[dict[str, Any]]:
    """The conditions that any sweep has at one pair: unmodified, transplant, its controls.

    Of the strata of a donor of another question one is drawn for each question, as often as such
    donors are there: a donor that is chosen without a look at its answer.
    """
    plain = {"form": PLAIN}
    found: list[dict[str, Any]] = [
        {"name": VANILLA, "key": list(RowKey("vanilla")), **plain},
        {"name": TRANSPLANT, "key": list(pair), **plain},
    ]
    for control, name in (("noise", "noise"), ("paraphrase", "same-language")):
        found.append({"name": name, "key": list(pair._replace(control=control)), **plain})
    drawn = _drawn_strata(data, seed)
    for stratum in ("any", *STRATA):
        key = list(pair._replace(control="shuffled", stratum=stratum))
        only = [item for item, each in drawn.items() if each == stratum]
        if only:
            found.append({"name": SHUFFLED, "key": key, "only": frozenset(only), **plain})
    return found


def _drawn_strata(data: RunData, seed: int) -> dict[str, str]:
    """The stratum of the donor of each question."""
    shares = data.donor_shares
    names = list(shares)
    found: dict[str, str] = {}
    for place, item in enumerate(data.items.ids):
        weights = [float(shares[name][place]) for name in names]
        if np.isnan(weights).any() or not sum(weights):
            found[item] = "any"
        else:
            found[item] = random.Random(f"{seed}/{item}").choices(names, weights)[0]
    return found


def with_other_culture(stored: StoredAnswers, matched: Mapping[str, str]) -> StoredAnswers:
    """Add the condition in which each question has the donor of the language matched with its own.

    Args:
        stored: with conditions ``donor:LANG``.
        matched: language of a donor -> the other language.
    """
    donor = {lang: f"{DONOR}{other}" for lang, other in matched.items()}

    def picked(form: str) -> Answers:
        chosen: dict[str, CultureAnswer] = {}
        for question in stored.questions:
            run = stored.runs.get(donor.get(question.lang, ""))
            there = {} if run is None else (run.plain if form == PLAIN else run.variants.get(form))
            if there and question.id in there:
                chosen[question.id] = there[question.id]
        return chosen

    plain = picked(PLAIN)
    if plain:
        forms = {form for run in stored.runs.values() for form in run.variants if ":" in form}
        variants = {form: picked(form) for form in sorted(forms)}
        kept = {form: some for form, some in variants.items() if some}
        stored.runs[OTHER_CULTURE] = ConditionAnswers(plain, kept)
    return stored


def answer_of(
    row: Mapping[str, Any], question: CultureQuestion, form: str, metric: str
) -> CultureAnswer:
    """A stored row as an answer, with its options in the order of the question."""
    prediction, probabilities = row["prediction"], _probabilities(row)
    if form.startswith("order:") and question.options is not None:  # they were asked in reverse
        if prediction is not None:
            prediction = question.options[-1 - question.options.index(prediction)]
        probabilities = None if probabilities is None else probabilities[::-1]
    langs = (question.main_lang, question.lang)
    with_options = question.options is not None
    scores = row["scores"] or {}
    return CultureAnswer(
        correct=row["correct"],
        grade=None if metric == ACCURACY else scores.get(metric),
        prediction=prediction,
        probabilities=probabilities,
        output=row["output"],
        kind=kind_of(
            row["output"], langs, row["output_lang"], prediction, with_options=with_options
        ),
    )


def _questions(data: RunData) -> list[CultureQuestion]:
    """The questions of a run folder."""
    task = data.manifest["task"]["name"]
    names = [name.strip() for name in _ITEM.split(",")]
    return [
        _question(task, dict(zip(names, row, strict=True)))
        for row in data.con.execute(f"SELECT {_ITEM} FROM items").fetchall()
    ]


def _question(task: str, row: Mapping[str, Any]) -> CultureQuestion:
    strata = dict(row["strata"] or {})
    golds = () if row["answer"] is None else (row["answer"], *(row["other_answers"] or ()))
    lists: dict[str, Any] = {
        name: None if row[name] is None else tuple(row[name]) for name in _LISTS
    }
    return CultureQuestion(
        id=row["item"],
        task=task,
        cluster=row["cluster"],
        country=country_of(strata),
        lang=row["aux_lang"],
        answer=row["answer"],
        golds=golds if lists["options"] is None else (),
        strata=strata,
        main_lang=row["lang"],
        **lists,
    )


def _rows(data: RunData) -> Iterator[tuple[RowKey, Mapping[str, Any]]]:
    keys = ", ".join(RowKey._fields)
    cursor = data.con.execute(f"SELECT item, {keys}, {', '.join(_COLUMNS)} FROM rows")
    names = [each[0] for each in cursor.description or ()]
    while some := cursor.fetchmany(4096):
        for row in some:
            one = dict(zip(names, row, strict=True))
            yield RowKey(*(one[name] for name in RowKey._fields)), one


def _probabilities(row: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Of the options: as wholes where they were scored, else of their first tokens."""
    for name in ("option_scores", "option_logprobs"):
        values: Sequence[float | None] | None = row[name]
        known = [value for value in values or () if value is not None and np.isfinite(value)]
        if values and len(known) == len(values):
            odds = np.exp(np.array(known) - max(known))
            return tuple((odds / odds.sum()).tolist())
    return None
