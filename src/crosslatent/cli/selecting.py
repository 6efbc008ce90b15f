"""``crosslatent select``: choose a layer pair for each question without its answer, and test it."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from crosslatent.cli import command_options as options
from crosslatent.cli.terminal import print_json, print_table, print_text, say
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Setting, path
from crosslatent.core.shared_settings import SelectSettings

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.runs.reader import RunReader
    from crosslatent.selectors import FittedSelector, Selector, SelectorEvaluation, SelectorResult

_WIDTH = 240
"""Columns that the table of selectors needs to stand on single lines."""


class StrategySettings(TypedDict, total=False):
    """What is fitted, and kept."""

    strategy: Annotated[
        str,
        Setting(
            "pilot, preset, confidence, vote, learned, attribution, halving, oracle or all; "
            "or one selector, such as confidence-margin-8; or one of your own.",
            "NAME",
            default="pilot",
        ),
    ]
    evaluate_on: Annotated[str | None, Setting("Test on this run; RUN itself by default.", "RUN2")]
    save: Annotated[Path | None, path("Keep the strategy's first selector, as JSON.", "FILE")]


@options.command
def select(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a sweep, or its URL.")],
    how: StrategySettings,
    settings: SelectSettings,
    json: options.JsonOption = False,
) -> None:
    """Choose layer pairs on one split, and test the choice on another."""
    from crosslatent.runs.reader import RunReader
    from crosslatent.selectors import evaluate_run, selectors_of
    from crosslatent.tasks.task import text_key

    options.check_seed(settings)
    strategy, save, other = how["strategy"], how["save"], how["evaluate_on"]
    selectors = selectors_of(strategy)
    _check_save(save, strategy, selectors)
    reader = RunReader(run)
    evaluation, fitted = evaluate_run(
        reader,
        selectors,
        other=None if other is None else RunReader(other),
        text_key=text_key,
        **settings,
    )
    files = [] if save is None else _save(save, selectors[0], fitted, reader, evaluation)
    sentences = _verdict(reader, evaluation)
    if json:
        print_json(_plain(evaluation, fitted, strategy, files, sentences))
    else:
        _print(evaluation, sentences)
        for file in files:
            say(f"Saved to {file}")


def _check_save(save: Path | None, strategy: str, selectors: "list[Selector]") -> None:
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
    selector: "Selector",
    fitted: "dict[str, FittedSelector]",
    reader: "RunReader",
    evaluation: "SelectorEvaluation",
) -> list[Path]:
    from crosslatent.selectors.saved import SavedSelector, fitted_on, save

    if selector.name not in fitted:
        reasons = [text for text in evaluation.missing if text.startswith(f"{selector.name}:")]
        raise UsageError(f"There is nothing to save: {' '.join(reasons)}")
    origin = fitted_on(reader.manifest, evaluation.tuned_on, evaluation.tune, evaluation.tune_items)
    seen = _seen(reader, evaluation.tune)
    kept = SavedSelector(selector.name, selector.about, fitted[selector.name], origin, seen)
    return save(kept, file)


def _seen(reader: "RunReader", split: str) -> "Seen":
    """Hashes of the questions of a split of a run: what a selector is fitted on."""
    from crosslatent.core.seen import Seen
    from crosslatent.tasks.task import fact_key, text_key

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
    evaluation: "SelectorEvaluation",
    fitted: "dict[str, FittedSelector]",
    strategy: str,
    files: list[Path],
    said: list[str],
) -> dict[str, Any]:
    """Everything as plain data; `pairs` are those that a selector chooses among."""
    from crosslatent.selectors.base import FixedPairs

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


def _verdict(reader: "RunReader", evaluation: "SelectorEvaluation") -> list[str]:
    from crosslatent.analysis.run_summary import exploratory_of
    from crosslatent.report.selector_verdicts import verdict

    return verdict(evaluation, exploratory_of(reader.manifest))


def _print(evaluation: "SelectorEvaluation", sentences: list[str]) -> None:
    from crosslatent.report.selector_verdicts import selectors_table
    from crosslatent.report.verdicts.choosing import groups

    table = selectors_table(evaluation)
    kept = [column for column, title in enumerate(table.head) if title != "what it does"]
    print_table(
        [table.head[column] for column in kept],
        [[cells[column] for column in kept] for cells in table.rows],
        right={table.head[column] for column in table.numeric},
        width=_WIDTH,
    )
    for group in groups(evaluation):
        for name, pairs in _pairs_of(group).items():
            print_text(f"{name}: {pairs}", style="dim")
    for sentence in sentences:
        print_text(sentence)
    for sentence in evaluation.missing:
        print_text(sentence, style="dim")


def _pairs_of(group: "list[SelectorResult]") -> dict[str, str]:
    """Names of selectors that are right on the same questions -> the pairs that they use."""
    by_pairs: dict[str, list[str]] = {}
    for found in group:
        pairs = ", ".join(
            f"{used.component} {used.source} -> {used.target} ({used.n})" for used in found.used
        )
        by_pairs.setdefault(pairs or "no pair", []).append(found.name)
    return {", ".join(names): pairs for pairs, names in by_pairs.items()}
