"""``crosslatent lens eval``: a model before and after, in pairs, on any task."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from crosslatent.cli.errors import say, warn
from crosslatent.cli.lens.evaluation_view import print_evaluation
from crosslatent.cli.options import (
    DebugOption,
    JsonOption,
    PlainModelSettings,
    check_chat,
    command,
)
from crosslatent.cli.output import check_output_folder, print_json
from crosslatent.cli.progress import duration, progresses
from crosslatent.cli.questions import PlainQuestionSettings, Questions
from crosslatent.core.errors import RunFolderError, TaskError, UsageError
from crosslatent.core.settings import Setting, names
from crosslatent.lens.evaluation.evaluation_spec import EvaluationSpec

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.lens.evaluation.conditions import Condition
    from crosslatent.lens.evaluation.results import Evaluation
    from crosslatent.tasks import Task

MOST_TEXTS = 500
"""Prompts of other splits that the divergence is measured on by default."""


class ConditionSettings(TypedDict, total=False):
    """What the model is compared under."""

    tuned: Annotated[
        list[str],
        Setting(
            help="A trained model or adapter; NAME:LANG=DIR for one of several, each for a "
            "language. Can be repeated.",
            default=(),
            metavar="NAME=DIR",
            repeated=True,
        ),
    ]
    space: Annotated[
        Path | None,
        Setting(help="Language subspaces of the model, for --steer.", metavar="SPACE", read=Path),
    ]
    steer: Annotated[
        list[str],
        Setting(
            help="Steering towards the question's language, in LAYER (or several, by commas); "
            "with ':agnostic' after it, of the shared part towards the central language.",
            default=(),
            metavar="NAME=LAYER:ALPHA",
            repeated=True,
        ),
    ]
    transplant: Annotated[
        list[str],
        Setting(
            help="A transplant from the counterpart, such as ffn:0:0; NAME=C:I:J.",
            default=(),
            metavar="C:I:J",
            repeated=True,
        ),
    ]
    condition: Annotated[
        list[str],
        Setting(
            help="An intervention that is the same for all questions, such as "
            "ablate:heads:2:0,3 or ablate:neurons:each:all. Repeat for more.",
            default=(),
            metavar="[NAME=]KIND:...",
            repeated=True,
        ),
    ]
    combine: Annotated[
        list[str],
        Setting(
            help="The steering S and the transplant T at once.",
            default=(),
            metavar="NAME=S+T",
            repeated=True,
        ),
    ]


class EvaluatedSettings(PlainQuestionSettings, total=False):
    """Which questions, and texts for the divergence."""

    split: Annotated[
        tuple[str, ...],
        Setting(
            help="Splits to evaluate on; all by default.", default=(), metavar="S,S", read=names
        ),
    ]
    central_data: Annotated[
        Path | None,
        Setting(
            help="Texts in the central language for the divergence of trained models and of "
            "steering; by default the task's central prompts of other splits.",
            metavar="FILE",
            read=Path,
        ),
    ]
    field: Annotated[
        str | None,
        Setting(help="Field of a text in --central-data; found by default.", metavar="NAME"),
    ]


@command
def evaluate(
    model: PlainModelSettings,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for answers and report; new.")],
    under: ConditionSettings,
    asked: EvaluatedSettings,
    spec: EvaluationSpec,
    new: Annotated[
        bool, typer.Option("--new", help="Replace an evaluation that is there.")
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a model with trained, steered or otherwise changed versions of itself."""
    check_chat(spec["chat_args"] or {}, chat=spec["chat"])
    if spec["seed"] < 0:
        raise UsageError(f"--seed is {spec['seed']}, but a seed is a whole number of 0 or more.")
    conditions = _conditions(under)
    everything = _load(Questions(asked), transplants=bool(under["transplant"]))
    chosen = everything.select(splits=asked["split"] or None, limit=asked["limit"])
    _check_out(out, new=new)
    spec["central"] = central = _central(conditions, spec["central"])
    from crosslatent.cli.models import load_model, quiet, warnings_in_one_line

    quiet()
    seen = _seen(model["model"], conditions)
    texts, note = _texts(everything, chosen, central, asked, seen)
    loaded = load_model(**model)
    from crosslatent.lens.evaluation.run import evaluate as run

    under_all = [*conditions, *under["condition"]]
    with warnings_in_one_line(), progresses() as show:
        evaluation = run(
            loaded, under_all, chosen, central_texts=texts, notes=[note], progress=show, **spec
        )
    evaluation.save(out)
    from crosslatent.report.lens import write_evaluation_report

    files = write_evaluation_report(evaluation, out)
    _tell(evaluation)
    if json:
        written = [str(file) for file in files]
        print_json({"out": str(out), **evaluation.to_json(), "files": written})
    else:
        print_evaluation(evaluation)
        print(out)


