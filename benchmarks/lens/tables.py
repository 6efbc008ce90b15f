"""Results as JSON for machines and Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.lens.cases import BATCH, LONGEST, SHORTEST, TRAINED
from benchmarks.lens.compare import agrees
from benchmarks.lens.measure import Measured, ratios, targets_met
from benchmarks.lens.schemes import OURS, SCHEMES
from benchmarks.tables import lines, spread

MIB = 2**20
HEADER = (
    "scheme",
    "training, s",
    f"times {OURS}",
    "of the processor, s",
    f"times {OURS}",
    "with loading, s",
    f"times {OURS}",
    "memory, MiB",
    f"{OURS} / this",
    "never read, MiB",
)


def write(
    out: Path,
    machine: dict[str, Any],
    results: Sequence[Measured],
    empty: int,
    *,
    name: str = "lens",
) -> None:
    """Write the JSON and the Markdown into a folder, made if needed."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "empty_interpreter": empty,
        "aims": targets_met(results, empty),
        "results": [asdict(result) for result in results],
    }
    (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = markdown(machine, results, empty)
    (out / f"{name}.md").write_text(text, encoding="utf-8")


def markdown(machine: dict[str, Any], results: Sequence[Measured], empty: int) -> str:
    """One table for each case, under the machine, the schemes and what was aimed at."""
    parts = [
        "# Lens training, beside the released scheme",
        "Written by `python -m benchmarks.lens`; how to read it: `benchmarks/lens/README.md`.",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()),
        _setting(results, empty),
        lines([("scheme", "what it does"), *((n, one.about) for n, one in SCHEMES.items())]),
        "## Aims",
        _aims(results, empty),
    ]
    for title, same in groupby(results, key=lambda result: result.case.title):
        found = {result.scheme: result for result in same}
        parts += [f"## {title[0].upper()}{title[1:]}", _table(found, empty), *_notes(found)]
    return "\n\n".join(parts) + "\n"


def _setting(results: Sequence[Measured], empty: int) -> str:
    case = results[0].case
    shape = case.shape
    return (
        f"Llamas of {shape.layers} blocks, width {shape.hidden} (feed-forward "
        f"{shape.intermediate}) unless told otherwise, vocabulary {shape.vocab:,}, random "
        f"weights, float32; the top {TRAINED} blocks are trained on {case.rows} parallel rows of "
        f"{SHORTEST} to {LONGEST} tokens, {BATCH} rows a step. Medians of {len(_runs(results))} "
        "interleaved repetitions, lowest and highest in brackets; ratios are within a repetition. "
        "Memory is the most that was resident above an interpreter that imports nothing "
        f"({empty / MIB:.0f} MiB)."
    )


def _runs(results: Sequence[Measured]) -> list[dict[str, Any]]:
    return max((result.runs for result in results), key=len)


def _aims(results: Sequence[Measured], empty: int) -> str:
    rows = [("what", "aim", "measured", "met")]
    for one in targets_met(results, empty):
        sign, word = ("at least", "times less") if "time" in one["what"] else ("at most", "times")
        met = "yes" if one["met"] else "no"
        rows.append((one["what"], f"{sign} {one['aim']:g} {word}", f"{one['is']:.2f}", met))
    return lines(rows)


def _table(found: dict[str, Measured], empty: int) -> str:
    ours = found[OURS]
    return lines([HEADER, *(_row(result, ours, empty) for result in found.values())])


def _row(result: Measured, ours: Measured, empty: int) -> tuple[str, ...]:
    if result.error is not None:
        return (result.scheme, result.error.replace("|", "/"), *[""] * (len(HEADER) - 2))
    peaks = result.peaks(empty)
    compared = ours.error is None
    return (
        result.scheme,
        spread(result.training()),
        spread(ratios(result.training(), ours.training())) if compared else "",
        spread(result.processor()),
        spread(ratios(result.processor(), ours.processor())) if compared else "",
        spread(result.with_loading()),
        spread(ratios(result.with_loading(), ours.with_loading())) if compared else "",
        _mib(peaks),
        spread(ratios(ours.peaks(empty), peaks)) if compared else "",
        _mib([run["unread"] for run in result.runs]),
    )


def _mib(values: Sequence[float]) -> str:
    return spread([round(value / MIB) for value in values])


def _notes(found: dict[str, Measured]) -> list[str]:
    """How the schemes compare in what they compute, and what our trainings shared."""
    told = []
    for name, result in found.items():
        if result.agreement:
            apart = result.agreement
            verdict = "agrees" if agrees(apart) else "DIFFERS"
            told.append(
                f"- `{name}` {verdict} with `released`: terms of the first step within "
                f"{apart['first_loss']:.1e} of the loss, of the last within "
                f"{apart['last_loss']:.1e}; trained weights within {apart['weights']:.1e} of their "
                f"change (which is {apart['moved']:.1e} of their size)."
            )
    ours = found[OURS]
    for place, each in enumerate(ours.runs[0]["trainings"] if ours.runs else []):
        counts = ", ".join(f"{name} {count}" for name, count in each["trunk"].items())
        seconds = spread([run["trainings"][place]["seconds"] for run in ours.runs])
        told.append(f"- `{OURS}`, {each['target']}: {seconds} s; states of texts: {counts}.")
    told += _per_target(found)
    return ["\n".join(told)] if told else []


def _per_target(found: dict[str, Measured]) -> list[str]:
    """How each scheme's second training compares with ours, which reuses the central texts."""
    ours = found[OURS]
    if len(ours.case.targets) < 2 or ours.error is not None:
        return []
    return [
        f"- The last training alone, `{name}`: "
        f"{spread(ratios(result.last_training(), ours.last_training()))} times `{OURS}`."
        for name, result in found.items()
        if name != OURS and result.error is None
    ]
