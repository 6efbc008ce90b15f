"""The kinds of interventions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crosslatent.core.plugins import Registry

if TYPE_CHECKING:
    from crosslatent.interventions.intervention import Intervention

_Kind = TypeVar("_Kind", bound="type[Intervention]")

KINDS: Registry[type[Intervention]] = Registry(
    "intervention", "interventions.kinds", "interventions.intervention:Intervention"
)
"""Classes of interventions; other packages name theirs as entry points of the group
``crosslatent.interventions``."""


def register_intervention(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a kind of interventions known under a name.

    Raises:
        UsageError: the name is another kind's.
    """
    return KINDS.register(name)
