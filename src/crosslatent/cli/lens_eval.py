"""``crosslatent lens eval``: a model before and after, in pairs, on any task."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.cli.asked_questions import load_questions
from crosslatent.cli.lens_texts import EvaluatedSettings, divergence_texts
from crosslatent.core.costs import duration
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import Panel, needed, path, repeated, switch
from crosslatent.lens.lens_settings import EvaluationSpec

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.lens.evaluation.evaluated_conditions import Condition
    from crosslatent.lens.evaluation.evaluation_record import ConditionResult, Evaluation
    from crosslatent.stats import Estimate
    from crosslatent.tasks import Task

NOT_MEASURED = "not measured"
_WIDTH = 190
"""Columns that the table needs to stand on single lines."""


class ConditionSettings(TypedDict, total=False):
    """What the model is compared under."""

    tuned: Annotated[
        list[str],
        repeated(
            "A trained model or adapter; NAME:LANG=DIR for one of several, each for a "
            "language. Can be repeated.",
            "NAME=DIR",
            panel=Panel.CONDITIONS,
        ),
    ]
    space: Annotated[
        Path | None,
        path("Language subspaces of the model, for --steer.", "SPACE", panel=Panel.CONDITIONS),
    ]
    steer: Annotated[
        list[str],
        repeated(
            "Steering towards the question's language, in LAYER (or several, by commas); "
            "with ':agnostic' after it, of the shared part towards the central language.",
            "NAME=LAYER:ALPHA",
            panel=Panel.CONDITIONS,
        ),
    ]
    transplant: Annotated[
        list[str],
        repeated(
            "A transplant from the counterpart, such as ffn:0:0; NAME=C:I:J.",
            "C:I:J",
            panel=Panel.CONDITIONS,
        ),
    ]
    condition: Annotated[
        list[str],
        repeated(
            "An intervention that is the same for all questions, such as "
            "ablate:heads:2:0,3 or ablate:neurons:each:all. Repeat for more.",
            "[NAME=]KIND:...",
            panel=Panel.CONDITIONS,
            rare=True,
        ),
    ]
    combine: Annotated[
        list[str],
        repeated(
            "The steering S and the transplant T at once.",
            "NAME=S+T",
            panel=Panel.CONDITIONS,
            rare=True,
        ),
    ]


@options.command
def evaluate(
    model: options.PlainModelSettings,
    out: Annotated[
        Path,
        needed(
            "Folder for answers and report; new.",
            "DIR",
            panel=Panel.OUTPUT,
        ),
    ],
    under: ConditionSettings,
    asked: EvaluatedSettings,
    spec: EvaluationSpec,
    new: Annotated[
        bool,
        switch("Replace an evaluation that is there.", panel=Panel.OUTPUT, rare=True),
    ],
    json: options.JsonOption,
) -> None:
    """Compare a model with trained, steered or otherwise changed versions of itself."""
    need("lens")
    options.check_model(model)
    from crosslatent.lens.evaluation.evaluation_record import EVALUATION_FILE

    options.check_chat(spec)
    options.check_seed(spec)
    conditions = _conditions(under)
    everything = _load(asked, transplants=bool(under["transplant"]))
    chosen = everything.select(splits=asked["split"] or None, limit=asked["limit"])
    terminal.check_output_folder(out, EVALUATION_FILE, keep="" if new else "an evaluation")
    spec["central"] = central = _central(conditions, spec["central"])
    options.quiet()
    seen = _seen(model["model"], conditions)
    texts, note = divergence_texts(everything, chosen, central, asked, seen)
    loaded = options.load_model(model)
    from crosslatent.lens.evaluation.evaluating import evaluate as run

    under_all = [*conditions, *under["condition"]]
    with options.warnings_in_one_line(), terminal.progresses() as show:
        evaluation = run(
            loaded, under_all, chosen, central_texts=texts, notes=[note], progress=show, **spec
        )
    evaluation.save(out)
    from crosslatent.report.lens import write_evaluation_report

    files = write_evaluation_report(evaluation, out)
    _tell(evaluation)
    if json:
        written = [str(file) for file in files]
        terminal.print_json({"out": str(out), **evaluation.to_json(), "files": written})
    else:
        print_evaluation(evaluation)
        print(out)


def _conditions(under: ConditionSettings) -> "list[Condition]":
    """The conditions as they were given, those that combine others last."""
    from crosslatent.lens.evaluation import evaluated_conditions
    from crosslatent.lens.space import load_space

    space = under["space"]
    models = evaluated_conditions.parse_tuned(under["tuned"])
    for one in models:
        evaluated_conditions.check_folders(one)
    conditions: list[Condition] = [*models]
    if under["steer"]:
        if space is None:
            raise UsageError(
                "--steer needs the model's language subspaces: give --space with the folder that "
                "`crosslatent lens probe` wrote."
            )
        known = load_space(space)
        conditions += [evaluated_conditions.parse_steer(text, known) for text in under["steer"]]
    elif space is not None:
        raise UsageError(f"--space is {str(space)!r}, but nothing is steered: give --steer too.")
    conditions += [evaluated_conditions.parse_transplant(text) for text in under["transplant"]]
    conditions += [
        evaluated_conditions.parse_combined(text, tuple(conditions)) for text in under["combine"]
    ]
    if conditions or not under["condition"]:
        evaluated_conditions.check_conditions(conditions)
    if under["condition"]:
        from crosslatent.interventions.condition import check_texts

        check_texts(under["condition"])
    return conditions


def _load(asked: EvaluatedSettings, *, transplants: bool) -> "Task":
    """The task; without counterparts where it has none and none is needed."""
    try:
        return load_questions(asked)
    except TaskError as error:
        if transplants:
            raise
        try:
            loaded = load_questions(asked, auto=True)
        except TaskError:
            raise error from None
    terminal.warn("the task has no counterparts, so nothing is said about the central language.")
    return loaded


def _central(conditions: "list[Condition]", asked: str | None) -> str:
    from crosslatent.core.languages import ENGLISH
    from crosslatent.lens.evaluation.evaluated_conditions import steered_of

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


def _tell(evaluation: "Evaluation") -> None:
    for name, reason in evaluation.failures.items():
        terminal.warn(f"item {name!r} was left out: {reason}")
    seconds = sum(condition.seconds for condition in evaluation.conditions)
    terminal.say(
        f"{len(evaluation.rows):,} answers under {len(evaluation.conditions)} conditions; "
        f"{duration(seconds)} for the questions themselves."
    )


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print both tables, and what must be known to read them."""
    _overview(evaluation)
    if len(evaluation.languages) > 1:
        terminal.print_text("")
        _by_language(evaluation)
    for line in _legend(evaluation):
        terminal.print_text(line, style="dim")


