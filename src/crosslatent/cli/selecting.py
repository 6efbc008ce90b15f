"""``crosslatent select`` and ``answer``: a pair for each question without its answer, used."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import json as json_format
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypedDict

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.cli.terminal import print_json, print_table, print_text, say
from crosslatent.core import shared_settings as shared
from crosslatent.core.costs import duration
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import Panel, Setting, needed, path, switch
from crosslatent.core.shared_settings import SelectSettings
from crosslatent.core.specs import canonical_hash, chat_of, right_now

if TYPE_CHECKING:
    from crosslatent.api.transplants import Selected
    from crosslatent.core.seen import Seen
    from crosslatent.model import Model
    from crosslatent.runs.reader import RunReader
    from crosslatent.selectors import FittedSelector, Selector, SelectorEvaluation, SelectorResult
    from crosslatent.tasks import Item, Task

_WAYS = {"transplant": "with a transplant", "unmodified": "unmodified", "other": "as aux is"}
_WIDTH = 240
"""Columns that the table of selectors needs to stand on single lines."""


_STRATEGIES = (
    *("pilot", "preset", "confidence", "vote", "learned", "attribution", "halving", "oracle"),
    "all",
)


class StrategySettings(TypedDict, total=False):
    """What is fitted, and kept."""

    strategy: Annotated[
        str,
        Setting(
            "pilot, preset, confidence, vote, learned, attribution, halving, oracle or all; "
            "or one selector, such as confidence-margin-8; or one of your own.",
            "NAME",
            default="pilot",
            panel=Panel.CHOICE,
            known=_STRATEGIES,
        ),
    ]
    evaluate_on: Annotated[
        str | None, Setting("Test on this run; RUN itself by default.", "RUN2", panel=Panel.CHOICE)
    ]
    save: Annotated[
        Path | None,
        path("Keep the strategy's first selector, as JSON.", "FILE", panel=Panel.OUTPUT),
    ]


@options.command
def select(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of a sweep, or its URL.")],
    how: StrategySettings,
    settings: SelectSettings,
    everything: Annotated[
        bool,
        switch(
            "Print the table of all selectors and baselines, too.",
            flags=("--all",),
            panel=Panel.OUTPUT,
        ),
    ],
    json: options.JsonOption,
) -> None:
    """Choose layer pairs on some questions, and test the choice on others."""
    need("stats")
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
    first = _advice(evaluation, selectors)
    if json:
        plain = _plain(evaluation, fitted, strategy, files, sentences)
        print_json({"advice": first, **plain})
    else:
        if first:
            print_text(first)
        _print(evaluation, sentences, table=everything or not first)
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
    seen = _seen(reader, evaluation)
    kept = SavedSelector(selector.name, selector.about, fitted[selector.name], origin, seen)
    return save(kept, file)


def _seen(reader: "RunReader", evaluation: "SelectorEvaluation") -> "Seen":
    """Hashes of the questions of a run that selectors were fitted on."""
    from crosslatent.tasks.task import seen_of

    task = (reader.manifest.get("task") or {}).get("name")
    query = "SELECT item, cluster, main, aux FROM items WHERE split = $split OR $split IS NULL"
    split = None if evaluation.divided else evaluation.tune
    rows = reader.connect().execute(query, {"split": split}).fetchall()
    if evaluation.divided:
        from crosslatent.analysis.data import RunData
        from crosslatent.selectors.findings import division_of
        from crosslatent.selectors.table import read_table

        fitted = division_of(read_table(RunData(reader)), seed=evaluation.seed).chosen_on
        rows = [row for row in rows if row[0] in fitted]
    return seen_of(rows, task)


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


def _advice(evaluation: "SelectorEvaluation", selectors: "list[Selector]") -> str:
    """What to use, of a strategy's first selector, which is the one that --save keeps."""
    from crosslatent.report.selector_verdicts import advice

    return advice(evaluation, selectors[0].name) if selectors else ""


def _print(evaluation: "SelectorEvaluation", sentences: list[str], *, table: bool) -> None:
    if table:
        _print_table(evaluation)
    for sentence in sentences:
        print_text(sentence)
    for sentence in evaluation.missing:
        print_text(sentence, style="dim")


def _print_table(evaluation: "SelectorEvaluation") -> None:
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


def _pairs_of(group: "list[SelectorResult]") -> dict[str, str]:
    """Names of selectors that are right on the same questions -> the pairs that they use."""
    by_pairs: dict[str, list[str]] = {}
    for found in group:
        pairs = ", ".join(
            f"{used.component} {used.source} -> {used.target} ({used.n})" for used in found.used
        )
        by_pairs.setdefault(pairs or "no pair", []).append(found.name)
    return {", ".join(names): pairs for pairs, names in by_pairs.items()}


