"""``crosslatent lens probe``: the language subspaces of a model, from texts, into a folder."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from crosslatent.cli.errors import say, warn
from crosslatent.cli.options import (
    DebugOption,
    JsonOption,
    PlainModelSettings,
    check_chat,
    command,
)
from crosslatent.cli.output import check_output_folder, console, print_json, print_text
from crosslatent.cli.progress import duration, progress
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.settings import Setting, names, positive
from crosslatent.lens.probing.probe_spec import ProbeSpec

_WIDTH = 100
"""Columns that the table of layers needs to stand on single lines."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crosslatent.lens.space import Space
    from crosslatent.lens.texts.streams import TextStream
    from crosslatent.model import Model
    from crosslatent.tasks import Task


class ProbedTexts(TypedDict, total=False):
    """Which texts are read."""

    data: Annotated[
        Path | None,
        Setting(
            help="Texts: JSON Lines, JSON, or a folder of sw.txt; with --task, its data folder.",
            metavar="FILE|DIR",
            read=Path,
        ),
    ]
    task: Annotated[
        str | None, Setting(help="Instead: the prompts of a task.", metavar="NAME|FILE")
    ]
    split: Annotated[
        tuple[str, ...],
        Setting(help="Splits of the task; all by default.", default=(), metavar="S,S", read=names),
    ]
    langs: Annotated[
        tuple[str, ...],
        Setting(
            help="Languages; those of the task by default.",
            default=(),
            metavar="L,L",
            flags=("--langs", "--lang"),
            read=names,
        ),
    ]
    field: Annotated[
        str | None,
        Setting(help="Field of a text, such as input_{lang}; found by default.", metavar="NAME"),
    ]
    limit: Annotated[
        int | None,
        Setting(help="The first N texts of each language.", metavar="N", read=positive),
    ]