def _overview(evaluation: "Evaluation") -> None:
    from crosslatent.lens.evaluation.evaluation_record import ALL

    central = evaluation.central
    head = ["condition", "target", "change", "p", central, "change", "KL", "fidelity"]
    optional = ["change", "trained on"]
    rows = []
    for one in evaluation.conditions:
        missing = evaluation.missing(one)
        rows.append(
            [
                one.name,
                _share(one.accuracy.get(ALL), ALL in missing),
                _change(one.change.get(ALL)),
                _p_value(one, ALL),
                _share(one.accuracy.get(central), central in missing),
                _change(one.change.get(central)),
                NOT_MEASURED if "kl" in missing else _divergence(one.kl),
                _share(one.fidelity.get(ALL)),
                _change(one.fidelity_change.get(ALL)),
                _trained(one, central),
            ]
        )
    # Where no answer's language can be identified, a column for its change would be empty.
    kept = [k for k in range(len(rows[0])) if k < len(head) or any(row[k] for row in rows)]
    head += optional
    _print([head[k] for k in kept], [[row[k] for k in kept] for row in rows])


def _print(head: list[str], rows: list[list[str]]) -> None:
    terminal.print_table(head, rows, right=head[1:], whole=head[:1], width=_WIDTH)


def _trained(one: "ConditionResult", central: str) -> str:
    """How many questions and texts were trained on, if any, or that it is not known."""
    from crosslatent.lens.evaluation.evaluation_record import ALL
    from crosslatent.report.lens.evaluation_words import is_unknown

    counted = {
        "target": one.trained_on.get(ALL),
        central: one.trained_on.get(central),
        "KL": one.kl_trained_on,
    }
    found = [f"{what} {n}" for what, n in counted.items() if n is not None and n.n]
    return "; ".join([*found, *(["not known"] if is_unknown(one) else [])])


def _by_language(evaluation: "Evaluation") -> None:
    rows = []
    for one in evaluation.conditions:
        cells = [one.name]
        for lang in evaluation.languages:
            share = _share(one.accuracy.get(lang), lang in evaluation.missing(one))
            text = f"{share} {_change(one.change.get(lang))}".strip()
            seen = one.trained_on.get(lang)
            cells.append(f"{text} ({seen} trained on)" if seen is not None and seen.n else text)
        rows.append(cells)
    _print(["condition", *evaluation.languages], rows)


def _legend(evaluation: "Evaluation") -> list[str]:
    asked = ", ".join(f"{lang} {n:,}" for lang, n in evaluation.questions.items())
    meaning = (
        f"Questions: {asked}; judged by the rule {evaluation.rule}. change: percentage points "
        "against the unmodified model, with 95 % intervals over facts; p: exchanging the two in "
        "whole facts, not corrected for the number of conditions; "
        f"{evaluation.central}: the central language; KL: nats per token; fidelity: answers in the "
        "language of the question, of those whose language can be identified, and their change."
    )
    lines = [meaning, *evaluation.notes]
    notes = dict.fromkeys(note for one in evaluation.conditions for note in one.notes)
    for note in notes:
        having = ", ".join(one.name for one in evaluation.conditions if note in one.notes)
        lines.append(f"{having}: {note}")
    return lines


def _share(found: "Estimate | None", missing: bool = False) -> str:
    from crosslatent.report import formatting

    if missing:
        return NOT_MEASURED
    return formatting.percent(None if found is None else found.value)


def _change(found: "Estimate | None") -> str:
    from crosslatent.report import formatting

    if found is None or found.value is None:
        return ""
    if found.low is None:
        return formatting.points(found.value)
    return f"{formatting.points(found.value)} [{formatting.interval(found, difference=True)}]"


def _p_value(one: "ConditionResult", key: str) -> str:
    from crosslatent.report import formatting

    return "" if key not in one.p_value else formatting.p_value(one.p_value[key])


def _divergence(found: "Estimate | None") -> str:
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return _nats(found.value)
    return f"{_nats(found.value)} [{_nats(found.low)}, {_nats(found.high)}]"


def _nats(value: float) -> str:
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}"
