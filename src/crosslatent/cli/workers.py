"""``--ray [ADDRESS]``: a sweep on many workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from crosslatent.core.errors import UsageError

if TYPE_CHECKING:
    from crosslatent.distributed import Cluster
    from crosslatent.sweeps.spec import RaySettings

_FLAG, _LOCAL = "--ray", "local"


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


def cluster_of(asked: RaySettings) -> Cluster | None:
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
