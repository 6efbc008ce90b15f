"""``crosslatent lens probe``: the language subspaces of a model, from texts, into a folder."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.cli.lens_texts import ProbedTexts, read_task, text_stream
from crosslatent.core.costs import duration
from crosslatent.core.imports import need
from crosslatent.core.languages import ENGLISH
from crosslatent.core.settings import Panel, needed, switch
from crosslatent.lens.lens_settings import ProbeSpec

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.text_streams import TextStream
    from crosslatent.model import Model
    from crosslatent.tasks import Task

_WIDTH = 100
"""Columns that the table of layers needs to stand on single lines."""


@options.command
def probe(
    model: options.PlainModelSettings,
    out: Annotated[
        Path,
        needed(
            "Folder for the subspaces; new.",
            "SPACE",
            panel=Panel.OUTPUT,
        ),
    ],
    texts: ProbedTexts,
    spec: ProbeSpec,
    new: Annotated[
        bool,
        switch("Replace a space that is there.", panel=Panel.OUTPUT, rare=True),
    ],
    json: options.JsonOption,
) -> None:
    """Find what languages share in a model's states, and where they differ, layer by layer."""
    need("lens")
    options.check_model(model)
    from crosslatent.lens.lens_settings import check_enough, check_pooling, check_probe
    from crosslatent.lens.space import MARKER

    options.check_chat(spec)
    check_pooling(spec["pooling"])
    options.check_seed(spec)
    if texts["langs"]:
        check_probe(spec, texts["langs"])
    terminal.check_output_folder(out, MARKER, keep="" if new else "language subspaces")
    # English is the other side of nearly every task, and no language to choose questions by.
    task = read_task(texts, ENGLISH)
    if task is not None and texts["split"]:
        task = task.select(splits=texts["split"])
    stream = text_stream(task, texts, spec["central"])
    check_probe(spec, stream.languages)
    check_enough(stream.survey().texts)
    space = _probe(options.load_model(model), stream, spec, task)
    command_line = [Path(sys.argv[0]).name, *sys.argv[1:]]
    space = replace(space, record=replace(space.record, command=command_line))
    space.save(out)
    from crosslatent.report.lens import write_probe_report

    files = write_probe_report(space, out)
    _tell(space, stream)
    if json:
        terminal.print_json(_plain(space, out, files))
    else:
        _print(space)
        print(out)


def _probe(model: "Model", stream: "TextStream", spec: ProbeSpec, task: "Task | None") -> "Space":
    from crosslatent.lens.probing import probe
    from crosslatent.sweeps.bookkeeping import Progress

    started, total = time.monotonic(), stream.texts.total()
    with terminal.progress("texts") as show:

        def tell(done: int) -> None:
            show(Progress("capture", done, total, 0.0, 0, time.monotonic() - started))

        space = probe(model, stream, progress=tell, task=task, **spec)
    terminal.say(f"{total:,} texts read in {duration(time.monotonic() - started)}.")
    return space


def _tell(space: "Space", stream: "TextStream") -> None:
    """What was left out, cut or changed."""
    from crosslatent.lens.lens_settings import few_texts

    record = space.record
    _count(terminal.warn, record.empty, "texts left out because they are empty")
    _count(
        terminal.warn, record.cut, "texts that were too long, so that only their beginning was read"
    )
    _count(
        terminal.say, stream.stripped, "Texts whose blanks or line breaks at the ends were left out"
    )
    if not any(record.held_out.values()):
        terminal.warn("no text was held out, so nothing is said about separability")
    for sentence in few_texts(record):
        terminal.warn(sentence)


def _count(tell: Callable[[str], None], counts: dict[str, int], what: str) -> None:
    some = {lang: n for lang, n in counts.items() if n}
    if some:
        by_language = ", ".join(f"{lang} {n:,}" for lang, n in some.items())
        tell(f"{what}: {sum(some.values()):,} ({by_language}).")


def _layers(space: "Space") -> Iterator[dict[str, Any]]:
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
        **{name: getattr(space, name) for name in ("central", "rank", "n_layers", "d_model")},
        "chance": 1 / len(space.languages),
        "layers": list(_layers(space)),
        **record,
        "files": [str(file) for file in files],
    }


def _print(space: "Space") -> None:
    several = len(space.languages) - 1
    shares = ", ".join(str(k + 1) for k in range(min(several, 3)))
    rules = {"linear": "by linear rule", "full": "by nearest mean"}
    # At full rank the differences of the means span the subspace: both rules are then the same.
    if space.rank < several:
        dimensions = "1 dimension" if space.rank == 1 else f"{space.rank} dimensions"
        rules["specific"] = f"in {dimensions}"
    head = ["layer", "between", f"by {shares} components", *rules.values(), "largest angle"]
    rows = []
    for row in _layers(space):
        angle = row["largest_angle"]
        cells = [str(row["layer"]), _share(row["between"]), _cumulated(row["explained"][:3])]
        cells += [_estimate(row[rule]) for rule in rules]
        rows.append([*cells, "" if angle is None else f"{angle:.0f}°"])
    terminal.print_table(head, rows, right=head[1:], whole=head[:1], width=_WIDTH)
    for line in _legend(space):
        terminal.print_text(line, style="dim")


def _legend(space: "Space") -> Iterator[str]:
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
