"""The measures of the house: `python scripts/house.py`; the exit code is 1 if one is too large.

What is counted is the Python code of src, unless it says otherwise. `MEASURES` and `MOST` have the
limits; the other sizes are printed alone.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
AVOIDED = ("told", "stands", "whoever", "nobody", "likewise")
"""Words that are no plain technical English in this project: CONTRIBUTING.md names better ones."""
UNNAMED = ("__init__", "__main__")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of src."""

    path: Path

    @cached_property
    def text(self) -> str:
        """Its content."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def name(self) -> str:
        """Its dotted name; a package is named by its ``__init__``."""
        parts = self.path.relative_to(SRC).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())

    @cached_property
    def code_lines(self) -> int:
        """Lines without docstrings, comments and blanks."""
        silent = (
            tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
            tokenize.ENDMARKER, tokenize.ENCODING,
        )  # fmt: skip
        counted: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in silent:
                counted.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if _is_text(node):
                counted.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return len(counted)

    @property
    def functions(self) -> list[Function]:
        """Its functions and methods, those inside others too."""
        return [one for one in ast.walk(self.tree) if isinstance(one, Function)]

    @cached_property
    def holds_one_registered(self) -> bool:
        """It holds one public class or function, which a decorator registers."""
        public = [
            one
            for one in self.tree.body
            if isinstance(one, ast.ClassDef | Function) and not one.name.startswith("_")
        ]
        return len(public) == 1 and any(
            "register" in ast.unparse(mark) for mark in public[0].decorator_list
        )

    @property
    def is_counted_alone(self) -> bool:
        """It is a module that must be worth a file of its own."""
        return self.path.stem not in UNNAMED and not self.holds_one_registered

    def imports(self) -> Iterator[str]:
        """Dotted names that it imports; of ``from a import b`` both a and a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_text(node: ast.AST) -> bool:
    """A string that stands by itself: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _files(suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in SRC.rglob("*") if path.suffix in suffixes)


MODULES = [Module(path) for path in _files((".py",))]


def _several(names: list[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def file_names() -> list[str]:
    """File names that several modules have."""
    return _several([one.path.stem for one in MODULES if one.path.stem not in UNNAMED])


def class_names() -> list[str]:
    """Public classes that several modules define."""
    return _several(
        [
            node.name
            for one in MODULES
            for node in one.tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
    )


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _parameters(function: Function) -> int:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")])


def long_functions() -> list[str]:
    """Functions of more than 80 lines."""
    return [
        f"{one.name}.{each.name} ({_length(each)})"
        for one in MODULES
        for each in one.functions
        if _length(each) > 80
    ]


def wide_functions() -> list[str]:
    """Functions of more than 12 parameters."""
    return [
        f"{one.name}.{each.name} ({_parameters(each)})"
        for one in MODULES
        for each in one.functions
        if _parameters(each) > 12
    ]


def small_modules() -> list[str]:
    """Modules of less than 100 lines."""
    return [one.name for one in MODULES if one.is_counted_alone and one.lines < 100]


def lonely_modules() -> list[str]:
    """Modules that one other imports."""
    importers: dict[str, set[str]] = defaultdict(set)
    for one in MODULES:
        for name in one.imports():
            importers[name].add(one.name)
    return [
        one.name
        for one in MODULES
        if one.is_counted_alone and len(importers[one.name] - {one.name}) == 1
    ]


PASSING = (
    "api", "cli.sweeping", "cli.command_options", "distributed",
    "sweeps.plan", "sweeps.prepared", "sweeps.spec", "sweeps.sweep_run",
)  # fmt: skip
"""Where the settings of a sweep come in and are handed on."""


def sweep_options() -> list[str]:
    """Files that name a setting of a sweep to take it or to hand it on: of the worst setting.

    That is as a parameter, a field or a keyword; reading the value from the one spec is no such.
    """
    from crosslatent.core.settings import settings_of
    from crosslatent.sweeps.spec import SweepSpec

    passing = tuple(f"crosslatent.{name}" for name in PASSING)
    # `api.transplants` and `api.choosers` answer questions by settings of their own.
    modules = [
        one
        for one in MODULES
        if one.name.startswith(passing) and not one.name.startswith("crosslatent.api.")
    ]
    named = {one.name: _passed(one) for one in modules}
    return max(
        (
            [f"{name}: {file}" for file in named if name in named[file]]
            for name in settings_of(SweepSpec)
        ),
        key=len,
    )


def _passed(module: Module) -> set[str]:
    names = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.arg | ast.keyword) and node.arg:
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def avoided_words() -> list[str]:
    """Lines of src, docs, README.md and ARCHITECTURE.md with a word to avoid."""
    word = re.compile(rf"\b({'|'.join(AVOIDED)})\b", re.IGNORECASE)
    files = [
        *(one.path for one in MODULES),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
    ]
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(line)
    ]


def long_files() -> list[str]:
    """Files of more than 400 lines."""
    return [f"{one.name} ({one.lines})" for one in MODULES if one.lines > 400]


def unannotated() -> list[str]:
    """Functions that do not say what they return."""
    return [
        f"{one.name}.{each.name}" for one in MODULES for each in one.functions if not each.returns
    ]


@dataclass(frozen=True)
class Measure:
    """What is counted.

    Attributes:
        title: what it is.
        most: how many there may be.
        find: names them.
    """

    title: str
    most: int
    find: Callable[[], list[str]]


MEASURES = (
    Measure("file names of several modules", 5, file_names),
    Measure("public class names in several modules", 0, class_names),
    Measure("functions above 80 lines", 0, long_functions),
    Measure("functions above 12 parameters", 0, wide_functions),
    Measure("modules under 100 lines", 45, small_modules),
    Measure("modules with one importer", 50, lonely_modules),
    Measure("files that hand on one setting of a sweep", 3, sweep_options),
    Measure(f"lines with {', '.join(AVOIDED)}", 40, avoided_words),
    Measure("files above 400 lines", 0, long_files),
    Measure("functions without an annotated result", 0, unannotated),
)
MEDIAN, PERCENTILE = "median lines of a function", "90th percentile"
MOST = {MEDIAN: 8, PERCENTILE: 22}


def sizes() -> dict[str, int]:
    """Sizes, of which those in `MOST` are limited."""
    lengths = sorted(_length(each) for one in MODULES for each in one.functions)
    others = _files((".j2", ".js", ".css"))
    return {
        "files": len(MODULES),
        "lines": sum(one.lines for one in MODULES),
        "code lines": sum(one.code_lines for one in MODULES),
        "files of templates, scripts and styles": len(others),
        "lines of them": sum(len(path.read_text("utf-8").splitlines()) for path in others),
        MEDIAN: round(statistics.median(lengths)),
        PERCENTILE: lengths[int(0.9 * len(lengths))],
    }


def _print(title: str, size: int, most: int | None) -> bool:
    """Print a measure with its limit; whether it is above that."""
    over = most is not None and size > most
    limit = "" if most is None else f"  TOO MANY: at most {most}" if over else f"  at most {most}"
    print(f"{title:52} {size:>6}{limit}")
    return over


def main(arguments: list[str]) -> int:
    """Print the table; with `--list`, what was found too."""
    failed = False
    for title, size in sizes().items():
        failed |= _print(title, size, MOST.get(title))
    for measure in MEASURES:
        found = measure.find()
        failed |= _print(measure.title, len(found), measure.most)
        if "--list" in arguments:
            print(*(f"    {one}" for one in found), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
