"""``crosslatent demo``: the main job on the shipped model and its tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from crosslatent.cli.errors import say
from crosslatent.cli.options import DebugOption
from crosslatent.cli.output import check_output_folder
from crosslatent.cli.progress import duration, progresses
from crosslatent.cli.stopping import stoppable


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and report.")] = Path(
        "demo-output"
    ),
    debug: DebugOption = False,
) -> None:
    """Sweep the shipped model on its tasks; report what transplants repair, and what luck does."""
    from crosslatent.cli.models import quiet

    quiet()
    from crosslatent.demo import MARKER, run_demo

    check_output_folder(out, MARKER)
    with stoppable(), progresses() as show:
        outcome = run_demo(out, progress=show)
    if outcome.rows:
        say(f"{outcome.rows:,} answers in {duration(outcome.seconds)}.")
    summary = json.loads(outcome.report.summary.read_text(encoding="utf-8"))
    for line in summary_lines(summary):
        print(line)
    print(f"\nFigures:  {outcome.report.summary}\nReport:   {outcome.report.page}")


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What summary.json says, in a few lines for people."""
    headline = summary["headline"]
    if headline is None:
        yield f"No headline: {summary['headline_missing']}"
    else:
        yield from _headline(headline)
    for run in summary["runs"]:
        if run["upper_bounds"]:
            yield f"\n{run['title']}: solved by any pair of layers, beside the controls"
            yield from _bounds(run)


def _headline(headline: Mapping[str, Any]) -> Iterator[str]:
    declared = headline["declared"]
    yield (
        f"Declared before the run: {declared['component']} {headline['source']} -> "
        f"{headline['target']}, picked on the {declared['tune']} questions, tested on the "
        f"{headline['n']} {declared['test']} ones."
    )
    yield f"  {'unmodified':<28} {_percent(headline['vanilla'])}"
    yield f"  {'with transplant':<28} {_percent(headline['transplant'])}"
    yield (
        f"  {'gain':<28} {_points(headline['gain'])}; {headline['repaired']} repaired, "
        f"{headline['broken']} broken"
    )
    for control in headline["controls"]:
        yield f"  {_control(control):<28} {_points(control['gain'])}"
    failed = [name.replace("_", " ") for name, ok in headline["conditions"].items() if not ok]
    yield (
        f"  not met: {'; '.join(failed)}" if failed else "  Every condition declared for it holds."
    )


def _bounds(run: Mapping[str, Any]) -> Iterator[str]:
    for bound in run["upper_bounds"]:
        controls = [
            f"{_control(versus)} {_percent(versus['overall']['control'])}"
            for versus in run["bounds_versus"]
            if versus["component"] == bound["component"]
        ]
        beside = f" beside {', '.join(controls)}" if controls else ""
        yield f"  {bound['component']:<5} {_percent(bound['overall'])}{beside}"


def _control(control: Mapping[str, Any]) -> str:
    name = str(control["control"])
    return f"{name} ({control['stratum'].replace('_', ' ')})" if control["stratum"] else name


def _percent(estimate: Mapping[str, Any]) -> str:
    value = estimate["value"]
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "-"
    text = f"{100 * estimate['value']:+.1f} points"
    if estimate["low"] is None:
        return text
    return f"{text} ({100 * estimate['low']:+.1f} to {100 * estimate['high']:+.1f})"
