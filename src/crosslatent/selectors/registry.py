"""The selectors by name, each with the variants that are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import Registry
from crosslatent.selectors.base import Selector
from crosslatent.selectors.fixed import FIXED

ALL = "all"
ORACLE = "oracle"
"""Not a selector: it looks at the gold answer. Every evaluation has it as the upper bound."""

_Kind = TypeVar("_Kind", bound=type[Selector])

SELECTORS: Registry[type[Selector]] = Registry(
    "selector", "selectors.kinds", "selectors.base:Selector", reserved=(ALL, ORACLE, FIXED)
)
"""Classes of selectors; other packages name theirs as entry points of the group
``crosslatent.selectors``."""


def register_selector(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a selector known under a name, its strategy.

    Raises:
        UsageError: the name is another selector's.
    """
    return SELECTORS.register(name)


def selectors_of(strategy: str) -> list[Selector]:
    """The selectors of a strategy, or of all of them; also a single selector by its own name.

    Raises:
        UsageError: there is no such strategy, or one that is asked for cannot be loaded.
    """
    if strategy == ORACLE:
        return []
    known = SELECTORS.names()
    if strategy in known:
        return list(SELECTORS[strategy].variants())
    every = [selector for name in known for selector in SELECTORS[name].variants()]
    named = [selector for selector in every if strategy in (ALL, selector.name)]
    if not named:
        names = ", ".join([*known, ORACLE, ALL])
        raise UsageError(f"Unknown strategy {strategy!r}: use {names}, or one selector's name.")
    return named
