"""The study's outcome as a Markdown table and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from crosslatent.lens.evaluation.evaluation_record import (
    ALL,
    UNMODIFIED,
    ConditionResult,
    Evaluation,
)
from crosslatent.stats import Estimate
from recipes.lens_study.protocol import CENTRAL, CHOOSE, REPORT, SEEDS, TRAIN
from recipes.lens_study.study import Chosen

_HEAD = (
    "condition",
    "setting",
    "target languages, % right",
    "change",
    "repaired / broken",
    "English, % right",
    "change",
    "KL on English, nats",
    f"change, {len(SEEDS)} seeds",
)
NOT_MEASURED = "not measured"
_SAME = "none"
"""As a change where nothing is done: the answers are the unmodified ones; nothing is estimated."""

_READING = (
    "Where no answer about any fact changes, there is no variation to make an interval from. What "
    "stands there instead is the exact one-sided 95 % bound for the share of facts with any "
    "change, 1 - 0.05^(1/n) with n facts (the rule of three). The unmodified model is among the "
    "candidates of every choice, so what is called chosen is never worse than it on the questions "
    "that chose; where it won, the best setting that does something stands in the next row. "
    "Training on answers takes as many steps as Lens, whose rows are facts in all their "
    "languages. Under steering, English is steered towards each target language in turn, and its "
    "numbers are over all of these. A transplant has nothing to carry into an English question, "
    "which is the counterpart itself."
)
_CEILING = (
    "English is at its ceiling: the unmodified model answers all of its questions right (100 %). "
    "Accuracy cannot show a gain there, nor a loss too small to turn an answer; the divergence "
    "(KL) can."
)


def markdown(chosen: Sequence[Chosen], found: Mapping[int, Evaluation]) -> str:
    """Both tables, all target languages together and one by one, and how to read them."""
    first = found[SEEDS[0]]
    unmodified, *_ = first.conditions
    rows = [(UNMODIFIED, "", *_cells(unmodified), "")]
    rows += [_row(one, found) for one in chosen]
    asked = first.questions
    targets = sum(n for lang, n in asked.items() if lang != CENTRAL)
    caption = (
        f"{targets} questions of the split `{REPORT}` about {unmodified.accuracy[ALL].clusters} "
        f"facts, and their {asked[CENTRAL]} English counterparts. Trained on `{TRAIN}`; what is "
        f"called chosen was chosen on `{CHOOSE}`. 95 % intervals, resampled by fact."
    )
    head = ("condition", *first.languages, "English")
    parts = [caption, _table(_HEAD, rows), _table(head, _by_language(chosen, first)), _READING]
    # With every question right, accuracy has no room.
    ceiling = [_CEILING] if unmodified.accuracy[CENTRAL].value == 1 else []
    return "\n\n".join([*parts, *ceiling])


def plain(
    chosen: Sequence[Chosen],
    found: Mapping[int, Evaluation],
    losses: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Any]:
    """Everything, without the answers themselves."""
    fields = ("name", "setting", "tried", "target", "central")
    return {
        "chosen": [{name: getattr(one, name) for name in fields} for one in chosen],
        "questions": found[SEEDS[0]].questions,
        "held-out terms before and after": {name: list(ends) for name, ends in losses.items()},
        "versions": found[SEEDS[0]].versions,
        "notes": found[SEEDS[0]].notes,
        "seeds": {
            str(seed): [_without_paths(one) for one in evaluation.conditions]
            for seed, evaluation in found.items()
        },
    }


def bound(clusters: int, confidence: float = 0.95) -> float:
    """Largest share of clusters that may change where none of those seen did, one-sided, exact."""
    return 1.0 - float((1 - confidence) ** (1 / clusters))


def _without_paths(result: ConditionResult) -> dict[str, Any]:
    plain = asdict(result)
    for name in ("settings", "about", "seconds"):
        plain.pop(name)
    return plain


def _row(one: Chosen, found: Mapping[int, Evaluation]) -> tuple[str, ...]:
    first = found[SEEDS[0]]
    if one.make is None:
        right = first.conditions[0].accuracy
        target, central = _percent(right[ALL]), _percent(right[CENTRAL])
        return (one.name, one.setting, target, _SAME, "0 / 0", central, _SAME, "0", "")
    result = first.condition(one.name)
    assert result is not None, "everything that does something is reported"
    return (one.name, one.setting, *_cells(result), _range(one, found))


def _cells(result: ConditionResult) -> tuple[str, ...]:
    base = result.name == UNMODIFIED
    return (
        _percent(result.accuracy.get(ALL)),
        "" if base else _change(result, ALL),
        "" if base else f"{result.repaired[ALL]} / {result.broken[ALL]}",
        _percent(result.accuracy.get(CENTRAL)),
        "" if base else _change(result, CENTRAL),
        "" if base else _nats(result.kl),
    )


def _by_language(chosen: Sequence[Chosen], first: Evaluation) -> list[tuple[str, ...]]:
    langs = _languages(first)
    unmodified = first.conditions[0]
    rows = [(UNMODIFIED, *(_percent(unmodified.accuracy[lang]) for lang in langs))]
    for one in chosen:
        result = first.condition(one.name)
        cells = [_SAME if result is None else _change(result, lang) for lang in langs]
        rows.append((one.name, *cells))
    return rows


def _languages(first: Evaluation) -> tuple[str, ...]:
    return (*first.languages, CENTRAL)


def _range(one: Chosen, found: Mapping[int, Evaluation]) -> str:
    if not one.seeded:
        return ""
    changes = [
        result.change[ALL].value
        for evaluation in found.values()
        for result in evaluation.conditions
        if result.name == one.name
    ]
    return ", ".join(f"{100 * value:+.1f}" for value in changes if value is not None)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(estimate: Estimate | None) -> str:
    return NOT_MEASURED if estimate is None or estimate.value is None else _share(estimate.value)


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _change(result: ConditionResult, key: str) -> str:
    """A change with its interval; with a bound where nothing changed; in points."""
    change = result.change.get(key)
    if change is None or change.value is None:
        return NOT_MEASURED
    value = f"{100 * change.value:+.1f}"
    if change.low is not None and change.high is not None:
        return f"{value} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    if result.repaired.get(key) or result.broken.get(key) or change.clusters < 1:
        return value
    return f"{value}, at most {_share(bound(change.clusters))} points either way"


def _nats(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return NOT_MEASURED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.1e}"
    return f"{estimate.value:.1e} [{estimate.low:.1e}, {estimate.high:.1e}]"
