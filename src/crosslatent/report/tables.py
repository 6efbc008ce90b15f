"""The figures of a summary as flat tables: CSV for programs, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosslatent.analysis.grades import FidelityAtPair, ScoreAtPair
from crosslatent.analysis.results import ALL, RunSummary, Summary, control_name
from crosslatent.analysis.unions import Versus
from crosslatent.report import formatting, safe, tables_evidence
from crosslatent.report.conditions import condition_records
from crosslatent.report.tables_choosing import TABLES_CHOOSING
from crosslatent.report.tables_evidence import Record, flat
from crosslatent.selectors import Choosing
from crosslatent.stats import Estimate

_LONG = frozenset({"grid", "bounds_by_layer", "layer_tests", "layers"})
"""Tables with a row for every layer or pair: CSV only, since no paper prints them."""


_DIFFERENCES = frozenset(
    {
        "gain",
        "difference",
        "over_control",
        "over_shuffled",
        "gain_attn",
        "gain_ffn",
        "shuffled_gain",
        "same_minus_different",
    }
)
"""Estimates that are printed in points with their sign, and not in percent."""


def write_tables(summary: Summary, choosing: Sequence[Choosing], folder: Path) -> None:
    """Write every table that has rows as ``NAME.csv``, and the short ones as ``NAME.tex``."""
    for name, rows_of in TABLES_CHOOSING.items():
        chosen = [
            {"task": run.task, **record}
            for run, one in zip(summary.runs, choosing, strict=True)
            for record in rows_of(one)
        ]
        _write(name, chosen, folder)
    for name, make in TABLES.items():
        records = [{"task": run.task, **record} for run in summary.runs for record in make(run)]
        _write(name, records, folder)
    for name, make_one in TABLES_ACROSS.items():
        _write(name, list(make_one(summary)), folder)


def _write(name: str, records: Sequence[Record], folder: Path) -> None:
    if not records:
        return
    frame = pd.DataFrame.from_records(list(records))
    safe.write_csv(frame, folder / f"{name}.csv")
    if name not in _LONG:
        (folder / f"{name}.tex").write_text(_latex(frame), encoding="utf-8")


def _latex(frame: pd.DataFrame) -> str:
    """Estimates folded into one column each, ``value (low to high)``, so that the table fits."""
    shown = frame.map(lambda cell: safe.printable(cell) if isinstance(cell, str) else cell)
    for column in [name for name in shown.columns if f"{name}_low" in shown.columns]:
        difference = column in _DIFFERENCES
        shown[column] = [
            formatting.with_interval(_estimate(record, column), difference=difference)
            for record in frame.to_dict("records")
        ]
        parts = [f"{column}_{part}" for part in ("low", "high", "n", "clusters", "seed")]
        shown = shown.drop(columns=parts)
    text = str(shown.to_latex(index=False, escape=True, na_rep="--"))
    # pdfLaTeX knows none of these characters.
    for character, plain in (
        (formatting.MINUS, "$-$"),
        (formatting.NARROW, "\\,"),
        ("\u2013", "--"),
        ("\u00a0", "~"),
    ):
        text = text.replace(character, plain)
    return text


def _estimate(record: Mapping[str, Any], column: str) -> Estimate:
    def number(name: str) -> float | None:
        value = record[name]
        return None if pd.isna(value) else float(value)

    return Estimate(
        value=number(column),
        low=number(f"{column}_low"),
        high=number(f"{column}_high"),
        n=int(record[f"{column}_n"]),
        clusters=int(record[f"{column}_clusters"]),
        seed=int(record[f"{column}_seed"]),
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _accuracy(run: RunSummary) -> Iterator[Record]:
    for entry in run.accuracy:
        yield {
            "answered_by": entry.name,
            "split": entry.split,
            "lang": entry.lang,
            **flat("accuracy", entry.accuracy),
            "unparseable": _value(entry.unparseable),
        }


def _grid(run: RunSummary) -> Iterator[Record]:
    for grid in run.grids:
        for source, line in enumerate(grid.changed):
            for target, changed in enumerate(line):
                if changed is not None:
                    yield {
                        "component": grid.component,
                        "split": grid.split,
                        "lang": grid.lang,
                        "source": source,
                        "target": target,
                        "accuracy": grid.accuracy[source][target],
                        "gain": grid.gain[source][target],
                        "gain_low": grid.gain_low[source][target],
                        "gain_high": grid.gain_high[source][target],
                        "changed": changed,
                        "n": grid.n,
                        "clusters": grid.clusters,
                        "seed": grid.seed,
                    }


def _versus(sides: Versus) -> Record:
    return {
        **flat("true", sides.true),
        **flat("control_union", sides.control),
        **flat("difference", sides.difference),
    }


def _bounds(run: RunSummary) -> Iterator[Record]:
    for bound in run.bounds_versus:
        name = control_name(bound.control, bound.stratum)
        for lang, sides in ((ALL, bound.overall), *bound.by_language.items()):
            yield {"component": bound.component, "control": name, "lang": lang, **_versus(sides)}
    for found in run.pass_at_k:
        by_lang = {} if found.versus is None else {ALL: found.versus, **found.by_language}
        yield from (
            {"component": found.component, "control": found.name, "lang": lang, **_versus(sides)}
            for lang, sides in by_lang.items()
        )
        if found.versus is None:
            yield {
                "component": found.component,
                "control": found.name,
                "lang": ALL,
                **flat("true", None),
                **flat("control_union", found.share),
                **flat("difference", None),
            }


def _bounds_by_layer(run: RunSummary) -> Iterator[Record]:
    for bound in run.bounds_versus:
        name = control_name(bound.control, bound.stratum)
        for side, layers in (("source", bound.by_source), ("target", bound.by_target)):
            for layer, sides in enumerate(layers):
                yield {
                    "component": bound.component,
                    "control": name,
                    "side": side,
                    "layer": layer,
                    **_versus(sides),
                }


def _picked(run: RunSummary) -> Iterator[Record]:
    for pick in run.picked:
        pairs = [f"{lang} {c.source}-{c.target}" for lang, c in pick.choices.items()]
        for test in pick.tests:
            yield {
                "component": pick.component,
                "pooling": pick.pooling,
                "pairs": " ".join(pairs),
                "split": test.split,
                "lang": test.lang,
                "in_sample": test.in_sample,
                **flat("vanilla", test.vanilla),
                **flat("transplant", test.transplant),
                **flat("gain", test.gain),
                "repaired": test.repaired,
                "broken": test.broken,
                "p": test.p_value,
                "p_test": test.p_method,
                "repaired_format": test.repaired_format,
                "repaired_content": test.repaired_content,
                "broken_unparseable": test.broken_unparseable,
                "vanilla_unparseable": _value(test.vanilla_unparseable),
                "unparseable": _value(test.unparseable),
            }


def _controls_at_pair(run: RunSummary) -> Iterator[Record]:
    for pick in run.picked:
        for test in pick.tests:
            for control in test.controls:
                yield {
                    "component": pick.component,
                    "pooling": pick.pooling,
                    "split": test.split,
                    "lang": test.lang,
                    "control": control_name(control.control, control.stratum),
                    **flat("gain", control.gain),
                    **flat("difference", control.difference),
                    "identity": control.identity,
                }


def _strata(run: RunSummary) -> Iterator[Record]:
    for pick in run.picked:
        for test in pick.tests:
            for stratum in test.strata:
                yield {
                    "component": pick.component,
                    "pooling": pick.pooling,
                    "split": test.split,
                    "lang": test.lang,
                    "stratum": stratum.name,
                    "value": stratum.value,
                    **flat("vanilla", stratum.vanilla),
                    **flat("gain", stratum.gain),
                }


def _scores(run: RunSummary) -> Iterator[Record]:
    for entry in run.scores:
        yield {
            "metric": entry.metric,
            "answered_by": entry.name,
            "split": entry.split,
            "lang": entry.lang,
            **flat("score", entry.score),
        }


def _at_pair(entry: ScoreAtPair | FidelityAtPair) -> Record:
    return {
        "component": entry.component,
        "pooling": entry.pooling,
        "split": entry.split,
        "lang": entry.lang,
        "in_sample": entry.in_sample,
        **flat("vanilla", entry.vanilla),
        **flat("transplant", entry.transplant),
    }


def _scores_at_pair(run: RunSummary) -> Iterator[Record]:
    for entry in run.scores_at_pair:
        yield {"metric": entry.metric, **_at_pair(entry), **flat("gain", entry.gain)}


def _fidelity(run: RunSummary) -> Iterator[Record]:
    for entry in run.fidelity:
        yield {
            "split": entry.split,
            "lang": entry.lang,
            **flat("off_target", entry.off_target),
            "outputs": entry.outputs,
        }


def _fidelity_at_pair(run: RunSummary) -> Iterator[Record]:
    for entry in run.fidelity_at_pair:
        yield {
            **_at_pair(entry),
            **flat("difference", entry.difference),
            "outputs": entry.outputs,
            "vanilla_identified": entry.vanilla_identified,
            "transplant_identified": entry.transplant_identified,
        }


def _rules(run: RunSummary) -> Iterator[Record]:
    for entry in run.rules:
        yield {
            "rule": entry.rule,
            "split": entry.split,
            "judges": entry.rule == run.rule,
            **flat("accuracy", entry.accuracy),
        }


def _follow(run: RunSummary) -> Iterator[Record]:
    for entry in run.follow:
        yield {
            "component": entry.component,
            "split": entry.split,
            "pair": "all" if entry.pair is None else f"{entry.pair[0]}-{entry.pair[1]}",
            **flat("share", entry.share),
            **flat("vanilla_share", entry.vanilla_share),
            **flat("difference", entry.difference),
        }


def _cost(run: RunSummary) -> Iterator[Record]:
    yield {
        "model": run.model,
        "rows": run.cost.rows,
        "generated_tokens": run.cost.generated_tokens,
        "prompt_tokens": run.cost.prompt_tokens,
        "seconds": run.cost.seconds,
        "rows_per_second": run.cost.rows_per_second,
    }


TABLES: Mapping[str, Callable[[RunSummary], Iterator[Record]]] = {
    "accuracy": _accuracy,
    "grid": _grid,
    "bounds": _bounds,
    "bounds_by_layer": _bounds_by_layer,
    "picked": _picked,
    "controls_at_pair": _controls_at_pair,
    "strata": _strata,
    "scores": _scores,
    "scores_at_pair": _scores_at_pair,
    "fidelity": _fidelity,
    "fidelity_at_pair": _fidelity_at_pair,
    "rules": _rules,
    "follow": _follow,
    "cost": _cost,
    "over_controls": tables_evidence.over_controls,
    "significance": tables_evidence.significance,
    "layer_tests": tables_evidence.layer_tests,
    "layers": tables_evidence.layers,
    "stability": tables_evidence.stability,
    "languages": tables_evidence.languages,
    "correlations": tables_evidence.correlations,
    "spelling": tables_evidence.spelling,
    "conditions": condition_records,
}
"""Name of each table and where its rows come from."""

TABLES_ACROSS: Mapping[str, Callable[[Summary], Iterator[Record]]] = {
    "modules": tables_evidence.modules,
    "repeats": tables_evidence.repeats,
}
"""The same for tables of all runs together."""
