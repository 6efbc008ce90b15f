"""What ``crosslatent lens train`` reads from its options, and what it shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.cli.errors import say, warn
from crosslatent.cli.output import console, print_json
from crosslatent.cli.progress import duration

if TYPE_CHECKING:
    from crosslatent.lens.training.execution import Trained
    from crosslatent.lens.training.loop import TrainProgress
    from crosslatent.lens.training.record import CurvePoint, TrainRecord

_SECONDS_PER_LINE = 15.0
_MOST_LOST = 0.1
_WHAT = {"trunk": "texts", "train": "steps"}


@contextmanager
def show_training(*, quiet: bool) -> Iterator[Callable[[TrainProgress], None]]:
    """Yield what shows how far training is: a bar on a terminal, else a line now and then."""
    if quiet or not sys.stderr.isatty():
        yield _Lines(quiet)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(state: TrainProgress) -> None:
            if state.stage not in tasks:
                tasks[state.stage] = bars.add_task(state.stage, total=1.0, pace="")
            share = state.done / max(state.total, 1)
            bars.update(tasks[state.stage], completed=share, pace=_pace(state))

        yield show


@dataclass(slots=True)
class _Lines:
    """Progress as a line of text every now and then."""

    quiet: bool
    _shown: dict[str, float] = field(default_factory=dict)

    def __call__(self, state: TrainProgress) -> None:
        if not self.quiet and state.seconds - self._shown.get(state.stage, 0) >= _SECONDS_PER_LINE:
            self._shown[state.stage] = state.seconds
            say(f"{state.stage}: {_pace(state)}")


def _pace(state: TrainProgress) -> str:
    share = state.done / max(state.total, 1)
    left = duration(state.seconds / share * (1 - share)) if share else "some time"
    loss = "" if state.loss is None else f"loss {state.loss:.4g}, "
    return f"{state.done:,} of {state.total:,} {_WHAT[state.stage]}, {loss}{left} left"


def tell(trained: Trained, out: Path, files: list[Path], *, json: bool) -> None:
    """Say what was left out, how the losses went, and where things are."""
    record = trained.record
    if record.rows["left_out"]:
        warn(f"{record.rows['left_out']:,} rows lack a text or an answer and were left out")
    for lang, count in record.cut.items():
        if count:
            limit = record.spec["max_tokens"]
            warn(f"{count:,} texts in {lang} were longer than {limit} tokens and lost their end")
    if trained.resumed_at is None:
        say("This training was finished already; --new starts it over.")
    elif trained.resumed_at:
        say(f"Went on from step {trained.resumed_at:,}.")
    if record.not_adapted:
        warn(
            f"{record.not_adapted:,} matrices of these blocks are no linear layers (such as "
            "experts held in one tensor): they have no adapters and stay as they were"
        )
    say(_summary(record))
    _tell_saved(record)
    if json:
        print_json(_plain(record, out, files))
        return
    _print_curve(record)
    print(out)


def _tell_saved(record: TrainRecord) -> None:
    """In what the model was saved, and what that did to it."""
    if not record.saved:
        return
    dtype, loss, lost = (record.saved[name] for name in ("dtype", "loss", "lost"))
    held_out = "" if loss is None else f", with a loss of {loss:.4g} on held-out rows"
    say(f"Saved in {dtype}{held_out}.")
    if lost > _MOST_LOST:
        warn(
            f"{lost:.0%} of what training changed was lost by rounding to {dtype}: "
            "--save-dtype float32 keeps it"
        )


def _summary(record: TrainRecord) -> str:
    share = record.parameters / max(record.total_parameters, 1)
    steps = f"{record.steps:,} steps in {duration(record.seconds.get('train', 0.0))}"
    trunk = record.trunk
    reused = f", {trunk['reused']:,} of them reused" if trunk.get("reused") else ""
    return (
        f"{record.parameters:,} parameters ({share:.1%}) of blocks "
        f"{', '.join(map(str, record.blocks))}: {steps}, after "
        f"{duration(record.seconds.get('trunk', 0.0))} for {trunk.get('texts', 0):,} texts below "
        f"them{reused}; {_stopped(record)}."
    )


def _stopped(record: TrainRecord) -> str:
    if record.stopped == "early":
        return f"stopped early, with the weights of step {record.best_step}"
    return record.stopped


def _print_curve(record: TrainRecord) -> None:
    """The losses before and after, on held-out rows if there are any."""
    from rich.table import Table

    points = record.points("held_out") or record.points("train")
    if not points:
        return
    ends = [points[0]] if len(points) == 1 else [points[0], points[-1]]
    ends += [p for p in points if p.step == record.best_step and p not in ends]
    table = Table(box=None)
    table.add_column("rows")
    for name in ("step", "loss", *points[0].terms):
        table.add_column(name, justify="right")
    for point in sorted(ends, key=lambda point: point.step):
        table.add_row(*_cells(point, best=point.step == record.best_step))
    console().print(table)


def _cells(point: CurvePoint, *, best: bool) -> list[str]:
    rows = "held out" if point.split == "held_out" else "training"
    values = (point.loss, *point.terms.values())
    return [rows + (" (best)" if best else ""), f"{point.step:,}", *map(_number, values)]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _plain(record: TrainRecord, out: Path, files: list[Path]) -> dict[str, Any]:
    held_out: list[Mapping[str, Any]] = [asdict(point) for point in record.points("held_out")]
    return {
        **record.to_dict(),
        "held_out": held_out,
        "out": str(out),
        "files": [str(file) for file in files],
    }
