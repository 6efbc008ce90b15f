"""``crosslatent select``: choose a layer pair for each question without its answer, and test it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli.errors import say
from crosslatent.cli.options import DebugOption, JsonOption, whole
from crosslatent.cli.output import console, print_json, print_text
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import check_component

_WIDTH = 240
"""Columns that the table of selectors needs to stand on single lines."""

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.runs.reader import RunReader
    from crosslatent.selectors import Evaluation, Fitted, Selector, SelectorResult


def select(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a sweep, or its URL.")],
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="pilot, preset, confidence, vote, learned, attribution, halving, oracle or all; "
            "or one selector, such as confidence-margin-8; or one of your own.",
        ),
    ] = "pilot",
    evaluate_on: Annotated[
        str | None, typer.Option(metavar="RUN2", help="Test on this run; RUN itself by default.")
    ] = None,
    component: Annotated[
        str | None,
        typer.Option(metavar="C,C", help="What candidates carry; all of RUN by default."),
    ] = None,
    tune: Annotated[str, typer.Option(metavar="SPLIT", help="Split to fit on.")] = "pilot",
    test: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Split to test on; the first that can be by default."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the strategy's first selector, as JSON."),
    ] = None,
    seed: Annotated[int, typer.Option(parser=whole, metavar="S", help="Of the intervals.")] = 0,
    allow_training_data: Annotated[
        bool,
        typer.Option(
            "--allow-training-data",
            help="Test also on facts and texts of the split to fit on; every figure says so.",
        ),
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Choose layer pairs on one split, and test the choice on another."""
    from crosslatent.runs.reader import RunReader
    from crosslatent.selectors import selectors_of
    from crosslatent.selectors.evaluate import evaluate_run
    from crosslatent.tasks.fingerprints import text_key

    if seed < 0:
        raise UsageError(f"--seed is {seed}, but a seed is a whole number of 0 or more.")
    selectors = selectors_of(strategy)
    _check_save(save, strategy, selectors)
    names = component.split(",") if component else []
    reader = RunReader(run)
    evaluation, fitted = evaluate_run(
        reader,
        selectors,
        other=None if evaluate_on is None else RunReader(evaluate_on),
        components=[check_component(name.strip()) for name in names] or None,
        tune=tune,
        test=test,
        seed=seed,
        text_key=text_key,
        allow_training_data=allow_training_data,
    )
    files = [] if save is None else _save(save, selectors[0], fitted, reader, evaluation)
    said = _verdict(reader, evaluation)
    if json:
        print_json(_plain(evaluation, fitted, strategy, files, said))
    else:
        _print(evaluation, said)
        for file in files:
            say(f"Saved to {file}")


def _check_save(save: Path | None, strategy: str, selectors: list[Selector]) -> None:
    if save is not None and (strategy == "all" or not selectors):
        raise UsageError(
            f"--save keeps one selector, but the strategy is {strategy!r}: name the one to keep, "
            "such as --strategy confidence."
        )
    if save is not None:
        from crosslatent.selectors.saved import check_place

        check_place(save)


def _save(
    file: Path,
    selector: Selector,
    fitted: dict[str, Fitted],
    reader: RunReader,
    evaluation: Evaluation,
) -> list[Path]:
    from crosslatent.selectors.saved import SavedSelector, fitted_on, save

    if selector.name not in fitted:
        reasons = [text for text in evaluation.missing if text.startswith(f"{selector.name}:")]
        raise UsageError(f"There is nothing to save: {' '.join(reasons)}")
    origin = fitted_on(reader.manifest, evaluation.tuned_on, evaluation.tune, evaluation.tune_items)
    seen = _seen(reader, evaluation.tune)
    kept = SavedSelector(selector.name, selector.about, fitted[selector.name], origin, seen)
    return save(kept, file)


def _seen(reader: RunReader, split: str) -> Seen:
    """Hashes of the questions of a split of a run: what a selector is fitted on."""
    from crosslatent.core.seen import Seen
    from crosslatent.tasks.fingerprints import fact_key, text_key

    task = (reader.manifest.get("task") or {}).get("name")
    rows = reader.connect().execute(
        "SELECT item, cluster, main, aux FROM items WHERE split = $split", {"split": split}
    )
    found = rows.fetchall()
    return Seen.of(
        texts=(text_key(text) for *_, main, aux in found for text in (main, aux)),
        facts=(fact_key(fact, task) for item, fact, *_ in found if fact != item),
    )


def _plain(
    evaluation: Evaluation,
    fitted: dict[str, Fitted],
    strategy: str,
    files: list[Path],
    said: list[str],
) -> dict[str, Any]:
    """Everything as plain data; `pairs` are those that a selector chooses among."""
    from crosslatent.selectors.fixed import FixedPairs

    concluded = [] if evaluation.trained_on else evaluation.selectors
    return {
        "strategy": strategy,
        **asdict(evaluation),
        "beats_pilot": [found.name for found in concluded if found.beats_pilot],
        "recovers_half": [found.name for found in concluded if found.recovers_half],
        "pairs": {name: [asdict(pair) for pair in one.pairs] for name, one in fitted.items()},
        "by_language": {
            name: {lang: asdict(pair) for lang, pair in one.by_language.items()}
            for name, one in fitted.items()
            if isinstance(one, FixedPairs)
        },
        "verdict": said,
        "saved": [str(file) for file in files],
    }


def _verdict(reader: RunReader, evaluation: Evaluation) -> list[str]:
    from crosslatent.analysis.run_summary import exploratory_of
    from crosslatent.report.selectors import verdict

    return verdict(evaluation, exploratory_of(reader.manifest))


def _print(evaluation: Evaluation, said: list[str]) -> None:
    from rich.table import Table

    from crosslatent.report.selectors import selectors_table
    from crosslatent.report.verdicts.choosing import groups

    whole_table = selectors_table(evaluation)
    shown = [place for place, name in enumerate(whole_table.head) if name != "what it does"]
    table = Table(box=None)
    for place in shown:
        numeric = place in whole_table.numeric
        table.add_column(
            whole_table.head[place], justify="right" if numeric else "left", no_wrap=not numeric
        )
    for cells in whole_table.rows:
        table.add_row(*(cells[place] for place in shown))
    wide = console()
    # Intervals in five columns: a narrower terminal lets lines run on.
    wide.width = max(wide.width, _WIDTH)
    wide.print(table)
    for group in groups(evaluation):
        for name, pairs in _pairs_of(group).items():
            print_text(f"{name}: {pairs}", style="dim")
    for sentence in said:
        print_text(sentence)
    for sentence in evaluation.missing:
        print_text(sentence, style="dim")


def _pairs_of(group: list[SelectorResult]) -> dict[str, str]:
    """Names of selectors that are right on the same questions -> the pairs that they use."""
    by_pairs: dict[str, list[str]] = {}
    for found in group:
        pairs = ", ".join(
            f"{used.component} {used.source} -> {used.target} ({used.n})" for used in found.used
        )
        by_pairs.setdefault(pairs or "no pair", []).append(found.name)
    return {", ".join(names): pairs for pairs, names in by_pairs.items()}
