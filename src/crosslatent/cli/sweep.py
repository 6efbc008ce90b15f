"""``crosslatent sweep``: the layer grid, into a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from crosslatent.cli.counterparts import (
    SELF,
    CounterpartMaker,
    CounterpartSettings,
    check_aux,
    check_parallel,
    save_parallel,
    stand_in,
    target_language,
)
from crosslatent.cli.errors import say, warn
from crosslatent.cli.options import DebugOption, ModelSettings, check_chat, command
from crosslatent.cli.outcome import report_outcome
from crosslatent.cli.output import check_output_folder
from crosslatent.cli.progress import progress
from crosslatent.cli.questions import Questions, QuestionSettings
from crosslatent.cli.stopping import stoppable
from crosslatent.cli.validation import blank_ends, not_judged
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import kept
from crosslatent.core.specs import check_component, check_controls, check_engine, check_preset
from crosslatent.runs.run_path import run_path
from crosslatent.sweeps.spec import (
    RaySettings,
    RunSettings,
    SweepSpec,
    chat_settings,
    components_of,
)

if TYPE_CHECKING:
    from crosslatent.distributed import Cluster
    from crosslatent.tasks import Item, Task


_FLAG, _LOCAL = "--ray", "local"


@command
def sweep(
    model: ModelSettings,
    out: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="Run folder or URL; the same command again does what is missing."
        ),
    ],
    asked: QuestionSettings,
    counterparts: CounterpartSettings,
    spec: SweepSpec,
    running: RunSettings,
    ray: RaySettings,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print rows and estimated cost; write nothing.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Run many transplants of a task and store every answer."""
    check_chat(spec["chat_args"] or {}, chat=spec["chat"])
    _check_names(spec)
    check_engine(running["engine"])
    cluster = _cluster_of(ray)
    questions = Questions(asked, seed=spec["seed"], auto=check_aux(counterparts["aux"]))
    target = target_language(asked["aux_lang"], asked["prompts"])
    check_parallel(counterparts["save_parallel"], questions.auto, asked["prompts"])
    everything = questions.load()
    location = run_path(out)
    check_output_folder(location, "run.json")
    from crosslatent.cli.models import load_model

    # Workers load the model themselves; here it may still be wanted for counterparts.
    translates = questions.auto and counterparts["translate_with"] == SELF
    loaded = load_model(**model) if cluster is None or dry_run or translates else None
    from crosslatent.sweeps.run import timed

    # Counterparts are asked for at the time of the run's prompts, too.
    spec = timed(spec, location, new=running["new"])
    maker = CounterpartMaker(
        loaded,
        counterparts["translate_with"],
        target,
        chat_settings(spec),
        counterparts["translation_cache"],
        model["device"],
        model["dtype"],
    )
    translate = stand_in if dry_run else maker
    task, failures = questions.prepare(everything, translate if questions.auto else None)
    if counterparts["save_parallel"] is not None and not dry_run:
        save_parallel(task, counterparts["save_parallel"])
    # A template ends otherwise, and what an encoder reads is not what is edited.
    alone = not spec["chat"] and not (loaded is not None and loaded.has_encoder)
    notes = tuple(blank_ends(task.items)) if alone else ()
    if dry_run:
        for line in notes:
            warn(line)
        _note(task.items)
        _dry_run(loaded, task, spec, failures)
        return
    requested = {
        **kept(ModelSettings, model),
        **kept(QuestionSettings, asked),
        **kept(CounterpartSettings, counterparts),
        **kept(SweepSpec, spec),
        **kept(RunSettings, running),
        **maker.to_dict(),
    }
    with stoppable(), progress(task.name) as show:
        if cluster is None:
            assert loaded is not None
            from crosslatent.sweeps import run_sweep

            outcome = run_sweep(
                loaded,
                task,
                spec,
                location,
                requested=requested,
                failures=failures,
                progress=show,
                warned=warn,
                **running,
            )
        else:
            from crosslatent.cli.models import source_of
            from crosslatent.distributed import SweepJob, run_on_ray

            where = str(location.absolute())
            job = SweepJob(
                source_of(model), task, spec, where, failures, requested, running=running
            )
            outcome = run_on_ray(
                job, cluster, slice_rows=ray["slice_rows"], progress=show, tell=say, warned=warn
            )
    _note(task.items)
    report_outcome(outcome, notes)


def _note(items: Sequence[Item]) -> None:
    """Say what the figures of a sweep must be read with."""
    from crosslatent.core import repeats

    for line in (*repeats.notes(items), *not_judged(items)):
        say(f"Note: {line}")


def _check_names(spec: SweepSpec) -> None:
    """Refuse, before a large model is loaded, what can be."""
    for name in components_of(spec):
        check_component(name)
    check_controls(spec["controls"])
    if texts := [one for one in spec["conditions"] if isinstance(one, str)]:
        from crosslatent.interventions.condition import check_texts

        check_texts(texts)
    pairs = spec["pairs"]
    if isinstance(pairs, str) and pairs.startswith("preset:"):
        check_preset(pairs.removeprefix("preset:"))


def _dry_run(model: Any, task: Task, spec: SweepSpec, failures: dict[str, str]) -> None:
    from crosslatent.cli.cost import estimate
    from crosslatent.sweeps import plan_sweep

    plan = plan_sweep(model, task, spec, failures)
    for note in plan.notes:
        warn(note)
    for item, reason in plan.failures.items():
        warn(f"item {item!r} would be left out: {reason}")
    for line in estimate(plan).lines():
        print(line)


class RayCommand(TyperCommand):
    """A command whose option ``--ray`` may be given without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; ``--ray`` without a value gets its default address."""
        return super().parse_args(ctx, list(_with_address(args)))


def _with_address(arguments: Sequence[str]) -> Iterator[str]:
    for at, argument in enumerate(arguments):
        yield argument
        following = arguments[at + 1 : at + 2]
        if argument == _FLAG and (not following or following[0].startswith("-")):
            yield _LOCAL


def _cluster_of(asked: RaySettings) -> Cluster | None:
    """What the options ask for; None without ``--ray``.

    Raises:
        UsageError: a setting of workers without ``--ray``.
    """
    address = asked["ray"]
    if address is None:
        for name, value in asked.items():
            if value is not None:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} is about workers of Ray: add --ray, or leave it out.")
        return None
    from crosslatent.distributed import Cluster

    return Cluster(address, asked["ray_workers"], asked["ray_gpus"])