@options.command
def answer(
    model: options.ModelSettings,
    answers: shared.AnswerSettings,
    counterparts: questions.CounterpartSettings,
    chooser: Annotated[
        Path, needed("What 'improve' or 'select --save' kept.", "FILE", panel=Panel.CHOICE)
    ],
    prompts: Annotated[
        Path,
        needed(
            "JSON Lines, JSON, CSV or TSV with main, aux, and options if any.",
            "FILE",
            panel=Panel.QUESTIONS,
        ),
    ],
    out: Annotated[
        Path, needed("JSON Lines of answers; repeat to resume.", "FILE", panel=Panel.OUTPUT)
    ],
    force: Annotated[
        bool,
        switch(
            "Take another model than that it was fitted on.",
            panel=Panel.MODEL,
            rare=True,
        ),
    ],
    json: options.JsonOption,
) -> None:
    """Answer every question as a chooser chooses: unmodified, as aux is, or with a transplant."""
    options.check_model(model)
    from crosslatent.tasks import load_prompts

    if answers["chat"] is not None:
        options.check_chat(answers)
    auto = counterparts["aux"] is not None
    questions.check_parallel(counterparts["save_parallel"], auto, prompts)
    options.check_chooser(chooser, model["model"])
    task = load_prompts(prompts, counterparts=not auto)
    from crosslatent.api.choosers import load_chooser

    choosing = load_chooser(chooser)
    loaded = options.load_model(model) if auto else None
    if loaded is not None:
        task = _translated(task, loaded, counterparts, model, answers)
    items = task.items
    # A chooser knows its model; with --force any may answer, but one file has the answers of one.
    by = {"chooser": chooser.read_text("utf-8"), "model": model["model"] if force else None}
    known = canonical_hash({**by, "answers": dict(answers)})
    done, started = _done(out, items, known), time.monotonic()
    ways = Counter(line["way"] for line in done)
    if len(done) < len(items):
        loaded = loaded or options.load_model(model)
        with terminal.stoppable(), out.open("a", encoding="utf-8") as file:
            found = choosing.answers(loaded, items[len(done) :], force=force, **answers)
            for number, one in enumerate(found, len(done)):
                _write(file, items[number], one, known)
                ways[one.way] += 1
                _say(number + 1, len(items), one.warnings if number == len(done) else ())
    seconds, new = time.monotonic() - started, len(items) - len(done)
    if json:
        counts = {"answers": len(items), "new": new, "seconds": seconds, "ways": dict(ways)}
        print_json({"out": str(out), **counts})
        return
    said = ", ".join(f"{n:,} {_WAYS[way]}" for way, n in ways.most_common())
    print(f"{len(items):,} answers in {out}, {new:,} of them now ({duration(seconds)}): {said}.")


def _translated(
    task: "Task",
    model: "Model",
    counterparts: questions.CounterpartSettings,
    loading: options.ModelSettings,
    answers: shared.AnswerSettings,
) -> "Task":
    """The questions with the counterparts that they lack; TaskError if one cannot be made."""
    from crosslatent.tasks.counterpart_checks import leaks

    chat = chat_of(bool(answers["chat"]), answers["chat_args"], right_now())
    maker = questions.CounterpartMaker(model, counterparts, loading, chat=chat)
    made, failures = questions.prepare_questions(task, maker)
    for reason in failures.values():
        raise TaskError(f"{len(failures)} questions cannot be translated; the first: {reason}")
    for sentence in leaks(made.items):
        terminal.warn(sentence)
    if counterparts["save_parallel"] is not None:
        questions.save_parallel(made, counterparts["save_parallel"])
    return made


def _say(number: int, of: int, warnings: Sequence[str]) -> None:
    for text in warnings:
        terminal.warn(text)
    if number % 100 == 0:
        say(f"{number:,} of {of:,} questions")


def _write(file: TextIO, item: "Item", found: "Selected", known: str) -> None:
    """Append one answer, and let nothing of it wait."""
    plain = found.to_dict()
    kept = ("output", "vanilla", "way", "chosen", "trained_on", "warnings")
    line = {"id": item.id, "key": _key(item, known), **{name: plain[name] for name in kept}}
    file.write(json_format.dumps(line, ensure_ascii=False) + "\n")
    file.flush()


def _key(item: "Item", known: str) -> str:
    """What an answer is of: the question, the chooser, and how it answered."""
    options_of = list(item.options or ())
    return canonical_hash([item.main, item.aux, item.lang, options_of, known])


def _done(out: Path, items: "Sequence[Item]", known: str) -> list[dict[str, Any]]:
    """The answers that are there; a line that an interruption cut short is taken away.

    Raises:
        UsageError: the file cannot be read or written, or holds answers of something else.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.exists():
            return []
        with out.open("rb+") as file:
            whole = file.read()
            found = _lines(whole)
            keys = [line["key"] for line in found]
            if keys != [_key(item, known) for item in items[: len(keys)]]:
                raise UsageError(
                    f"{str(out)!r} holds answers to other questions, or by another chooser or "
                    "other settings: give another file, or remove it."
                )
            file.truncate(whole.rfind(b"\n") + 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"Cannot go on with {str(out)!r} ({error}): give a file that can be written, or that "
            "this command began."
        ) from error
    return found


_BEGINS = b'{"id": '
"""How a line of answers begins."""


def _lines(whole: bytes) -> list[Any]:
    """The answers of a file, without one that an interruption cut short.

    Raises:
        ValueError: it is no file of answers.
    """
    end = whole.rfind(b"\n") + 1
    rest = whole[end:]
    if not (rest.startswith(_BEGINS) or _BEGINS.startswith(rest)):
        raise ValueError(f"its last line begins with {rest[:20].decode(errors='replace')!r}")
    return [json_format.loads(line) for line in whole[:end].decode().splitlines()]
