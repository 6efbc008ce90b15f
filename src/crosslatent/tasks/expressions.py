"""Templates and expressions of a task file: Jinja2 in its sandbox, mistakes named with their line.

A template gives the text of a prompt; an expression gives a value, such as ``options[label]``. What
they see, and the texts that values become: `crosslatent.tasks.row_values`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.row_values import ROW, Columns, RowValues, written

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.nodes import EvalContext
    from jinja2.sandbox import SandboxedEnvironment

Values = Mapping[str, Any]


class Template:
    """The text of a prompt, with places for the values of a row."""

    def __init__(self, text: str, where: str) -> None:
        """Compile it; error messages begin with `where` (file and line).

        Raises:
            TaskError: it is no valid template.
        """
        with _reading(where, "template"):
            self._template = _environment().from_string(text)
            self._code = _Code.of(where, text)

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
            self._code = _Code.of(where, f"{{{{ {text} }}}}")

    def __call__(self, values: Values, row: str) -> Any:
        """The value for one row; see `Template`."""
        from jinja2 import StrictUndefined

        with self._code.running(values, row):
            value = self._expression(values)
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
    """The value of a field: a text is an expression to evaluate, anything else is taken literally.

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
    """A template or expression of a task file.

    Attributes:
        names: those that it uses, constants included.
        bare: those used by themselves, not as in ``row.number``.
    """

    where: str
    names: frozenset[str]
    bare: frozenset[str]

    @classmethod
    def of(cls, where: str, source: str) -> _Code:
        """Find the names in a template."""
        from jinja2 import nodes
        from jinja2.meta import find_undeclared_variables

        tree = _environment().parse(source)
        # Jinja declares self by itself.
        every = {node.name for node in tree.find_all(nodes.Name)}
        names = find_undeclared_variables(tree) | ({"self"} & every)
        constants = {
            spelled
            for node in tree.find_all(nodes.Const)
            if node.value is None or isinstance(node.value, bool)
            for spelled in (str(node.value), str(node.value).lower())
        }
        heads = [
            *(node.node for node in tree.find_all(nodes.Getattr)),
            *(node.node for node in tree.find_all(nodes.Getitem)),
        ]
        alone = [node for node in tree.find_all(nodes.Name) if not any(node is h for h in heads)]
        return cls(where, frozenset(names | constants), frozenset(node.name for node in alone))

    @contextmanager
    def running(self, values: Values, row: str) -> Iterator[None]:
        """Turn what goes wrong into a sentence."""
        from jinja2 import TemplateError

        if isinstance(values, RowValues) and (doubt := values.doubtful(self.names, self.bare)):
            raise TaskError(f"{self.where}: this is not clear on {row}: {doubt}.")
        try:
            yield
        except (*_MISTAKES, TemplateError) as error:
            missing = sorted(self.names - set(values) - set(_environment().globals) - _CONSTANTS)
            # What follows from a missing value is stranger than that it is missing.
            reason = _lacking(missing[0], values) if missing else str(error)
            raise TaskError(f"{self.where}: this fails on {row} ({reason}).") from error


_CONSTANTS = {"true", "false", "none", "True", "False", "None"}


def _lacking(name: str, values: Values) -> str:
    if isinstance(values, RowValues):
        return values.columns.lacks(name)
    return f"there is no {name!r}"


@contextmanager
def _reading(where: str, kind: str) -> Iterator[None]:
    from jinja2 import TemplateAssertionError, TemplateSyntaxError

    try:
        yield
    except TemplateSyntaxError as error:
        # An assertion is about a filter or a block: the words themselves were understood.
        understood = isinstance(error, TemplateAssertionError)
        hint = "" if understood else f"; a column that is not a single word is {ROW}['NAME']"
        raise TaskError(f"{where}: this {kind} cannot be read ({error.message}){hint}.") from error
    except (RecursionError, MemoryError) as error:
        raise TaskError(f"{where}: this {kind} is nested too deep: write a shorter one.") from error


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined, nodes
    from jinja2.compiler import CodeGenerator
    from jinja2.sandbox import SandboxedEnvironment

    class Generator(CodeGenerator):
        """Writes the operands of ``~`` as a template would write them."""

        def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:  # noqa: N802
            writer = nodes.EnvironmentAttribute("written")
            parts: list[nodes.Expr] = [
                nodes.Call(writer, [part], [], None, None) for part in node.nodes
            ]
            super().visit_Concat(nodes.Concat(parts), frame)

    class Environment(SandboxedEnvironment):
        """The sandbox, without counting from the end, and with keys before methods of a mapping."""

        code_generator_class = Generator
        written = staticmethod(written)

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            return self._found(obj, attribute, super().getattr(obj, attribute))

        def getitem(self, obj: Any, argument: Any) -> Any:
            # The label -1 of an unlabelled row would select the last option.
            if isinstance(argument, int) and argument < 0:
                raise IndexError(f"there is no place {argument}; the filter last takes the last")
            return self._found(obj, argument, super().getitem(obj, argument))

        def _found(self, obj: Any, name: Any, value: Any) -> Any:
            """The value; for a missing column, an undefined one whose message lists the columns."""
            if isinstance(obj, Columns) and isinstance(value, StrictUndefined):
                return self.undefined(obj.lacks(name), obj=obj, name=name)
            return value

    # Prompts are no HTML: values of a row go into the prompt unescaped.
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=written)
    environment.filters.update(
        literal=literal, marked=marked, found=found, argmax=argmax, for_each_of=for_each_of
    )
    environment.filters.update(string=_string, join=_join())
    return environment


def _string(value: Any) -> str:
    """Jinja's filter, which knows what is missing as None."""
    return "None" if value is None else written(value)


def _join() -> Any:
    from jinja2 import pass_eval_context
    from jinja2.filters import do_join, make_attrgetter

    @pass_eval_context
    def join(
        context: EvalContext, value: Iterable[Any], d: str = "", attribute: str | None = None
    ) -> str:
        """Jinja's filter, with values as they are written."""
        given = value
        if attribute is not None:
            given = map(make_attrgetter(context.environment, attribute), value)
        return str(do_join(context, map(written, given), d))

    return join


def literal(text: str) -> Any:
    """The Python value that a text spells, also within ``defaultdict(<class 'list'>, ...)``."""
    inner = re.fullmatch(r"\s*defaultdict\(<class '\w+'>,\s*(.*)\)\s*", text, re.DOTALL)
    try:
        return ast.literal_eval(inner[1] if inner else text)
    except SyntaxError as error:
        raise ValueError(f"{text[:60]!r} is no Python literal") from error


def marked(text: str, options: Sequence[str]) -> list[str]:
    """The text after each option's mark, such as (1), up to the next mark or the line's end.

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


def for_each_of(values: Iterable[Any], lists: Iterable[Sequence[Any]]) -> list[Any]:
    """Each value as often as the list beside it is long, as one list."""
    return [value for value, some in zip(values, lists, strict=True) for _ in some]


def found(text: str, pattern: str) -> str:
    """The first group of the first place that matches a regular expression; empty if none does."""
    match = re.search(pattern, text, re.DOTALL)
    return match[1] if match else ""


def argmax(values: Sequence[float]) -> int:
    """Index of the largest value; the first one at ties."""
    return max(range(len(values)), key=lambda place: values[place])