def _conditions(under: ConditionSettings) -> "list[Condition]":
    """The conditions as they were given, those that combine others last."""
    from crosslatent.lens.evaluation.conditions import check_conditions, check_folders
    from crosslatent.lens.evaluation.parsing import (
        parse_combined,
        parse_steer,
        parse_transplant,
        parse_tuned,
    )
    from crosslatent.lens.space import load_space

    space = under["space"]
    models = parse_tuned(under["tuned"])
    for one in models:
        check_folders(one)
    conditions: list[Condition] = [*models]
    if under["steer"]:
        if space is None:
            raise UsageError(
                "--steer needs the model's language subspaces: give --space with the folder that "
                "`crosslatent lens probe` wrote."
            )
        known = load_space(space)
        conditions += [parse_steer(text, known) for text in under["steer"]]
    elif space is not None:
        raise UsageError(f"--space is {str(space)!r}, but nothing is steered: give --steer too.")
    conditions += [parse_transplant(text) for text in under["transplant"]]
    conditions += [parse_combined(text, tuple(conditions)) for text in under["combine"]]
    if conditions or not under["condition"]:
        check_conditions(conditions)
    if under["condition"]:
        from crosslatent.interventions.condition import check_texts

        check_texts(under["condition"])
    return conditions


def _load(asked: Questions, *, transplants: bool) -> "Task":
    """The task; without counterparts where it has none and none is needed."""
    from dataclasses import replace

    try:
        return asked.load()
    except TaskError:
        if transplants:
            raise
        try:
            loaded = replace(asked, auto=True).load()
        except TaskError:
            loaded = None
        if loaded is None:
            raise
    warn("the task has no counterparts, so nothing is said about the central language.")
    return loaded


def _check_out(out: Path, *, new: bool) -> None:
    from crosslatent.lens.evaluation.results import EVALUATION_FILE

    check_output_folder(out, EVALUATION_FILE)
    if (out / EVALUATION_FILE).exists() and not new:
        raise RunFolderError(
            f"{str(out)!r} holds an evaluation already: give another folder, or replace it with "
            "--new."
        )


def _central(conditions: "list[Condition]", asked: str | None) -> str:
    from crosslatent.core.languages import ENGLISH
    from crosslatent.lens.evaluation.conditions import steered_of

    if asked is not None:
        return asked
    steerings = [one for one in map(steered_of, conditions) if one is not None]
    return steerings[0].space.central if steerings else ENGLISH


def _seen(model: str, conditions: "list[Condition]") -> "list[Seen | None]":
    """What each part of the conditions was fitted on."""
    from crosslatent.lens.evaluation.exposure import seen_of
    from crosslatent.model.loading import seen_by

    base = seen_by(model)
    return [seen for one in conditions for _, seen in seen_of(one, base)]


def _texts(
    everything: "Task",
    chosen: "Task",
    central: str,
    asked: EvaluatedSettings,
    seen: "list[Seen | None]",
) -> tuple[list[str], str]:
    """Held-out texts in the central language, and a sentence that says what they are."""
    from crosslatent.lens.texts.central import read_central

    path, field = asked["central_data"], asked["field"]
    if path is not None:
        texts = read_central(path, central, field=field)
        return texts, f"The divergence is measured on the {len(texts):,} texts of {path}."
    if field is not None:
        raise UsageError(f"--field is {field!r}, but there is no file: give --central-data too.")
    return _prompts_elsewhere(everything, chosen, central, seen)


def _prompts_elsewhere(
    everything: "Task", chosen: "Task", central: str, seen: "list[Seen | None]"
) -> tuple[list[str], str]:
    """Central prompts of splits that are not evaluated, without those that were trained on."""
    from crosslatent.lens.evaluation.asking import central_prompts
    from crosslatent.lens.evaluation.exposure import unseen
    from crosslatent.tasks.shots import PILOT

    others = [name for name in everything.splits if name not in chosen.splits]
    # Training takes the pilot split by default: its prompts are held out for no model.
    others = [name for name in others if name != PILOT] or others
    if not others:
        return [], _no_texts("")
    shown = set(central_prompts(chosen.items, central))
    found = central_prompts(everything.select(splits=others).items, central)
    there = [text for text in found if text not in shown]
    texts = unseen(there, seen)
    if not texts:
        return [], _no_texts(" that were not trained on" if there else "")
    unknown = PILOT in others and not all(one is not None and one.complete for one in seen)
    left = len(there) - len(texts)
    caveats = ", which training may have seen" if unknown else ""
    caveats += f", without {left:,} that were trained on" if left else ""
    few = f", the first {MOST_TEXTS} of them" if len(texts) > MOST_TEXTS else ""
    return texts[:MOST_TEXTS], (
        f"The divergence is measured on the task's central prompts of {', '.join(others)}"
        f"{caveats}{few}."
    )


def _no_texts(which: str) -> str:
    return (
        f"The task has no central prompts in other splits{which}, so there is no divergence "
        "(--central-data)."
    )


def _tell(evaluation: "Evaluation") -> None:
    for name, reason in evaluation.failures.items():
        warn(f"item {name!r} was left out: {reason}")
    seconds = sum(condition.seconds for condition in evaluation.conditions)
    say(
        f"{len(evaluation.rows):,} answers under {len(evaluation.conditions)} conditions; "
        f"{duration(seconds)} for the questions themselves."
    )
