"""An evaluation as tables on stdout: all target languages together, then each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosslatent.cli.output import console, print_text

if TYPE_CHECKING:
    from crosslatent.lens.evaluation.evaluation_record import ConditionResult, Evaluation
    from crosslatent.stats import Estimate

NOT_MEASURED = "not measured"

_WIDTH = 190
"""Columns that the table needs to stand on single lines."""


def print_evaluation(evaluation: Evaluation) -> None:
    """Print both tables, and what must be known to read them."""
    _overview(evaluation)
    if len(evaluation.languages) > 1:
        print_text("")
        _by_language(evaluation)
    for line in _legend(evaluation):
        print_text(line, style="dim")


def _overview(evaluation: Evaluation) -> None:
    from crosslatent.lens.evaluation.evaluation_record import ALL

    central = evaluation.central
    head = ["condition", "target", "change", "p", central, "change", "KL", "fidelity"]
    # Where no answer's language can be identified, a column for its change would be empty.
    faithful = any(_known(one.fidelity_change.get(ALL)) for one in evaluation.conditions)
    exposure = [_trained(one, central) for one in evaluation.conditions]
    rows = []
    for one, trained in zip(evaluation.conditions, exposure, strict=True):
        missing = evaluation.missing(one)
        rows.append(
            [
                one.name,
                _share(one.accuracy.get(ALL), ALL in missing),
                _change(one.change.get(ALL)),
                _p_value(one, ALL),
                _share(one.accuracy.get(central), central in missing),
                _change(one.change.get(central)),
                NOT_MEASURED if "kl" in missing else _divergence(one.kl),
                _share(one.fidelity.get(ALL)),
                *([_change(one.fidelity_change.get(ALL))] if faithful else []),
                *([trained] if any(exposure) else []),
            ]
        )
    more = [*(["change"] if faithful else []), *(["trained on"] if any(exposure) else [])]
    _table([*head, *more], rows)


def _trained(one: ConditionResult, central: str) -> str:
    """How many questions and texts were trained on, if any, or that it is not known."""
    from crosslatent.lens.evaluation.evaluation_record import ALL
    from crosslatent.report.lens.evaluation_words import is_unknown

    counted = {
        "target": one.trained_on.get(ALL),
        central: one.trained_on.get(central),
        "KL": one.kl_trained_on,
    }
    found = [f"{what} {n}" for what, n in counted.items() if n is not None and n.n]
    return "; ".join([*found, *(["not known"] if is_unknown(one) else [])])


def _known(found: Estimate | None) -> bool:
    return found is not None and found.value is not None


def _by_language(evaluation: Evaluation) -> None:
    rows = [
        [
            one.name,
            *(
                _marked(
                    f"{_share(one.accuracy.get(lang), lang in evaluation.missing(one))} "
                    f"{_change(one.change.get(lang))}".strip(),
                    one,
                    lang,
                )
                for lang in evaluation.languages
            ),
        ]
        for one in evaluation.conditions
    ]
    _table(["condition", *evaluation.languages], rows)


def _marked(text: str, one: ConditionResult, key: str) -> str:
    found = one.trained_on.get(key)
    return f"{text} ({found} trained on)" if found is not None and found.n else text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for place, title in enumerate(head):
        table.add_column(title, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide = console()
    wide.width = max(wide.width, _WIDTH)
    wide.print(table)


def _legend(evaluation: Evaluation) -> list[str]:
    asked = ", ".join(f"{lang} {n:,}" for lang, n in evaluation.questions.items())
    meaning = (
        f"Questions: {asked}; judged by the rule {evaluation.rule}. change: percentage points "
        "against the unmodified model, with 95 % intervals over facts; p: exchanging the two in "
        "whole facts, not corrected for the number of conditions; "
        f"{evaluation.central}: the central language; KL: nats per token; fidelity: answers in the "
        "language of the question, of those whose language can be identified, and their change."
    )
    lines = [meaning, *evaluation.notes]
    notes = dict.fromkeys(note for one in evaluation.conditions for note in one.notes)
    for note in notes:
        having = ", ".join(one.name for one in evaluation.conditions if note in one.notes)
        lines.append(f"{having}: {note}")
    return lines


def _share(found: Estimate | None, missing: bool = False) -> str:
    from crosslatent.report import formatting

    if missing:
        return NOT_MEASURED
    return formatting.percent(None if found is None else found.value)


def _change(found: Estimate | None) -> str:
    from crosslatent.report import formatting

    if found is None or found.value is None:
        return ""
    if found.low is None:
        return formatting.points(found.value)
    return f"{formatting.points(found.value)} [{formatting.interval(found, difference=True)}]"


def _p_value(one: ConditionResult, key: str) -> str:
    from crosslatent.report import formatting

    return "" if key not in one.p_value else formatting.p_value(one.p_value[key])


def _divergence(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return _nats(found.value)
    return f"{_nats(found.value)} [{_nats(found.low)}, {_nats(found.high)}]"


def _nats(value: float) -> str:
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}"
