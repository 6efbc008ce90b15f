"""``--ray [ADDRESS]``: a sweep on many workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from crosslatent.cli.options import positive
from crosslatent.core.errors import UsageError

if TYPE_CHECKING:
    from crosslatent.distributed import Cluster

_FLAG, _LOCAL = "--ray", "local"


def _gpus(text: str) -> float:
    """GPUs of a worker; parts of one are allowed."""
    try:
        number = float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number.") from error
    if not 0 <= number < float("inf"):
        raise typer.BadParameter(f"{text} GPUs cannot be given: give 0 or more.")
    return number


RayOption = Annotated[
    str | None,
    typer.Option(
        _FLAG,
        metavar="[ADDRESS]",
        help="Run on workers of Ray: on this machine, or on the cluster at ADDRESS.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--ray-workers",
        parser=positive,
        metavar="N",
        help="Workers; one per GPU by default, without GPUs one per core and at most four.",
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--ray-gpus", parser=_gpus, metavar="K", help="GPUs of each worker; one by default."
    ),
]
SliceOption = Annotated[
    int | None,
    typer.Option(
        "--slice-rows", parser=positive, metavar="N", help="Rows that a worker gets at a time."
    ),
]


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


def cluster_of(
    address: str | None, workers: int | None, gpus: float | None, slice_rows: int | None
) -> Cluster | None:
    """What the options ask for; None without ``--ray``.

    Raises:
        UsageError: a setting of workers without ``--ray``.
    """
    settings = {"--ray-workers": workers, "--ray-gpus": gpus, "--slice-rows": slice_rows}
    if address is None:
        for name, value in settings.items():
            if value is not None:
                raise UsageError(f"{name} is about workers of Ray: add --ray, or leave it out.")
        return None
    from crosslatent.distributed import Cluster

    return Cluster(address, workers, gpus)
