"""The numbers of an evaluation as tables: CSV for programs, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from crosslatent.analysis.figure_tables import Record, flat
from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation, Overlap
from crosslatent.report import formatting
from crosslatent.report.lens.evaluation_words import corrected, is_unknown, nats, summary, trained
from crosslatent.report.lens.marks import isolated, name
from crosslatent.report.safe import printable, write_csv
from crosslatent.report.table_files import latex_of
from crosslatent.report.views import Table
from crosslatent.stats import Estimate

DASH = "\u2013"
NOT_MEASURED = "not measured"


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """Write ``conditions`` and ``languages`` as CSV and LaTeX, and ``failures.csv`` if any."""
    folder.mkdir()
    records = {"conditions": _conditions(evaluation), "languages": _languages(evaluation)}
    for title, rows in records.items():
        write_csv(pd.DataFrame.from_records(list(rows)), folder / f"{title}.csv")
    shown = {"conditions": condition_table(evaluation), "languages": language_table(evaluation)}
    for title, table in shown.items():
        (folder / f"{title}.tex").write_text(latex_of(table), encoding="utf-8")
    if evaluation.failures:
        failures = pd.DataFrame(sorted(evaluation.failures.items()), columns=["question", "reason"])
        write_csv(failures, folder / "failures.csv")


def _conditions(evaluation: Evaluation) -> Iterator[Record]:
    adjusted = corrected(evaluation)
    for one in evaluation.conditions:
        central = evaluation.central
        yield {
            "condition": one.name,
            "kind": one.kind,
            "trained_on": summary(one, evaluation.central),
            **_of(one, "target", ALL),
            "p_target": one.p_value.get(ALL),
            "p_target_holm": adjusted.get(one.name),
            **_of(one, "central", central),
            "p_central": one.p_value.get(central),
            **flat("kl_nats_per_token", one.kl),
            "kl_trained_on": _counted(one.kl_trained_on),
            "seconds": one.seconds,
            # Beside the empty cells, so that columns of numbers stay such.
            NOT_MEASURED: ", ".join(evaluation.missing(one)),
        }


def _of(one: ConditionResult, prefix: str, key: str) -> Record:
    """Everything on one group of questions."""
    return {
        f"{prefix}_trained_on": _counted(one.trained_on.get(key)),
        **flat(f"{prefix}_accuracy", one.accuracy.get(key)),
        **flat(f"{prefix}_change", one.change.get(key)),
        f"{prefix}_repaired": one.repaired.get(key),
        f"{prefix}_broken": one.broken.get(key),
        **flat(f"{prefix}_fidelity", one.fidelity.get(key)),
        **flat(f"{prefix}_fidelity_change", one.fidelity_change.get(key)),
    }


def _languages(evaluation: Evaluation) -> Iterator[Record]:
    for lang in asked(evaluation):
        for one in evaluation.conditions:
            yield {
                "lang": lang,
                "name": name(lang),
                "role": "central" if lang == evaluation.central else "target",
                "condition": one.name,
                "kind": one.kind,
                **{
                    column.removeprefix("x_"): value
                    for column, value in _of(one, "x", lang).items()
                },
                "p": one.p_value.get(lang),
                NOT_MEASURED: "accuracy" if lang in evaluation.missing(one) else "",
            }


def _counted(found: Overlap | None) -> str | None:
    """How many of how many were trained on; None where that was not looked at."""
    return None if found is None else str(found)


def _shows_exposure(evaluation: Evaluation) -> bool:
    """Whether a column is needed for what was trained on."""
    return any(one.is_exposed or is_unknown(one) for one in evaluation.conditions)


def asked(evaluation: Evaluation) -> list[str]:
    """Languages with questions, the central one last."""
    known = {key for one in evaluation.conditions for key in one.accuracy}
    return [
        lang for lang in dict.fromkeys([*evaluation.languages, evaluation.central]) if lang in known
    ]


def condition_table(evaluation: Evaluation) -> Table:
    """Conditions by what they change."""
    central, adjusted = evaluation.central, corrected(evaluation)
    exposure = _shows_exposure(evaluation)
    name_of_central = isolated(name(central))
    return Table(
        head=[
            "condition",
            "target accuracy",
            "change, points",
            "repaired / broken",
            "p, corrected" if len(adjusted) > 1 else "p",
            f"{name_of_central} accuracy",
            "change, points",
            "KL, nats per token",
            "in the language asked",
            *(["trained on"] if exposure else []),
        ],
        rows=[
            [
                isolated(printable(one.name)),
                _share(evaluation, one, ALL),
                _change(one, ALL),
                _flips(one, ALL),
                formatting.p_value(adjusted.get(one.name)),
                _share(evaluation, one, central),
                _change(one, central),
                NOT_MEASURED if "kl" in evaluation.missing(one) else nats(one.kl),
                _faithful(one, ALL),
                *([summary(one, central)] if exposure else []),
            ]
            for one in evaluation.conditions
        ],
        caption="Accuracy and changes with 95\u202f% intervals. Repaired: wrong unmodified, right "
        "under the condition; broken: the other way round. KL: of the next-token distribution "
        "from the unmodified model’s, on texts in the central language. In the language asked: "
        "answers to target questions whose language can be identified.",
        numeric=frozenset(range(1, 9)),
    )


def language_table(evaluation: Evaluation) -> Table:
    """Languages by conditions."""
    exposure = _shows_exposure(evaluation)
    return Table(
        head=[
            "language",
            "condition",
            "questions",
            "accuracy",
            "change, points",
            "repaired / broken",
            "p",
            "in the language asked",
            *(["trained on"] if exposure else []),
        ],
        rows=[
            [
                isolated(name(lang)) + (" (central)" if lang == evaluation.central else ""),
                isolated(printable(one.name)),
                f"{evaluation.questions.get(lang, 0):,}",
                _share(evaluation, one, lang),
                _change(one, lang),
                _flips(one, lang),
                formatting.p_value(one.p_value.get(lang)),
                _faithful(one, lang),
                *([trained(one, lang)] if exposure else []),
            ]
            for lang in asked(evaluation)
            for one in evaluation.conditions
        ],
        caption="By language; p-values are not corrected here.",
        numeric=frozenset(range(2, 8)),
    )


def _share(evaluation: Evaluation, one: ConditionResult, key: str) -> str:
    return NOT_MEASURED if key in evaluation.missing(one) else _estimated(one.accuracy.get(key))


def _faithful(one: ConditionResult, key: str) -> str:
    return _estimated(one.fidelity.get(key))


def _estimated(one: Estimate | None) -> str:
    if one is None or one.value is None:
        return DASH
    return formatting.with_interval(one, difference=False)


def _change(one: ConditionResult, key: str) -> str:
    change = one.change.get(key)
    if change is None or change.value is None:
        return DASH
    return formatting.with_interval(change, difference=True)


def _flips(one: ConditionResult, key: str) -> str:
    if key not in one.repaired or key not in one.broken:
        return DASH
    return f"{one.repaired[key]:,}\u00a0/\u00a0{one.broken[key]:,}"
