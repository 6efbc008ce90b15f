"""The tables of the recipe's README, from the evaluations of three seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.demo_model.study import COMPONENTS, TEST

Evaluation = Mapping[str, Any]
_WAYS = {
    "vanilla": "unmodified",
    "translate_test": "translate-test",
    "surer": "the surer of both prompts",
    "surer_calibrated": "the same, calibrated on pilot",
}
_CONTROLS = ("shuffled any", "noise", "mean", "self")
_KNOWN = ("English only", "both", "main only", "neither", "local only")


def tables(evaluations: Sequence[Path]) -> str:
    """One table of each task, then one of what is known; a column for each evaluation."""
    seeds = [json.loads(path.read_text(encoding="utf-8")) for path in evaluations]
    head = ["", *(path.parent.name.replace("-", " ") for path in evaluations)]
    parts = []
    for task in seeds[0]:
        if task == "knowledge":
            continue
        rows = list(_rows([seed[task] for seed in seeds]))
        parts.append(f"#### {task}\n\n{_markdown(head, rows)}")
    known = [seed["knowledge"] for seed in seeds]
    rows = [[name, *(_share(one[name]) for one in known)] for name in known[0]]
    return "\n\n".join([*parts, f"#### What is known, % (n)\n\n{_markdown(head, rows)}\n"])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rows(found: Sequence[Evaluation]) -> Iterator[list[str]]:
    first = next(name for name in COMPONENTS if name in found[0])
    for way, title in _WAYS.items():
        yield [title, *(_value(one[first]["ways"].get(way)) for one in found)]
    for component in COMPONENTS:
        if all(component in one for one in found):
            for row in _of_component([one[component] for one in found]):
                yield [f"{component}: {row[0]}", *row[1:]]


def _of_component(found: Sequence[Evaluation]) -> Iterator[list[str]]:
    tests = [one[TEST]["all"] for one in found]
    yield ["pair picked on pilot, right", *(f"{o['pair']}, {_accuracy(o)}" for o in found)]
    yield ["gain", *(_points(test["gain"]) for test in tests)]
    yield ["repaired / broken", *(f"{t['repaired']} / {t['broken']}" for t in tests)]
    for control in _CONTROLS:
        if all(control in test["controls"] for test in tests):
            gains = (test["controls"][control]["true minus control"] for test in tests)
            yield [f"over {control.removesuffix(' any')} at the pair", *map(_points, gains)]
    for known in _KNOWN:
        strata = [test["strata"].get(f"known {known}") for test in tests]
        if any(strata):
            yield [f"gain, known: {known}", *(_stratum(one) for one in strata)]
    yield ["upper bound", *(_value(one["ways"]["upper_bound"]) for one in found)]
    over = [one["upper bound"]["over the strongest"] for one in found]
    if any(over):
        yield ["upper bound over its strongest control", *map(_strongest, over)]
    room = [one["ways"]["vanilla"]["strict room"] for one in found]
    if any(room):
        pairs = [one["selectors"]["pilot"]["strict room"] for one in found]
        yield ["strict room beside the pair", *(_value({"accuracy": one}) for one in pairs)]
    yield ["best selector", *(_best(one) for one in found)]


def _accuracy(found: Evaluation) -> str:
    return _value(found["selectors"]["pilot"])


def _best(found: Evaluation) -> str:
    """The most accurate of the selectors; which is chosen in hindsight, and so is optimistic."""
    name, best = max(found["selectors"].items(), key=lambda one: one[1]["accuracy"]["value"] or 0.0)
    over = best["over the pair"]
    return f"{name}, {_value(best)}" + (f" ({_points(over)} over the pair)" if over else "")


def _strongest(over: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {_points(one)}" for name, one in over.items())


def _stratum(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{_percent(found['vanilla'])}, {_points(found['gain'])} (n = {found['gain']['n']})"


def _value(found: Mapping[str, Any] | None) -> str:
    return "-" if not found else f"{_percent(found['accuracy'])}{_interval(found['accuracy'])}"


def _percent(estimate: Mapping[str, Any]) -> str:
    return f"{100 * estimate['value']:.1f}"


def _points(estimate: Mapping[str, Any]) -> str:
    return f"{100 * estimate['value']:+.1f}{_interval(estimate, '+')}"


def _interval(estimate: Mapping[str, Any], sign: str = "") -> str:
    low, high = estimate["interval"]
    return "" if low is None else f" [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _share(found: Mapping[str, Any]) -> str:
    return f"{100 * found['accuracy']:.1f} ({found['n']})"
