"""Settings of a job: each one is declared in one place, and everything else follows from it.

A group of settings is a TypedDict whose fields carry a `Setting`, or a dataclass whose fields are
made by `setting`. Its options on the command line (`cli.command_options`), the typed keywords of
the Python interface (``Unpack[Group]``), their docstring and docs/cli.md are made from it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar, Unpack, cast

from crosslatent.core.errors import UsageError

_FIELD = "setting"
REQUIRED: Any = ...
"""The default of a setting that must be given."""

_Group = TypeVar("_Group")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Panel(StrEnum):
    """Where the help of a command shows an option; in this order."""

    MODEL = "Model"
    QUESTIONS = "Questions"
    TEXTS = "Texts"
    COUNTERPARTS = "Counterparts"
    CARRIED = "What is carried across"
    CONDITIONS = "What the model is compared under"
    CONTROLS = "Controls"
    CHOICE = "Choice"
    TRAINING = "Training"
    ANSWERS = "Answers"
    MACHINE = "Machine"
    OUTPUT = "Output"
    HELP = "Help"


@dataclass(frozen=True, slots=True)
class Valid:
    """What values of a setting may be.

    Attributes:
        holds: whether a value may be.
        wanted: what is right, after "give".
    """

    holds: Callable[[Any], bool]
    wanted: str


def at_least(least: int) -> Valid:
    """Numbers from `least` up."""
    return Valid(lambda value: value >= least, f"{least} or more")


def above_zero(*, finite: bool = True) -> Valid:
    """Numbers above 0."""
    return Valid(
        lambda value: value > 0 and (math.isfinite(value) or not finite), "a number above 0"
    )


def one_of(*known: str) -> Valid:
    """These names."""
    return Valid(lambda value: value in known, f"one of {', '.join(known)}")


NOT_NEGATIVE = Valid(
    lambda value: math.isfinite(value) and value >= 0, "a finite number of 0 or more"
)
SHARE = Valid(lambda value: 0 <= value < 1, "a share of 0 or more, and below 1")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        help: what it is, in one line.
        metavar: the name of its value in the help; None for a switch.
        default: its value if it is not given.
        read: its value from the text on the command line (from the list of texts, if `repeated`);
            raises ValueError with a sentence. None keeps the text.
        flags: names on the command line; none given means that of the field.
        repeated: it may be given several times.
        aside: it decides no result, so run.json does not keep it.
        python: more of it for the docstring, such as its type or its values in Python.
        only_python: it is no option of the command line.
        valid: what its values may be; None is always valid.
        label: its name in messages; that of the field by default.
        shown: its default as the command line says it, if that is not the value.
        panel: where the help shows it.
        rare: only ``--help-all`` shows it.
        known: names that a shell completes; a function is called only then.
    """

    help: str
    metavar: str | None = None
    _: KW_ONLY
    default: Any = None
    read: Callable[[Any], Any] | None = None
    flags: tuple[str, ...] = ()
    repeated: bool = False
    aside: bool = False
    python: str = ""
    only_python: bool = False
    valid: Valid | None = None
    label: str = ""
    shown: str | None = None
    panel: Panel | None = None
    rare: bool = False
    known: Iterable[str] | Callable[[], Iterable[str]] = ()

    @property
    def is_switch(self) -> bool:
        """It is on or off, or neither is given."""
        return isinstance(self.default, bool) or any("/" in flag for flag in self.flags)


def setting(**attributes: Any) -> Any:
    """A field of a dataclass with a `Setting` of these attributes."""
    return field_of(Setting(**attributes))


def field_of(one: Setting) -> Any:
    """A field of a dataclass with this setting."""
    return field(default=one.default, metadata={_FIELD: one})


def settings_of(group: type[Any]) -> Mapping[str, Setting]:
    """The settings of a group by name, those of its bases first.

    Args:
        group: a dataclass, or a TypedDict of a module that does not postpone the evaluation of
            annotations.
    """
    if is_dataclass(group):
        return {one.name: one.metadata[_FIELD] for one in fields(group)}
    return MappingProxyType(
        {
            name: next(one for one in annotation.__metadata__ if isinstance(one, Setting))
            for name, annotation in group.__annotations__.items()
        }
    )


def check(group: type[Any], values: object) -> None:
    """Refuse settings that cannot be.

    Args:
        group: a dataclass.
        values: one of it.

    Raises:
        UsageError: one is not valid; the message says what is.
    """
    for name, one in settings_of(group).items():
        value = getattr(values, name)
        if one.valid is not None and value is not None and not one.valid.holds(value):
            label = one.label or name.replace("_", " ")
            raise UsageError(f"The setting {label!r} is {value!r}: give {one.valid.wanted}.")


