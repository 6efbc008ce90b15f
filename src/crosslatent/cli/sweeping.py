"""``crosslatent sweep``: the layer grid, into a run folder; what it costs, and how it went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli.terminal import (
    check_output_folder,
    print_json,
    progress,
    say,
    stoppable,
    warn,
)
from crosslatent.cli.validation import blank_ends, not_judged
from crosslatent.core import specs
from crosslatent.core.costs import duration
from crosslatent.core.errors import CrosslatentError
from crosslatent.core.imports import need
from crosslatent.core.settings import REQUIRED, Panel, Setting, kept, switch, unique
from crosslatent.model.folder import layers_of
from crosslatent.runs.run_path import run_path
from crosslatent.sweeps.spec import (
    RunSettings,
    SweepSpec,
    WorkerSettings,
    chat_settings,
    check_spec,
    uses_workers,
)

if TYPE_CHECKING:
    from crosslatent.model import Model
    from crosslatent.sweeps import SweepOutcome
    from crosslatent.tasks import Item, Task

_DECLARE = Setting(
    "Declare before answers exist: component and gain aimed at, such as ffn,0.05.",
    "C,GAIN",
    panel=Panel.CONTROLS,
    rare=True,
)
_BACK = switch(
    "The other direction: answer aux, with vectors from main.", panel=Panel.QUESTIONS, rare=True
)
_OUT = Setting(
    "Run folder or URL; the same command again does what is missing.",
    "RUN",
    default=REQUIRED,
    panel=Panel.OUTPUT,
)
_DRY_RUN = switch(
    "Print rows, cost and time, after a trial of seconds; write nothing.", panel=Panel.OUTPUT
)
_SHOWN = 10
"""Items that are named one by one; the others are in the run folder."""


@options.command
def sweep(
    model: options.ModelSettings,
    out: Annotated[str, _OUT],
    asked: questions.QuestionSettings,
    counterparts: questions.CounterpartSettings,
    spec: SweepSpec,
    running: RunSettings,
    workers: WorkerSettings,
    declare: Annotated[str | None, _DECLARE],
    back: Annotated[bool, _BACK],
    dry_run: Annotated[bool, _DRY_RUN],
    json: options.JsonOption,
) -> None:
    """Run many transplants of a task and store every answer."""
    alone = not uses_workers(workers)
    _check(model, spec, running["engine"], here=alone)
    auto = counterparts["aux"] is not None
    target = questions.target_language(asked["aux_lang"], asked["prompts"])
    questions.check_parallel(counterparts["save_parallel"], auto, asked["prompts"])
    from crosslatent.tasks import turned

    everything = questions.load_questions(asked, auto=auto)
    location = run_path(out)
    check_output_folder(location, "run.json")
    headline = _declared(declare, turned(everything) if back else everything, spec)
    # Workers load the model themselves; here it may still be wanted for counterparts.
    translates = auto and counterparts["translate_with"] == questions.SELF
    loaded = options.load_model(model) if alone or dry_run or translates else None
    from crosslatent.sweeps.sweep_run import timed

    # Counterparts are asked for at the time of the run's prompts, too.
    spec = timed(spec, location, new=running["new"])
    maker = questions.CounterpartMaker(loaded, counterparts, model, target, chat_settings(spec))
    task, failures = questions.prepare_questions(
        everything,
        (questions.stand_in if dry_run else maker) if auto else None,
        limit=asked["limit"],
        shots=asked["shots"],
        shots_seed=spec["seed"],
    )
    if counterparts["save_parallel"] is not None and not dry_run:
        questions.save_parallel(task, counterparts["save_parallel"])
    task = turned(task) if back else task
    notes = _prompt_notes(task, spec, loaded)
    if dry_run:
        _dry_run(loaded, task, spec, running, failures, notes, as_json=json)
        return
    requested = _kept(
        (options.ModelSettings, model),
        (questions.QuestionSettings, asked),
        (questions.CounterpartSettings, counterparts),
        (SweepSpec, spec),
        (RunSettings, running),
    )
    requested |= maker.to_dict() | ({"back": True} if back else {})
    with stoppable(), progress(task.name) as show:
        how: dict[str, Any] = {"progress": show, "warned": warn}
        if alone:
            assert loaded is not None
            from crosslatent.sweeps import run_sweep

            how |= {"requested": requested, "failures": failures, "headline": headline}
            outcome = run_sweep(loaded, task, spec, location, **how, **running)
        else:
            from crosslatent.distributed import SweepJob, place_of, run_on_workers, workers_at

            where, more = str(location.absolute()), (failures, requested, headline, running)
            job = SweepJob(task, spec, where, *more)
            how["slice_rows"] = workers["slice_rows"]
            with workers_at(place_of(workers), options.source_of(model), say) as pool:
                outcome = run_on_workers(job, pool, **how)
    _note(task.items)
    _report(outcome, notes, as_json=json)


def _kept(*groups: tuple[type[Any], Any]) -> dict[str, Any]:
    """Settings of several groups as run.json keeps them."""
    return {name: value for group in groups for name, value in kept(*group).items()}


def _prompt_notes(task: Task, spec: SweepSpec, model: Model | None) -> tuple[str, ...]:
    """On counterparts that are none, and on prompts that end in blanks.

    A template ends otherwise, and an encoder is not edited.
    """
    from crosslatent.tasks.counterpart_checks import leaks

    alone = not spec["chat"] and not (model is not None and model.has_encoder)
    return (*leaks(task.items), *(blank_ends(task.items) if alone else ()))


def _declared(text: str | None, task: Task, spec: SweepSpec) -> dict[str, Any] | None:
    if text is None:
        return None
    need("stats")
    from crosslatent.analysis.headline import declaration, declared

    components = unique(spec["component"]) or ("attn",)
    splits = [item.split for item in task.items if item.split]
    return declaration(declared(text, task.name, components, splits, spec["controls"]))


def _report(outcome: SweepOutcome, notes: Iterable[str] = (), *, as_json: bool = False) -> None:
    """Print the outcome of a sweep; the run folder, or JSON, on stdout, all else on stderr.

    Args:
        outcome: what came of it.
        notes: what else deserves a look.
        as_json: print JSON.

    Raises:
        Exit: with 1, if an item failed or a row is no number.
    """
    faults, warnings = outcome.faults, [*_warnings(outcome), *notes]
    for line in warnings:
        warn(line)
    if outcome.rows:
        say(f"{outcome.rows:,} rows in {duration(outcome.seconds)}.")
    elif not faults.failed:
        say("Nothing was missing.")
    _say_respelled(outcome.status)
    _say_near_ties(outcome.status)
    said = list(_concluded(outcome))
    for line in said:
        say(line)
    if as_json:
        print_json(_plain(outcome, warnings, said))
    else:
        print(outcome.path)
    if faults:
        for line in faults.lines():
            say(f"Failed: {line}")
        raise typer.Exit(1)


def _plain(outcome: SweepOutcome, warnings: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    return {
        "out": str(outcome.path),
        "rows": outcome.rows,
        "seconds": outcome.seconds,
        "status": outcome.status,
        "failures": outcome.failures,
        "warnings": list(warnings),
        "said": list(said),
    }


def _concluded(outcome: SweepOutcome) -> Iterator[str]:
    """What the run shows on questions that no choice was made on, and what to do next."""
    try:
        need("stats")
        from crosslatent.analysis.data import RunData
        from crosslatent.report.verdicts import outcome as said
        from crosslatent.runs.reader import RunReader
        from crosslatent.selectors.findings import find

        data = RunData(RunReader(outcome.path))
        found, why = find(data)
    except CrosslatentError as error:
        found, why = None, str(error)
    if found is None:
        yield f"No pair is picked and tested. {why}"
    else:
        yield from said.in_three_lines(found, data.mean(data.items.vanilla))
    yield f"Next: crosslatent report {outcome.path} --out DIR"


def _warnings(outcome: SweepOutcome) -> Iterator[str]:
    """What was mended, left out, or took longer than it might have."""
    faults = outcome.faults
    for aside in faults.set_aside:
        yield f"{aside.name} could not be used ({aside.reason}): set aside, its rows were run again"
    for failure in faults.failed[:_SHOWN]:
        yield f"item {failure.item!r} was left out: {failure.reason}"
    if len(faults.failed) > _SHOWN:
        yield f"{len(faults.failed) - _SHOWN:,} more items were left out: see failures.parquet"
    for path in outcome.paths:
        if path.reason:
            yield f"rows took the {path.name} path ({path.reason})"


def _say_respelled(status: dict[str, Any]) -> None:
    """How many items have answers that are not as the tokenizer writes them with the prompt."""
    if count := status["respelled"]:
        say(
            f"In {count:,} of {status['items']:,} items an answer would be other tokens together "
            "with its prompt: the prompt's tokens stay, and the answer's are those that decode to "
            "it after them (respelled in items.parquet)."
        )


def _say_near_ties(status: dict[str, Any]) -> None:
    """How many answers hang on the last bits, and whether they were settled."""
    close = status["near_ties"]
    if not close["rows"]:
        return
    share = close["rows"] / status["rows"]
    rows = "1 row was" if close["rows"] == 1 else f"{close['rows']:,} rows were"
    text = f"{rows} decided by less than {close['margin']:g} logits ({share:.2%})"
    if close["settled"]:
        seconds = duration(status["paths"][specs.EXACT]["seconds"])
        settled = f"{close['settled']:,} of them answered again in float32, one by one"
        say(f"{text}; {settled}, in {seconds}.")
    else:
        say(f"{text}: another batch size may decide otherwise (--exact settles it).")


def _note(items: Sequence[Item]) -> None:
    """Say what the figures of a sweep must be read with."""
    from crosslatent.core.normal import repeat_notes

    for line in (*repeat_notes(items), *not_judged(items)):
        say(f"Note: {line}")


def _check(model: options.ModelSettings, spec: SweepSpec, engine: str, *, here: bool) -> None:
    """Refuse what can be before torch is imported; `here` = this process loads the model."""
    if here:
        options.check_model(model)
    options.check_chat(spec)
    specs.check_engine(engine)
    check_spec(spec, layers_of(model["model"]))
    if texts := [one for one in spec["conditions"] if isinstance(one, str)]:
        from crosslatent.interventions.condition import check_texts

        check_texts(texts)


def _dry_run(
    model: Any,
    task: Task,
    spec: SweepSpec,
    running: RunSettings,
    failures: dict[str, str],
    notes: Sequence[str],
    *,
    as_json: bool,
) -> None:
    from crosslatent.sweeps import plan_sweep
    from crosslatent.sweeps.forecast import estimate, tried

    for line in notes:
        warn(line)
    _note(task.items)
    plan = plan_sweep(model, task, spec, failures)
    for note in plan.notes:
        warn(note)
    for item, reason in plan.failures.items():
        warn(f"item {item!r} would be left out: {reason}")
    trial = tried(plan, engine=running["engine"], batch_rows=running["batch_rows"])
    cost = estimate(plan, trial)
    if as_json:
        print_json(cost.to_dict())
        return
    for line in cost.lines():
        print(line)
