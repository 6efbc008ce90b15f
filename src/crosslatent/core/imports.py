"""What is imported when it is first used, and the extras that it may need.

The dependencies of crosslatent are those of loading, transplanting, sweeping and run folders. What
else it can do needs libraries of an extra (`EXTRAS`), and says so in a sentence where they are
missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from crosslatent.core.errors import MissingExtraError

PACKAGE = "crosslatent"


@dataclass(frozen=True, slots=True)
class Extra:
    """What an extra of the package is for.

    Attributes:
        users: what needs it, and the verb.
        modules: what is imported of its libraries.
    """

    users: str
    modules: tuple[str, ...]


_STATS = ("scipy", "sklearn", "threadpoolctl")
EXTRAS = {
    "stats": Extra("Intervals, tests and the choice of pairs need", _STATS),
    "report": Extra("Reports and figures need", ("matplotlib", "plotly", *_STATS)),
    "tasks": Extra("Tasks whose data come from the hub need", ("datasets",)),
    "lens": Extra("Lens and adapters need", ("accelerate", "peft", "matplotlib", *_STATS)),
    "spread": Extra("A model over several devices needs", ("accelerate",)),
    "ray": Extra("Sweeps on workers of Ray need", ("ray",)),
    "remote": Extra("Run folders behind URLs need", ("upath",)),
    "translate": Extra(
        "Tokenizers of translation models need", ("sentencepiece", "google.protobuf")
    ),
    "polars": Extra("Tables for polars need", ("polars",)),
    "distances": Extra("Distances between languages need", ("urielplus",)),
    "quantize": Extra("Weights in few bits need", ("accelerate", "bitsandbytes", "torchao")),
    "lm-eval": Extra("The commands of lm-evaluation-harness need", ("lm_eval",)),
}
"""By name; of two with the same module, the first one is named where it is missing."""


def need(extra: str, *modules: str, either: Sequence[str] = ()) -> None:
    """Refuse to go on without the libraries of an extra; imports none of them.

    Args:
        extra: one of `EXTRAS`.
        modules: those of its modules that are needed; all by default.
        either: modules of which one is enough.

    Raises:
        MissingExtraError: one of its modules is not installed.
    """
    if either and not any(map(installed, either)):
        raise _missing(extra, either, " or ")
    absent = [module for module in modules or EXTRAS[extra].modules if not installed(module)]
    if absent and not either:
        raise _missing(extra, absent)


def installed(module: str) -> bool:
    """Whether a module could be imported; imports no more than the packages above it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def extra_of(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error of an import as a sentence on the extra that has the module.

    Returns:
        None if no extra has it.
    """
    root = (error.name or "").partition(".")[0]
    for name, extra in EXTRAS.items():
        if root in (module.partition(".")[0] for module in extra.modules):
            return _missing(name, [root])
    return None


def _missing(extra: str, modules: Sequence[str], link: str = ", ") -> MissingExtraError:
    listed, are = link.join(modules), "is" if len(modules) == 1 else "are"
    return MissingExtraError(
        f"{EXTRAS[extra].users} {listed}, which {are} not installed: {install_command(extra)}"
    )


def install_command(extra: str) -> str:
    """The command that installs an extra, true for how crosslatent is installed here.

    A clone is named by its folder and a wheel by its file, since no package index may have them.
    """
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    url = str(origin.get("url", ""))
    if origin.get("dir_info", {}).get("editable"):
        wanted = f"-e '{unquote(urlsplit(url).path)}[{extra}]'"
    else:
        wanted = f"'{PACKAGE}[{extra}]{f' @ {url}' if url else ''}'"
    return f"pip install {wanted}"


def lazily(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported when first used.

    Args:
        package: its name.
        homes: public names by the module that has them, relative to the package (".core.errors"
            is beside it).

    Returns:
        Both functions. The first one raises `MissingExtraError` for a name whose module needs an
        extra that is not installed.
    """
    found = {name: f".{home}" for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(found[name], package), name)
        except ModuleNotFoundError as error:
            raise extra_of(error) or error from error

    def names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return get, names
