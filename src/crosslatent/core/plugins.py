"""Kinds by name: those of this package, those registered by a decorator, those of other packages.

A kind of this package is one file, called as it is registered, in the folder of its sort. Other
packages name theirs as entry points. Nothing is imported before a kind is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from crosslatent.core.errors import UsageError
from crosslatent.core.untrusted import one_line

PACKAGE = "crosslatent"

_Kind = TypeVar("_Kind", bound=type[Any])
_Registered = TypeVar("_Registered", bound=type[Any])


class Registry(Generic[_Kind]):
    """The kinds of one sort.

    Attributes:
        noun: what a kind is, such as "control".
        group: name of the entry points of other packages.
    """

    def __init__(self, noun: str, folder: str, base: str) -> None:
        """Kinds of a sort.

        Args:
            noun: what a kind is.
            folder: where those of this package are, as a module below it.
            base: their base class, by module and name.
        """
        self._base = base
        self.noun = noun
        self.group = f"{PACKAGE}.{noun}s"
        self._home = f"{PACKAGE}.{folder}"
        places = Path(__file__).parents[1].joinpath(*folder.split(".")).glob("*.py")
        self._own = sorted(place.stem for place in places if place.stem != "__init__")
        self._kinds: dict[str, _Kind] = {}

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """A decorator that makes a kind known under a name.

        Raises:
            UsageError: the name is another kind's.
        """

        def enter(kind: _Registered) -> _Registered:
            self._check(name, kind)
            if name in self._own and kind.__module__ != f"{self._home}.{name}":
                self._refuse(name, PACKAGE, kind.__module__)
            there = self._kinds.get(name)
            if there is not None and there is not kind and not _again(there, kind):
                self._refuse(name, there.__module__, kind.__module__)
            self._kinds[name] = cast("_Kind", kind)
            return kind

        return enter

    def names(self) -> list[str]:
        """Names of all kinds, those of this package first; nothing is imported.

        Raises:
            UsageError: another package gives a name that is taken.
        """
        others = {*self._kinds, *(entry.name for entry in self._entries())}
        return [*self._own, *sorted(others.difference(self._own))]

    def name_of(self, kind: type[Any]) -> str:
        """The name of a kind; of one that was not registered, where it is defined."""
        for name, registered in self._kinds.items():
            if registered is kind:
                return name
        return f"{kind.__module__}.{kind.__qualname__}"

    def is_own(self, name: str) -> bool:
        """Whether a kind is one of this package."""
        return name in self._own

    def __getitem__(self, name: str) -> _Kind:
        """A kind by its name.

        Raises:
            UsageError: there is none, or it cannot be loaded.
        """
        entries = {entry.name: entry for entry in self._entries()}
        if name not in self._kinds:
            if name in self._own:
                importlib.import_module(f"{self._home}.{name}")
            elif name in entries:
                self._kinds[name] = self._loaded(entries[name])
            else:
                raise UsageError(
                    f"Unknown {self.noun} {name!r}: use one of {', '.join(self.names())}."
                )
        return self._kinds[name]

    def _entries(self) -> Iterator[EntryPoint]:
        """The entry points of other packages.

        Raises:
            UsageError: one of them has a name that is taken.
        """
        seen: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            first = seen.setdefault(entry.name, entry)
            registered = self._kinds.get(entry.name)
            if entry.name in self._own:
                self._refuse(entry.name, PACKAGE, _package(entry))
            if first.value != entry.value:
                self._refuse(entry.name, _package(first), _package(entry))
            if registered is not None and _root(registered.__module__) != _root(entry.module):
                self._refuse(entry.name, registered.__module__, _package(entry))
        yield from seen.values()

    def _loaded(self, entry: EntryPoint) -> _Kind:
        try:
            kind: _Kind = entry.load()
        except Exception as error:
            raise UsageError(
                f"The {self.noun} {entry.name!r} of {_package(entry)} cannot be loaded "
                f"({type(error).__name__}: {one_line(error)}): mend that package, or uninstall it."
            ) from error
        self.register(entry.name)(kind)
        return kind

    def _check(self, name: str, kind: object) -> None:
        """Refuse what is no kind of this sort."""
        bases = [f"{one.__module__}:{one.__qualname__}" for one in getattr(kind, "__mro__", ())]
        if f"{PACKAGE}.{self._base}" not in bases:
            raise UsageError(
                f"The {self.noun} {name!r} is {kind!r}, but a class below "
                f"{self._base.partition(':')[2]} belongs there."
            )

    def _refuse(self, name: str, first: str, second: str) -> NoReturn:
        raise UsageError(
            f"The {self.noun} {name!r} of {second} has a name that is taken (by {first}): give it "
            "another one."
        )


CONTROL_KINDS: Registry[Any] = Registry("control", "sweeps.controls", "sweeps.control:Control")
"""Classes of `crosslatent.sweeps.control.Control`."""


def _again(there: type[Any], kind: type[Any]) -> bool:
    """Whether a kind is the same as before, made anew: its cell or module was run again."""
    return (there.__module__, there.__qualname__) == (kind.__module__, kind.__qualname__)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else _root(entry.module)
