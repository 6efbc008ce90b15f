"""Templates and expressions of a task file: Jinja2 in its sandbox, mistakes named with their line.

A template gives the text of a prompt; an expression gives a value, such as ``options[label]``. Both
see the columns of a row and what `crosslatent.tasks.build` adds to them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crosslatent.errors import TaskError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

Values = Mapping[str, Any]


class Template:
    """The text of a prompt, with places for the values of a row."""

    def __init__(self, text: str, where: str) -> None:
        """Compile it; `where` (file and line) stands in the message of a mistake.

        Raises:
            TaskError: it is no valid template.
        """
        with _reading(where, "template"):
            self._template = _environment().from_string(text)
            self._code = _Code(where, _names(text))

    def __call__(self, values: Values, row: str) -> str:
        """The text for one row.

        Raises:
            TaskError: it names what the row does not have, or fails otherwise; `row` tells which.
        """
        with self._code.running(values, row):
            return str(self._template.render(values))


class Expression:
    """A value that follows from a row."""

    def __init__(self, text: str, where: str) -> None:
        """Compile it; see `Template`."""
        with _reading(where, "expression"):
            self._expression = _environment().compile_expression(text, undefined_to_none=False)
            self._code = _Code(where, _names(f"{{{{ {text} }}}}"))

    def __call__(self, values: Values, row: str) -> Any:
        """The value for one row; see `Template`."""
        from jinja2 import StrictUndefined

        with self._code.running(values, row):
            value = self._expression(**values)
            if isinstance(value, StrictUndefined):
                str(value)  # raises the error that says what is not defined
            return value


class Constant:
    """A value that is the same for every row."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self, _values: Values, _row: str) -> Any:
        """The value."""
        return self._value


def compiled(value: str | Sequence[str], where: str) -> Expression | Constant:
    """What a field says that is an expression if it is a text, and taken as it is otherwise.

    Raises:
        TaskError: it is no valid expression.
    """
    return Expression(value, where) if isinstance(value, str) else Constant(list(value))


_MISTAKES = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error),
    *(RecursionError, MemoryError),
)
"""What an expression can raise that does not fit its row, or never ends in one."""


@dataclass(frozen=True, slots=True)
class _Code:
    """Where a template or expression stands, and the names that it uses."""

    where: str
    names: frozenset[str]

    @contextmanager
    def running(self, values: Values, row: str) -> Iterator[None]:
        """Turn what goes wrong into a sentence."""
        from jinja2 import TemplateError

        try:
            yield
        except (*_MISTAKES, TemplateError) as error:
            missing = sorted(self.names - set(values))
            # What follows from a missing value is stranger than that it is missing.
            reason = f"there is no {missing[0]!r}" if missing else str(error)
            raise TaskError(f"{self.where}: this fails on {row} ({reason}).") from error


@contextmanager
def _reading(where: str, kind: str) -> Iterator[None]:
    from jinja2 import TemplateSyntaxError

    try:
        yield
    except TemplateSyntaxError as error:
        raise TaskError(f"{where}: this {kind} cannot be read ({error.message}).") from error
    except (RecursionError, MemoryError) as error:
        raise TaskError(f"{where}: this {kind} is nested too deep: write a shorter one.") from error


def _names(source: str) -> frozenset[str]:
    from jinja2.meta import find_undeclared_variables

    return frozenset(find_undeclared_variables(_environment().parse(source)))


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        """The sandbox, without counting from the end."""

        def getitem(self, obj: Any, argument: Any) -> Any:
            # The label -1 of a row that nobody has labelled would be the last option.
            if isinstance(argument, int) and argument < 0:
                raise IndexError(f"there is no place {argument}; the filter last takes the last")
            return super().getitem(obj, argument)

    # Prompts are no HTML: what stands in a row goes into the prompt as it is.
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=_something)
    environment.filters.update(literal=literal, marked=marked, found=found, argmax=argmax)
    return environment


def _something(value: Any) -> Any:
    """Refuse a missing value, which would stand in the prompt as the word None."""
    if value is None:
        raise ValueError("a value that the prompt shows is missing")
    return value


def literal(text: str) -> Any:
    """The Python value that a text spells, also within ``defaultdict(<class 'list'>, ...)``."""
    inner = re.fullmatch(r"\s*defaultdict\(<class '\w+'>,\s*(.*)\)\s*", text, re.DOTALL)
    try:
        return ast.literal_eval(inner[1] if inner else text)
    except SyntaxError as error:
        raise ValueError(f"{text[:60]!r} is no Python literal") from error


def marked(text: str, options: Sequence[str]) -> list[str]:
    """What stands after each option's mark, such as (1), up to the next mark or the line's end.

    Options may be given with or without brackets; full-width ones count as ASCII ones. An option
    whose mark is missing gives an empty text.
    """
    plain = text.translate({0xFF08: "(", 0xFF09: ")"})
    keys = [option.strip("()") for option in options]
    marks = "|".join(map(re.escape, keys))
    after = {
        match[1]: match[2].strip()
        for match in re.finditer(rf"\(({marks})\)((?:(?!\((?:{marks})\))[^\n])*)", plain)
    }
    return [after.get(key, "") for key in keys]


def found(text: str, pattern: str) -> str:
    """The first group of the first place that matches a regular expression; empty if none does."""
    match = re.search(pattern, text, re.DOTALL)
    return match[1] if match else ""


def argmax(values: Sequence[float]) -> int:
    """Where the largest value stands; the first one at ties."""
    return max(range(len(values)), key=lambda place: values[place])
