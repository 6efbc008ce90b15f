"""Kinds by name: those of this package, those registered by a decorator, those of other packages.

A kind is a class, or a function that a decorator has wrapped. One of this package is one file,
called as it is registered (some sorts have hyphens in names), in the folder of its sort; short
functions share the module of their sort. Other packages name theirs as entry points. Nothing is
imported before a kind is asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from crosslatent.core.errors import UsageError
from crosslatent.core.untrusted import nearest, one_line

PACKAGE = "crosslatent"

_Kind = TypeVar("_Kind")
_Registered = TypeVar("_Registered")


class Registry(Generic[_Kind]):
    """The kinds of one sort.

    Attributes:
        noun: what a kind is, such as "control".
        group: name of the entry points of other packages.
        own: names of the kinds of this package.
    """

    def __init__(
        self,
        noun: str,
        home: str,
        base: str,
        *,
        decorator: str = "",
        reserved: Iterable[str] = (),
        hyphens: bool = False,
    ) -> None:
        """Kinds of a sort.

        Args:
            noun: what a kind is.
            home: where those of this package are, below it: a folder, or the module that makes the
                registry and registers them.
            base: their base class, by module and name.
            decorator: what wraps functions in that class; "" = kinds are classes below it.
            reserved: names that no kind may have, as they mean something else.
            hyphens: names have hyphens where their files have underscores.
        """
        self._base, self._decorator = base, decorator
        self.noun = noun
        self.group = f"{PACKAGE}.{noun.rsplit(maxsplit=1)[-1]}s"
        self._home = f"{PACKAGE}.{home}"
        places = Path(__file__).parents[1].joinpath(*home.split(".")).glob("*.py")
        self._blank = "-" if hyphens else "_"
        stems = (place.stem.replace("_", self._blank) for place in places if place.stem[0] != "_")
        self.own = sorted(stems)
        self._reserved = frozenset(reserved)
        self._kinds: dict[str, _Kind] = {}

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """A decorator that makes a kind known under a name.

        Raises:
            UsageError: the name is another kind's.
        """

        def enter(kind: _Registered) -> _Registered:
            self._check(name, kind)
            at_home = kind.__module__ in (self._home, self._module(name))
            if name in self._reserved or (name in self.own and not at_home):
                self._refuse(name, PACKAGE, kind.__module__)
            there = self._kinds.get(name)
            if there is not None and there is not kind and not _again(there, kind):
                self._refuse(name, there.__module__, kind.__module__)
            if at_home and name not in self.own:
                self.own.append(name)
            self._kinds[name] = cast("_Kind", kind)
            return kind

        return enter

    def names(self) -> list[str]:
        """Names of all kinds, those of this package first; nothing is imported.

        Raises:
            UsageError: another package gives a name that is taken.
        """
        others = {*self._kinds, *(entry.name for entry in self._entries())}
        return [*self.own, *sorted(others.difference(self.own))]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def name_of(self, kind: type[Any]) -> str:
        """The name of a kind; of one that was not registered, where it is defined."""
        for name, registered in self._kinds.items():
            if registered is kind:
                return name
        return f"{kind.__module__}.{kind.__qualname__}"

    def __getitem__(self, name: str) -> _Kind:
        """A kind by its name.

        Raises:
            UsageError: there is none, or it cannot be loaded.
        """
        entries = {entry.name: entry for entry in self._entries()}
        if name not in self._kinds:
            if name in self.own:
                importlib.import_module(self._module(name))
            elif name in entries:
                self._kinds[name] = self._loaded(entries[name])
            else:
                raise UsageError(
                    f"Unknown {self.noun} {name!r}{nearest(name, self.names())}: use one of "
                    f"{', '.join(self.names())}."
                )
        return self._kinds[name]

    def _module(self, name: str) -> str:
        """Where a kind of this package is."""
        return f"{self._home}.{name.replace(self._blank, '_')}"

    def _entries(self) -> Iterator[EntryPoint]:
        """The entry points of other packages.

        Raises:
            UsageError: one of them has a name that is taken.
        """
        seen: dict[str, EntryPoint] = {}
        for entry in _installed(self.group, tuple(sys.path)):
            first = seen.setdefault(entry.name, entry)
            registered = self._kinds.get(entry.name)
            if entry.name in self._reserved.union(self.own):
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
        found = type(kind) if self._decorator else kind
        bases = [f"{one.__module__}:{one.__qualname__}" for one in getattr(found, "__mro__", ())]
        if f"{PACKAGE}.{self._base}" not in bases:
            belongs = f"a class below {self._base.partition(':')[2]}"
            if self._decorator:
                belongs = f"a function under @{self._decorator}"
            raise UsageError(f"The {self.noun} {name!r} is {kind!r}, but {belongs} belongs there.")

    def _refuse(self, name: str, first: str, second: str) -> NoReturn:
        raise UsageError(
            f"The {self.noun} {name!r} of {second} has a name that is taken (by {first}): give it "
            "another one."
        )


CONTROL_KINDS: Registry[Any] = Registry(
    "control", "sweeps.controls", "sweeps.control:Control", hyphens=True
)
"""Classes of `crosslatent.sweeps.control.Control`."""
METHOD_KINDS: Registry[Any] = Registry(
    "method", "methods.kinds", "methods.method:Method", hyphens=True
)
"""Classes of `crosslatent.methods.method.Method`, which `compare` compares."""
MEASURES: Registry[Any] = Registry(
    "culture measure",
    "analysis.culture.measures",
    "analysis.culture.measure:Measure",
    hyphens=True,
)
"""Classes of `crosslatent.analysis.culture.measure.Measure`, the lines of the culture card."""


@lru_cache
def _installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001
    """Entry points of a group on a path for modules: reading those of all packages takes long."""
    return tuple(entry_points(group=group))


def _again(there: Any, kind: Any) -> bool:
    """Whether a kind is the same as before, made anew: its cell or module was run again."""
    return (there.__module__, there.__qualname__) == (kind.__module__, kind.__qualname__)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else _root(entry.module)
