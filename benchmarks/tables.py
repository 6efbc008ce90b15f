"""Results as JSON for machines and Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, LIMIT, OURS
from benchmarks.contenders.limit import of_task, workload
from benchmarks.measure import Measured

HEADER = (
    "scheme",
    "seconds",
    f"times {OURS}",
    "times limit",
    "differing rows",
    "peak / model",
    "note",
)


def write(
    out: Path, machine: dict[str, Any], results: Sequence[Measured], repetitions: int
) -> None:
    """Write `cpu.json` and `cpu.md` into a folder, made if needed."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "repetitions": repetitions,
        "results": [asdict(result) for result in results],
    }
    (out / "cpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "cpu.md").write_text(markdown(machine, results, repetitions), encoding="utf-8")


def markdown(machine: dict[str, Any], results: Sequence[Measured], repetitions: int) -> str:
    """One table for each case, under the machine and the schemes."""
    parts = [
        "# One sweep instance, all pairs, on the CPU",
        "Written by `python -m benchmarks`; how to read it: `benchmarks/README.md`.",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()),
        f"Medians of {repetitions} interleaved repetitions, lowest and highest in brackets.",
        "## Schemes",
        _schemes(results),
    ]
    for group, same in groupby(_sorted(results), key=lambda result: result.case.group):
        parts.append(f"## {group.capitalize()}")
        by_case = [(case, list(rows)) for case, rows in groupby(same, key=lambda one: one.case)]
        if group == "growth":
            parts.append(growth(by_case))
            continue
        for case, rows in by_case:
            parts += [f"### {case.title}", _table(rows)]
    return "\n\n".join(parts) + "\n"


def counted(chosen: Sequence[Case]) -> str:
    """The least work of each case, as any scheme needs it (`core.costs`): nothing is run."""
    rows = [("group", "case", "pairs", "tokens", "multiply-adds", "of them attention, head")]
    for case in chosen:
        task = case.task()
        found = of_task(case.shape, task)
        both = found.prefill + found.decode
        parts = f"{both.attention / both.total:.0%}, {both.head / both.total:.0%}"
        tokens = f"{workload(task).tokens(task.new_tokens):,.0f}"
        pairs = f"{len(task.pairs):,}"
        rows.append((case.group, case.title, pairs, tokens, f"{both.total:.3g}", parts))
    return lines(rows)


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest, three digits each; a single value by itself."""
    if len(values) < 2:
        return "".join(f"{value:.3g}" for value in values)
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def lines(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its header."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body])


def _sorted(results: Sequence[Measured]) -> list[Measured]:
    """By group as first met, then by case; contenders stay in their order."""
    groups = ["main", "growth", "memory"]
    order: Callable[[Case], tuple[int, int, int, int, str, str]] = lambda case: (  # noqa: E731
        groups.index(case.group),
        case.shape.layers,
        case.prompt,
        case.new_tokens,
        case.component,
        case.mode,
    )
    return sorted(results, key=lambda result: order(result.case))


def _schemes(results: Sequence[Measured]) -> str:
    names = [name for name in CONTENDERS if any(result.contender == name for result in results)]
    rows = [("scheme", "what it does", "libraries")]
    for name in names:
        versions = next((one.versions for one in results if one.contender == name), {})
        libraries = ", ".join(f"{library} {version}" for library, version in versions.items())
        rows.append((name, CONTENDERS[name].about, libraries))
    return lines(rows)


def _table(results: list[Measured]) -> str:
    by_name = {result.contender: result.seconds for result in results}
    ours, limit = by_name.get(OURS, []), by_name.get(LIMIT, [])
    rows = [
        (
            result.contender,
            spread(result.seconds),
            _times(result.seconds, ours),
            _times(result.seconds, limit),
            _differing(result),
            _memory(result),
            _note(result),
        )
        for result in results
    ]
    return lines([HEADER, *rows])


def growth(by_case: Sequence[tuple[Case, list[Measured]]]) -> str:
    """One row for each case: seconds of everyone, and how far this package is from the limit."""
    names = [result.contender for result in by_case[0][1]]
    head = ("layers", "prompt", "new tokens", *names, f"{OURS} / {LIMIT}", "differing rows")
    rows = [head]
    for case, results in by_case:
        seconds = {result.contender: result.seconds for result in results}
        size = (str(case.shape.layers), str(case.prompt), str(case.new_tokens))
        cells = [spread(result.seconds) or _note(result) for result in results]
        differing = str(sum(result.differing or 0 for result in results))
        times = _times(seconds.get(OURS, []), seconds.get(LIMIT, []))
        rows.append((*size, *cells, times, differing))
    sampled = {one.pairs for _, results in by_case for one in results if _sampled(one)}
    counts = " or ".join(map(str, sorted(sampled)))
    return lines(rows) + (f"\n\nPair by pair: scaled from {counts} pairs." if counts else "")


def _sampled(result: Measured) -> bool:
    return result.pairs < result.of


def _times(seconds: Sequence[float], base: Sequence[float]) -> str:
    """Ratios within each repetition, whose runs were made close to each other."""
    if len(seconds) != len(base):
        return ""
    return spread([one / other for one, other in zip(seconds, base, strict=True)])


def _differing(result: Measured) -> str:
    if result.differing is None:
        return ""
    apart = "" if result.apart is None else f", log-probabilities within {result.apart:.0e}"
    return f"{result.differing} of {result.checked}{apart}"


def _memory(result: Measured) -> str:
    if not result.seconds or not result.resident or result.contender == LIMIT:
        return ""
    return f"{result.peak / result.resident:.2f}"


def _note(result: Measured) -> str:
    if result.error:
        return result.error.replace("|", "/")
    if _sampled(result):
        return f"scaled from {result.pairs} of {result.of} pairs"
    return "computed, not run" if result.contender == LIMIT else ""
