"""``crosslatent sweep``: the layer grid, into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli.counterparts import (
    SELF,
    CounterpartMaker,
    check_aux,
    check_parallel,
    stand_in,
    target_language,
)
from crosslatent.cli.counterparts import save_parallel as save
from crosslatent.cli.errors import say, warn
from crosslatent.cli.options import (
    AuxLangOption,
    CacheOption,
    ChatArgOption,
    ChatOption,
    DataOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    LangOption,
    ModelOption,
    ModulesOption,
    PositionsOption,
    QuantizationOption,
    RevisionOption,
    ShotsOption,
    StrengthOption,
    TranslateOption,
    chat_arguments,
    names,
    positive,
    whole,
)
from crosslatent.cli.outcome import report_outcome
from crosslatent.cli.output import check_output_folder
from crosslatent.cli.progress import progress
from crosslatent.cli.questions import Questions
from crosslatent.cli.stopping import stoppable
from crosslatent.cli.validation import blank_ends, not_judged
from crosslatent.cli.workers import (
    GpusOption,
    RayOption,
    SliceOption,
    WorkersOption,
    cluster_of,
)
from crosslatent.core.specs import check_component, check_controls, check_engine, check_preset
from crosslatent.runs.run_path import run_path

if TYPE_CHECKING:
    from crosslatent.sweeps import SweepSpec
    from crosslatent.tasks import Item, Task


def sweep(
    context: typer.Context,
    model: ModelOption,
    out: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="Run folder or URL; the same command again does what is missing."
        ),
    ],
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A task; see 'crosslatent tasks ls'.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead of a task: JSON Lines with id, main, aux, maybe answer."
        ),
    ] = None,
    data: DataOption = None,
    lang: LangOption = None,
    aux_lang: AuxLangOption = None,
    aux: Annotated[
        str | None,
        typer.Option(metavar="auto", help="Translate the counterparts that the data lacks."),
    ] = None,
    translate_with: TranslateOption = "self",
    translation_cache: CacheOption = None,
    save_parallel: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the questions with their counterparts, for --prompts."
        ),
    ] = None,
    chat: ChatOption = False,
    chat_arg: ChatArgOption = None,
    shots: ShotsOption = 0,
    component: Annotated[
        str | None,
        typer.Option(metavar="C,C", help="attn (default), ffn, attn_residual, block."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS",
            help="all (default), none, target-first, source-last, preset:NAME, I:J,I:J or a file.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]KIND:...",
            help="Beside or instead of pairs: what is changed alike for all items, such as "
            "ablate:heads:each:each. Repeat for more.",
        ),
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            metavar="C,C", help="shuffled, noise, mean, self, paraphrase; none by default."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Seed of donors and noise.")
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="The first N items per language and split."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="T", help="Most new tokens; the task's by default."),
    ] = None,
    score_only: Annotated[
        bool,
        typer.Option("--score-only", help="No decoding: the likeliest option is the answer."),
    ] = False,
    score_options: Annotated[
        bool, typer.Option("--score-options", help="Score whole options, beside decoding.")
    ] = False,
    strength: StrengthOption = 1.0,
    positions: PositionsOption = 1,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Answer near-ties again in float32, one row at a time."),
    ] = False,
    attribution: Annotated[
        bool,
        typer.Option("--attribution", help="Rank all pairs by gradients too, for selectors."),
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="K", help="Sample K answers without transplant too."),
    ] = None,
    keep_vectors: Annotated[
        bool,
        typer.Option("--keep-vectors", help="Keep the captured vectors too, in safetensors."),
    ] = False,
    engine: Annotated[
        str,
        typer.Option(metavar="PATH", help="auto, shared-prefix, expanded-cache or oracle."),
    ] = "auto",
    batch_rows: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="Rows per batch; what memory holds by default."
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantization: QuantizationOption = None,
    revision: RevisionOption = None,
    modules: ModulesOption = None,
    ray: RayOption = None,
    ray_workers: WorkersOption = None,
    ray_gpus: GpusOption = None,
    slice_rows: SliceOption = None,
    new: Annotated[bool, typer.Option("--new", help="Start over, also if a run is there.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop if an item cannot be run, instead of noting it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print rows and estimated cost; write nothing.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Run many transplants of a task and store every answer."""
    chat_args = chat_arguments(chat_arg, chat=chat)
    components, wanted = names(component, "--component"), names(controls, "--controls")
    _check_names(components, wanted, pairs, condition or ())
    check_engine(engine)
    cluster = cluster_of(ray, ray_workers, ray_gpus, slice_rows)
    asked = Questions(
        task,
        prompts,
        data,
        names(lang, "--lang"),
        names(aux_lang, "--aux-lang"),
        limit=limit,
        shots=shots,
        seed=seed,
        auto=check_aux(aux),
    )
    target = target_language(asked.aux_languages, prompts)
    check_parallel(save_parallel, asked.auto, prompts)
    everything = asked.load()
    location = run_path(out)
    check_output_folder(location, "run.json")
    from crosslatent.cli.models import load_model

    arguments = (model, revision, device, dtype, modules, quantization)
    # Workers load the model themselves; here it may still be wanted for counterparts.
    here = cluster is None or dry_run or (asked.auto and translate_with == SELF)
    loaded = load_model(*arguments) if here else None
    from crosslatent.sweeps import SweepSpec
    from crosslatent.sweeps.run import timed

    spec = SweepSpec(
        components,
        pairs,
        wanted,
        seed=seed,
        max_new_tokens=max_new_tokens,
        score_only=score_only,
        score_options=score_options,
        strength=strength,
        positions=positions,
        exact=exact,
        chat=chat,
        attribution=attribution,
        samples=samples or 0,
        keep_vectors=keep_vectors,
        chat_args=chat_args,
        conditions=tuple(condition or ()),
    )
    # Counterparts are asked for at the time of the run's prompts, too.
    spec = timed(spec, location, new=new)
    maker = CounterpartMaker(
        loaded, translate_with, target, spec.as_chat, translation_cache, device, dtype
    )
    translate = stand_in if dry_run else maker
    questions, failures = asked.prepare(everything, translate if asked.auto else None)
    if save_parallel is not None and not dry_run:
        save(questions, save_parallel)
    # A template ends otherwise, and what an encoder reads is not what is edited.
    alone = not chat and not (loaded is not None and loaded.has_encoder)
    notes = tuple(blank_ends(questions.items)) if alone else ()
    if dry_run:
        for line in notes:
            warn(line)
        _note(questions.items)
        _dry_run(loaded, questions, spec, failures)
        return
    requested = _requested(context) | maker.to_dict()
    with stoppable(), progress(questions.name) as show:
        if cluster is None:
            assert loaded is not None
            from crosslatent.sweeps import run_sweep

            outcome = run_sweep(
                loaded,
                questions,
                spec,
                location,
                progress=show,
                requested=requested,
                failures=failures,
                engine=engine,
                batch_rows=batch_rows,
                new=new,
                strict=strict,
                warned=warn,
            )
        else:
            from crosslatent.cli.models import source_of
            from crosslatent.distributed import Job, run_on_ray

            job = Job(
                source_of(*arguments),
                questions,
                spec,
                str(location.absolute()),
                failures,
                requested,
                engine=engine,
                batch_rows=batch_rows,
            )
            outcome = run_on_ray(
                job,
                cluster,
                progress=show,
                new=new,
                strict=strict,
                slice_rows=slice_rows,
                tell=say,
                warned=warn,
            )
    _note(questions.items)
    report_outcome(outcome, notes)


def _note(items: Sequence[Item]) -> None:
    """Say what the figures of a sweep must be read with."""
    from crosslatent.core import repeats

    for line in (*repeats.notes(items), *not_judged(items)):
        say(f"Note: {line}")


def _requested(context: typer.Context) -> dict[str, Any]:
    """The arguments as given, for run.json; what does not decide a result is left out."""
    aside = {
        "out", "new", "dry_run", "debug", "batch_rows", "save_parallel", "translation_cache",
        "ray", "ray_workers", "ray_gpus", "slice_rows",
    }  # fmt: skip
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name not in aside
    }


def _check_names(
    components: tuple[str, ...],
    controls: tuple[str, ...],
    pairs: str | None,
    conditions: Sequence[str],
) -> None:
    """What can be refused before a large model is loaded."""
    for name in components:
        check_component(name)
    check_controls(controls)
    if conditions:
        from crosslatent.interventions.conditions import check_texts

        check_texts(conditions)
    if pairs is not None and pairs.startswith("preset:"):
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