@command
def probe(
    model: PlainModelSettings,
    out: Annotated[Path, typer.Option(metavar="SPACE", help="Folder for the subspaces; new.")],
    texts: ProbedTexts,
    spec: ProbeSpec,
    new: Annotated[bool, typer.Option("--new", help="Replace a space that is there.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what languages share in a model's states, and where they differ, layer by layer."""
    from crosslatent.lens.probing.probe_spec import check_enough, check_pooling, check_probe

    check_chat(spec["chat_args"] or {}, chat=spec["chat"])
    check_pooling(spec["pooling"])
    if spec["seed"] < 0:
        raise UsageError(f"--seed is {spec['seed']}, but a seed is a whole number of 0 or more.")
    if texts["langs"]:
        check_probe(spec, texts["langs"])
    _check_out(out, new=new)
    source = None if texts["task"] is None else _read_task(texts["task"], texts)
    stream = _file_texts(texts) if source is None else _task_texts(source, texts, spec["central"])
    check_probe(spec, stream.languages)
    check_enough(stream.survey().texts)
    from crosslatent.cli.models import load_model

    loaded = load_model(**model)
    space = _probe(loaded, stream, spec, source)
    space = replace(space, record=replace(space.record, command=_command()))
    space.save(out)
    from crosslatent.report.lens import write_probe_report

    files = write_probe_report(space, out)
    _tell(space, stream)
    if json:
        print_json(_plain(space, out, files))
    else:
        _print(space)
        print(out)


def _check_out(out: Path, *, new: bool) -> None:
    from crosslatent.lens.space import MARKER

    check_output_folder(out, MARKER)
    if (out / MARKER).exists() and not new:
        raise RunFolderError(
            f"{str(out)!r} holds language subspaces already: give another folder, or replace them "
            "with --new."
        )


def _file_texts(texts: ProbedTexts) -> "TextStream":
    from crosslatent.lens.texts.streams import read_texts

    data, split = texts["data"], texts["split"]
    if data is None:
        raise UsageError("Texts come from --data or --task, and neither is given: give one.")
    if split:
        raise UsageError(
            f"--split is {','.join(split)!r}, but only a task has splits: give --task too."
        )
    if not texts["langs"]:
        raise UsageError(
            f"--langs is missing: name the languages of {str(data)!r} to read, such as --langs "
            "en,sw."
        )
    return read_texts(data, texts["langs"], field=texts["field"], limit=texts["limit"])


def _read_task(name: str, texts: ProbedTexts) -> "Task":
    from crosslatent.core.languages import ENGLISH
    from crosslatent.tasks import load_task

    field = texts["field"]
    if field is not None:
        raise UsageError(f"--field is {field!r}, but a task has no fields to name: leave it out.")
    # English is the other side of nearly every task, and no language to choose questions by.
    mains = [lang for lang in texts["langs"] if lang != ENGLISH]
    task = load_task(name, data=texts["data"], languages=mains or None)
    return task.select(splits=texts["split"]) if texts["split"] else task


def _task_texts(task: "Task", texts: ProbedTexts, central: str) -> "TextStream":
    from crosslatent.lens.texts.streams import texts_of_items

    there = (*task.languages, *task.aux_languages)
    first = [central] if central in there else []
    languages = texts["langs"] or tuple(dict.fromkeys([*first, *there]))
    return texts_of_items(task.items, languages, limit=texts["limit"])


def _probe(model: "Model", stream: "TextStream", spec: ProbeSpec, task: "Task | None") -> "Space":
    from crosslatent.lens.probing.run import probe
    from crosslatent.sweeps.bookkeeping import Progress

    started, total = time.monotonic(), stream.texts.total()
    with progress("texts") as show:

        def tell(done: int) -> None:
            show(Progress("capture", done, total, 0.0, 0, time.monotonic() - started))

        space = probe(model, stream, progress=tell, task=task, **spec)
    say(f"{total:,} texts read in {duration(time.monotonic() - started)}.")
    return space


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _tell(space: "Space", stream: "TextStream") -> None:
    """What was left out, cut or changed."""
    from crosslatent.lens.probing.probe_spec import few_texts

    record = space.record
    _count(warn, record.empty, "texts left out because they are empty")
    _count(warn, record.cut, "texts that were too long, so that only their beginning was read")
    _count(say, stream.stripped, "Texts whose blanks or line breaks at the ends were left out")
    if not any(record.held_out.values()):
        warn("no text was held out, so nothing is said about separability")
    for sentence in few_texts(record):
        warn(sentence)


def _count(tell: "Callable[[str], None]", counts: dict[str, int], what: str) -> None:
    some = {lang: n for lang, n in counts.items() if n}
    if some:
        by_language = ", ".join(f"{lang} {n:,}" for lang, n in some.items())
        tell(f"{what}: {sum(some.values()):,} ({by_language}).")


def _layers(space: "Space") -> "Iterator[dict[str, Any]]":
    """One row a layer, as plain data."""
    by_layer = {one.layer: one for one in space.record.separability}
    for layer, subspace, between in zip(
        space.layers, space.subspaces, space.record.between, strict=True
    ):
        found = by_layer.get(layer)
        yield {
            "layer": layer,
            "between": between,
            "explained": [_number(share) for share in subspace.explained],
            "singular_values": [float(value) for value in subspace.singular_values],
            "linear": asdict(found.linear) if found and found.linear else None,
            "full": asdict(found.full) if found and found.full else None,
            "specific": asdict(found.specific) if found and found.specific else None,
            "largest_angle": _largest(subspace.angles()),
        }


def _largest(angles: Any) -> float | None:
    finite = [float(angle) for angle in angles.ravel() if angle == angle]  # NaN is not itself
    return max(finite, default=None)


def _number(value: float) -> float | None:
    return float(value) if value == value else None


def _plain(space: "Space", out: Path, files: list[Path]) -> dict[str, Any]:
    record = asdict(space.record)
    del record["separability"], record["between"]  # they are given by layer
    return {
        "out": str(out),
        "languages": list(space.languages),
        "central": space.central,
        "rank": space.rank,
        "n_layers": space.n_layers,
        "d_model": space.d_model,
        "chance": 1 / len(space.languages),
        "layers": list(_layers(space)),
        **record,
        "files": [str(file) for file in files],
    }


def _print(space: "Space") -> None:
    from rich.table import Table

    several = len(space.languages) - 1
    # At full rank the differences of the means span the subspace: both rules are then the same.
    lower = space.rank < several
    table = Table(box=None)
    shares = ", ".join(str(k + 1) for k in range(min(several, 3)))
    titles = ["layer", "between", f"by {shares} components", "by linear rule", "by nearest mean"]
    titles += (
        ["in 1 dimension" if space.rank == 1 else f"in {space.rank} dimensions"] if lower else []
    )
    for title in (*titles, "largest angle"):
        table.add_column(title, justify="left" if title == "layer" else "right", no_wrap=True)
    for row in _layers(space):
        cells = [str(row["layer"]), _share(row["between"]), _cumulated(row["explained"][:3])]
        rules = ("linear", "full", "specific") if lower else ("linear", "full")
        cells += [_estimate(row[name]) for name in rules]
        angle = row["largest_angle"]
        table.add_row(*cells, "" if angle is None else f"{angle:.0f}°")
    wide = console()
    wide.width = max(wide.width, _WIDTH)
    wide.print(table)
    for line in _legend(space):
        print_text(line, style="dim")


def _legend(space: "Space") -> "Iterator[str]":
    yield (
        "between: share of the variance of states that lies between the languages' means; by "
        "components: how much of that the first ones of the specific subspace explain."
    )
    if any(space.record.held_out.values()):
        n, chance = sum(space.record.held_out.values()), 1 / len(space.languages)
        yield (
            f"by linear rule: share of {n:,} texts that a linear rule classifies correctly, "
            f"cross-validated; by nearest mean: with means of other texts (chance {chance:.0%}). "
            "95 % intervals."
        )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _cumulated(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return ", ".join(f"{sum(known[: k + 1]):.0%}" for k in range(len(known)))


def _estimate(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return ""
    if found["low"] is None:
        return f"{found['value']:.0%}"
    return f"{found['value']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"
