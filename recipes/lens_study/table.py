"""The study's outcome as a Markdown table and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from crosslatent.lens.evaluation.results import ALL, UNMODIFIED, ConditionResult, Evaluation
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


def markdown(chosen: Sequence[Chosen], found: Mapping[int, Evaluation]) -> str:
    """Both tables: all target languages together, and one by one."""
    settings = {one.name: one.setting for one in chosen}
    first = found[SEEDS[0]]
    ranges = {one.name: _range(one, found) for one in chosen}
    rows = [
        (one.name, settings.get(one.name, ""), *_cells(one), ranges.get(one.name, ""))
        for one in first.conditions
    ]
    asked = first.questions
    targets = sum(n for lang, n in asked.items() if lang != CENTRAL)
    whole = first.conditions[0].accuracy[ALL]
    caption = (
        f"{targets} questions of the split `{REPORT}` about {whole.clusters} facts, and their "
        f"{asked[CENTRAL]} English counterparts. Trained on `{TRAIN}`; what is called chosen was "
        f"chosen on `{CHOOSE}`. 95 % intervals, resampled by fact."
    )
    by_language = _table(("condition", *first.languages, "English"), _by_language(first))
    return "\n\n".join([caption, _table(_HEAD, rows), by_language])


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
        "seeds": {
            str(seed): [_without_paths(one) for one in evaluation.conditions]
            for seed, evaluation in found.items()
        },
    }


def _without_paths(result: ConditionResult) -> dict[str, Any]:
    plain = asdict(result)
    for name in ("settings", "about", "seconds"):
        plain.pop(name)
    return plain


def _cells(result: ConditionResult) -> tuple[str, ...]:
    base = result.name == UNMODIFIED
    return (
        _percent(result.accuracy[ALL]),
        "" if base else _points(result.change[ALL]),
        "" if base else f"{result.repaired[ALL]} / {result.broken[ALL]}",
        _percent(result.accuracy[CENTRAL]),
        "" if base else _points(result.change[CENTRAL]),
        _nats(result.kl),
    )


def _by_language(first: Evaluation) -> list[tuple[str, ...]]:
    unmodified = first.conditions[0]
    rows = [
        (UNMODIFIED, *(_percent(unmodified.accuracy[lang]) for lang in _languages(first))),
    ]
    rows += [
        (one.name, *(_points(one.change[lang]) for lang in _languages(first)))
        for one in first.conditions[1:]
    ]
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


def _percent(estimate: Estimate) -> str:
    return "" if estimate.value is None else f"{100 * estimate.value:.1f}"


def _points(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.value:+.1f}"
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _nats(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.1e}"
    return f"{estimate.value:.1e} [{estimate.low:.1e}, {estimate.high:.1e}]"