def complete(group: type[_Group], given: Mapping[str, Any]) -> _Group:
    """Every setting of a group: as given, else its default.

    Args:
        group: the TypedDict.
        given: settings by name.

    Raises:
        TypeError: there is no such setting, or one that is required is missing.
    """
    known = settings_of(cast("type[Any]", group))
    if unknown := [name for name in given if name not in known]:
        raise TypeError(
            f"There is no setting {unknown[0]!r}: {group.__name__} has {', '.join(known)}."
        )
    values = {name: given.get(name, one.default) for name, one in known.items()}
    if missing := [name for name, value in values.items() if value is REQUIRED]:
        raise TypeError(f"The setting {missing[0]!r} is missing: give it.")
    return group(**values)


def part(group: type[_Group], given: Mapping[str, Any]) -> _Group:
    """The settings of one group among those of several; those of other groups are left out."""
    known = settings_of(group)
    return complete(group, {name: value for name, value in given.items() if name in known})


def kept(group: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group as run.json keeps them: without those that decide no result."""
    known = settings_of(group)
    return {
        name: value if isinstance(value, str | int | float | bool | None | dict) else _plain(value)
        for name, value in values.items()
        if not known[name].aside
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else str(value)


def documented(*groups: type[Any]) -> Callable[[_Function], _Function]:
    """A decorator for a function with ``**options: Unpack[Group]``.

    Its docstring gets a line for each setting (in place of ``{settings}``), and its signature, as
    `help` and notebooks show it, has them as keywords.
    """

    def document(function: _Function) -> _Function:
        known = {name: one for group in groups for name, one in settings_of(group).items()}
        lines = [f"{name}: {one.help} {one.python}".rstrip() for name, one in known.items()]
        text = function.__doc__ or ""
        margin = text.partition("{settings}")[0].rpartition("\n")[2]
        function.__doc__ = text.replace("{settings}", f"\n{margin}".join(lines))
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=one.default)
            for name, one in known.items()
        ]
        shown = signature.replace(parameters=[*own, *keywords])
        function.__signature__ = shown  # type: ignore[attr-defined]
        return function

    return document


def whole(text: str) -> int:
    """A whole number.

    Raises:
        ValueError: the text is none.
    """
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a whole number.") from error


def positive(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        ValueError: the text is none.
    """
    number = whole(text)
    if number < 1:
        raise ValueError(f"{number} is too small: give 1 or more.")
    return number


def real(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: the text is none.
    """
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number.") from error
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number.")
    return number


def names(text: str) -> tuple[str, ...]:
    """The parts of a text that commas separate, without blanks and repetitions.

    Raises:
        ValueError: a part is empty.
    """
    parts = [one.strip() for one in text.split(",")]
    if not all(parts):
        raise ValueError(f"{text!r} has an empty part, but names separated by commas belong there.")
    return unique(parts)


class More(TypedDict, total=False):
    """Attributes of `Setting` that the functions below hand on."""

    flags: tuple[str, ...]
    aside: bool
    python: str
    panel: Panel
    rare: bool
    known: Iterable[str] | Callable[[], Iterable[str]]


def several(
    help: str,  # noqa: A002 - as in `Setting`
    metavar: str,
    **more: Unpack[More],
) -> Setting:
    """Names that commas separate, none by default."""
    return Setting(help, metavar, default=(), read=names, **more)


def repeated(
    help: str,  # noqa: A002 - as in `Setting`
    metavar: str,
    *,
    read: Callable[[Any], Any] | None = None,
    **more: Unpack[More],
) -> Setting:
    """Texts of an option that may be given several times, none by default."""
    return Setting(help, metavar, default=(), repeated=True, read=read, **more)


def path(help: str, metavar: str, **more: Unpack[More]) -> Setting:  # noqa: A002
    """A file or folder, none by default."""
    return Setting(help, metavar, read=Path, **more)


def needed(help: str, metavar: str, **more: Unpack[More]) -> Setting:  # noqa: A002
    """A file or folder that must be given."""
    return Setting(help, metavar, default=REQUIRED, read=Path, **more)


def switch(help: str, **more: Unpack[More]) -> Setting:  # noqa: A002
    """On, or off by default."""
    return Setting(help, default=False, **more)


def count(help: str, metavar: str, **more: Unpack[More]) -> Setting:  # noqa: A002
    """A whole number from 1 up, none by default."""
    return Setting(help, metavar, read=positive, **more)


def unique(given: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several as several, each once."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))
