"""The kinds of interventions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crosslatent.core.errors import UsageError

if TYPE_CHECKING:
    from crosslatent.interventions.intervention import Intervention

_Kind = TypeVar("_Kind", bound="type[Intervention]")

KINDS: dict[str, type[Intervention]] = {}
"""Registered classes of interventions, by name."""


def register_intervention(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a kind of interventions known under a name.

    Raises:
        UsageError: the name is another kind's.
    """

    def register(kind: _Kind) -> _Kind:
        if KINDS.setdefault(name, kind) is not kind:
            raise UsageError(
                f"There is an intervention {name!r} already ({KINDS[name].__module__}): give "
                "another name."
            )
        return kind

    return register
