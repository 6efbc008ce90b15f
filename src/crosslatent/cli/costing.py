"""``crosslatent overhead``: what transplants, steering and choosing cost beside the model."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.core.imports import need
from crosslatent.core.settings import Panel, Setting, path
from crosslatent.studies.overhead_settings import MARKER, OverheadSettings

if TYPE_CHECKING:
    from crosslatent.studies.overhead_record import Overhead


@options.command
def overhead(
    model: Annotated[str | None, Setting(options.MODEL_HELP, "MODEL", panel=Panel.MODEL)],
    asked: OverheadSettings,
    loading: options.ModuleSettings,
    out: Annotated[
        Path | None,
        path("Folder for overhead.html, overhead.json and figures.", "DIR", panel=Panel.OUTPUT),
    ],
    json: options.JsonOption,
) -> None:
    """Time ways of answering beside the unmodified model, and count their multiply-adds.

    With --plan, times are computed from published speeds of a machine; nothing is run.
    """
    from crosslatent.studies import overhead_study as study

    if out is not None:
        need("report")
        terminal.check_output_folder(out, MARKER)
    runs = model is not None and asked["plan"] is None and not asked["dry_run"]
    if runs:
        options.check_model({"model": model, **loading})
    study.check_overhead(model, asked)
    loaded = options.load_model({"model": model, **loading}) if runs else model
    found = study.overhead(loaded, progress=terminal.say, **asked)
    files = [] if out is None else _written(found, out)
    if json:
        terminal.print_json({**found.to_dict(), "files": [str(file) for file in files]})
        return
    _print(found)
    for file in files[-1:]:
        terminal.say(f"Page: {file}")


def _written(found: "Overhead", out: Path) -> list[Path]:
    from crosslatent.report.overhead_page import write_overhead

    return write_overhead(found.to_dict(), out)


def _print(found: "Overhead") -> None:
    """Tables for people: one for each length and batch."""
    for title, ways in found.cells():
        print(f"{title} ({found.model}, {found.kind})")
        head, rows = found.table(ways)
        terminal.print_table(head, rows, right=head[1:], whole=head[:1], width=134)
        print()
    for sentence in found.assumptions:
        terminal.print_text(sentence)
