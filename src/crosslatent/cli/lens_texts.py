"""Texts that the commands of ``crosslatent lens`` read: of files, or of tasks."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.cli.asked_questions import PlainQuestionSettings
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Panel, Setting, count, path, several

if TYPE_CHECKING:
    from crosslatent.core.seen import Seen
    from crosslatent.lens.space import Space
    from crosslatent.lens.text_streams import ParallelRows, TextStream
    from crosslatent.tasks import Item, Task

_PILOT = "pilot"
LENS, ANSWERS = "lens", "answers"
MOST_TEXTS = 500
"""Prompts of other splits that the divergence is measured on by default."""


class _Texts(TypedDict, total=False):
    data: Annotated[
        Path | None,
        path(
            "Texts: JSON Lines, JSON, or a folder of sw.txt; with --task, its data folder.",
            "FILE|DIR",
            panel=Panel.TEXTS,
        ),
    ]
    task: Annotated[
        str | None, Setting("Instead: the questions of a task.", "NAME|FILE", panel=Panel.TEXTS)
    ]
    field: Annotated[
        str | None,
        Setting(
            "Field of a text, such as input_{lang}; found by default.",
            "NAME",
            panel=Panel.TEXTS,
            rare=True,
        ),
    ]
    limit: Annotated[
        int | None, count("The first N rows, or texts or items a language.", "N", panel=Panel.TEXTS)
    ]


class ProbedTexts(_Texts, total=False):
    """Which texts are read."""

    split: Annotated[
        tuple[str, ...], several("Splits of the task; all by default.", "S,S", panel=Panel.TEXTS)
    ]
    langs: Annotated[
        tuple[str, ...],
        several(
            "Languages; those of the task by default.",
            "L,L",
            flags=("--langs", "--lang"),
            panel=Panel.TEXTS,
        ),
    ]


class TrainingTexts(_Texts, total=False):
    """What is trained on."""

    space: Annotated[
        Path | None,
        path("Language subspaces, from 'crosslatent lens probe'.", "SPACE", panel=Panel.TEXTS),
    ]
    split: Annotated[
        tuple[str, ...],
        several(
            "Splits of the task; pilot by default, if it has one.",
            "S,S",
            panel=Panel.TEXTS,
            rare=True,
        ),
    ]
    langs: Annotated[
        tuple[str, ...],
        several(
            "Target languages; the task's by default.",
            "L,L",
            flags=("--langs", "--lang"),
            panel=Panel.TEXTS,
            rare=True,
        ),
    ]
    central: Annotated[
        str,
        Setting(
            "The language that is kept as it is.", "L", default="en", panel=Panel.TEXTS, rare=True
        ),
    ]
    objective: Annotated[
        str,
        Setting(
            "Subspaces, or a task's gold answers (xSFT).",
            "lens|answers",
            default=LENS,
            panel=Panel.TRAINING,
        ),
    ]


class EvaluatedSettings(PlainQuestionSettings, total=False):
    """Which questions, and texts for the divergence."""

    split: Annotated[
        tuple[str, ...],
        several("Splits to evaluate on; all by default.", "S,S", panel=Panel.QUESTIONS),
    ]
    central_data: Annotated[
        Path | None,
        path(
            "Texts in the central language for the divergence of trained models and of "
            "steering; by default the task's central prompts of other splits.",
            "FILE",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]
    field: Annotated[
        str | None,
        Setting(
            "Field of a text in --central-data; found by default.",
            "NAME",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]


def read_task(texts: ProbedTexts | TrainingTexts, central: str) -> "Task | None":
    """The questions of a task in the languages that are asked for; None if there is no task.

    Args:
        texts: which task.
        central: the other side of the questions, and no language to choose them by.

    Raises:
        UsageError: a field is named, which only files have.
        TaskError: see `crosslatent.tasks.load_task`.
    """
    from crosslatent.tasks import load_task

    name, field = texts["task"], texts["field"]
    if name is None:
        return None
    if field is not None:
        raise UsageError(f"--field is {field!r}, but a task has no fields to name: leave it out.")
    chosen = [lang for lang in texts["langs"] if lang != central]
    return load_task(name, data=texts["data"], languages=chosen or None)


def _check_files(texts: Mapping[str, Any], what: str, missing: str) -> Path:
    """The files to read, where no task is given."""
    if texts["data"] is None:
        raise UsageError(f"{what} come from --data or --task, and neither is given: give one.")
    if texts["split"]:
        raise UsageError(
            f"--split is {','.join(texts['split'])!r}, but only a task has splits: give --task too."
        )
    if not texts["langs"]:
        wanted = missing.format(repr(str(texts["data"])))
        raise UsageError(f"--langs is missing: name the {wanted}.")
    return Path(texts["data"])


def text_stream(task: "Task | None", texts: ProbedTexts, central: str) -> "TextStream":
    """Texts by language: the prompts of a task, or those of files."""
    from crosslatent.lens.text_streams import read_texts, texts_of_items

    if task is None:
        data = _check_files(texts, "Texts", "languages of {} to read, such as --langs en,sw")
        return read_texts(data, texts["langs"], field=texts["field"], limit=texts["limit"])
    known = (*task.languages, *task.aux_languages)
    first = [central] if central in known else []
    languages = texts["langs"] or tuple(dict.fromkeys([*first, *known]))
    return texts_of_items(task.items, languages, limit=texts["limit"])


def read_space(texts: TrainingTexts) -> "Space | None":
    """The subspaces, which must have the languages; None if none are asked for."""
    from crosslatent.lens.compatibility import check_languages
    from crosslatent.lens.space import load_space

    if texts["space"] is None:
        return None
    space = load_space(texts["space"])
    if texts["langs"]:
        check_languages(space, texts["central"], texts["langs"])
    return space


def read_questions(texts: TrainingTexts) -> "Task | None":
    """The task's questions to train on; None if no task is asked for."""
    task = read_task(texts, texts["central"])
    if task is None:
        return None
    splits = texts["split"]
    if not splits and any(item.split == _PILOT for item in task.items):
        splits = (_PILOT,)
    return task.select(splits=splits or None, limit=texts["limit"])


def read_rows(task: "Task | None", texts: TrainingTexts) -> "ParallelRows":
    """Parallel texts: of a task's questions, or of files."""
    from crosslatent.lens.text_streams import ParallelRows, parallel_of_items, read_parallel

    if task is not None:
        return ParallelRows(parallel_of_items(task.items))
    data = _check_files(texts, "Parallel texts", "target languages of {}, such as --langs sw")
    rows = read_parallel(data, texts["langs"], texts["central"], field=texts["field"])
    first = ParallelRows(rows[: texts["limit"]])
    first.left_out = rows.left_out
    return first


def groups_of(rows: "ParallelRows", items: "Sequence[Item]") -> list[str]:
    """The fact that each row asks; rows of one fact are held out together, as its answers are."""
    cluster: dict[tuple[str, str], str] = {}
    for item in items:
        cluster.setdefault((item.lang, item.main), item.cluster)
        if item.aux:
            cluster.setdefault((item.aux_lang, item.aux), item.cluster)
    return [next(cluster[text] for text in row.items() if text in cluster) for row in rows]


def divergence_texts(
    everything: "Task",
    chosen: "Task",
    central: str,
    asked: EvaluatedSettings,
    seen: "list[Seen | None]",
) -> tuple[list[str], str]:
    """Held-out texts in the central language, and a sentence that says what they are."""
    from crosslatent.lens.text_streams import read_central

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
    from crosslatent.tasks.task import PILOT

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
