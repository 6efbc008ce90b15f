"""`Command`: what all commands have in common for those who type them.

Help in panels with two examples, rare options with ``--help-all`` alone, each option once, and
``--ray`` without a value.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Panel

_PANELS = tuple(Panel)
_WIDTH = 74
"""Columns of a line of an example."""

_TWO = '--main "Mnyama: mkunga. Ni wa kundi gani? Jibu:" --aux "Animal: eel. What kind? Answer:"'
EXAMPLES: dict[str, tuple[str, str]] = {
    "demo": ("demo", "demo --planted --variant plain --out planted"),
    "transplant": (
        f"transplant --model MODEL {_TWO} --component ffn --source 7 --target 7",
        f"transplant --model MODEL {_TWO} --preset understanding --json",
    ),
    "check": ("check MODEL", "check MODEL --quick --components attn,ffn"),
    "overhead": (
        "overhead --model MODEL --batch-sizes 1 --out overhead",
        "overhead --plan 7B@h200 --prompt-tokens 300,2000 --json",
    ),
    "tasks ls": ("tasks ls", "tasks ls --json"),
    "tasks show": ("tasks show demo-facts --lang sw", "tasks show mine.jsonl --model MODEL"),
    "tasks validate": ("tasks validate mine.jsonl", "tasks validate task.yaml --model MODEL"),
    "sweep": (
        (
            "sweep --model MODEL --task demo-facts --lang sw --component attn,ffn "
            "--controls shuffled,noise --out RUN"
        ),
        "sweep --model MODEL --prompts mine.jsonl --pairs 2:2,7:7 --out RUN --dry-run",
    ),
    "status": ("status RUN", "status RUN --json"),
    "improve": (
        "improve MODEL --prompts mine.jsonl --out improved",
        "improve MODEL --task demo-codes --lang sw --out improved",
    ),
    "answer": (
        "answer --model MODEL --chooser improved/chooser.json --prompts new.jsonl --out a.jsonl",
        "answer --model MODEL --chooser chosen.json --prompts new.csv --aux auto --out a.jsonl",
    ),
    "report": ("report RUN --out report", "report RUN RUN2 --out both --compare"),
    "export": ("export RUN --format csv --out rows.csv", "export RUN --format jsonl"),
    "select": ("select RUN", "select RUN --strategy confidence-margin-8 --save chosen.json"),
    "compare": (
        "compare --model MODEL --task demo-facts --lang sw --quick --out compared",
        "compare --model MODEL --prompts mine.jsonl --methods transplant,pim,lora-x --out compared",
    ),
    "culture": (
        "culture --model MODEL --task demo-culture --out card",
        "culture --model MODEL --data DIR --measures similarity,knowledge --out card",
    ),
    "lens probe": (
        "lens probe --model MODEL --task demo-facts --split pilot --out SPACE",
        "lens probe --model MODEL --data texts.jsonl --langs en,sw --out SPACE",
    ),
    "lens train": (
        "lens train --model MODEL --space SPACE --data parallel.jsonl --langs sw --out tuned",
        "lens train --model MODEL --objective answers --task demo-facts --lora --out tuned",
    ),
    "lens eval": (
        "lens eval --model MODEL --task demo-facts --tuned lens=tuned --out evaluated",
        "lens eval --model MODEL --task demo-facts --transplant ffn:7:7 --out evaluated",
    ),
}
"""Two calls of each command; MODEL is a folder or a name on the hub, RUN the folder of a sweep."""

RAY, _LOCAL = "--ray", "local"


def lines_of(example: str) -> str:
    """An example as lines for a shell, none of which is wrapped at 80 columns."""
    lines = [""]
    for part in re.split(" (?=--)", f"crosslatent {example}"):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > _WIDTH:
            lines[-1] += " \\"
            lines.append(f"  {part}")
        else:
            lines[-1] = f"{lines[-1]} {part}".lstrip() if len(lines) == 1 else f"{lines[-1]} {part}"
    return "\n".join(lines)


def completion(known: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What completes the value of an option: of several names, the last one.

    Args:
        known: the names there are; a function is called only when a shell asks.
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        names = known() if callable(known) else known
        return [f"{before}{comma}{one}" for one in names if one.startswith(last)]

    return complete


def in_panels(annotation: Any) -> int:
    """A key to sort parameters by: arguments, then options in the order of panels."""
    about = next(iter(getattr(annotation, "__metadata__", ())), None)
    panel = getattr(about, "rich_help_panel", None)
    return _PANELS.index(panel) if panel in _PANELS else -1


class Command(TyperCommand):
    """A command."""

    def make_parser(self, ctx: Any) -> Any:
        """The parser of its arguments, which takes no option twice that has one value."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_once(args: list[str]) -> Any:
            found = parse(args=args)
            _refuse_twice(found[2])
            return found

        parser.parse_args = parse_once
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; ``--ray`` without a value gets its default address."""
        return super().parse_args(ctx, list(_with_address(args)))

    def get_help_option(self, ctx: Any) -> Any:
        """``--help``, beside ``--help-all``."""
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = Panel.HELP
        return option

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, as the help shows them."""
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: its rare options with ``--help-all`` alone, then the examples."""
        rare = sum(_is_hidden(one) for one in self.params)
        name = ctx.command_path.partition(" ")[2]
        examples = "\n".join(["Examples:", *map(lines_of, EXAMPLES[name])])
        more = f"{rare} more options: {ctx.command_path} --help-all" if rare else ""
        super().format_help(ctx, formatter)
        # An epilog of Typer would join the lines of an example, in some versions.
        print(textwrap.indent("\n\n".join(filter(None, [examples, more])), " ") + "\n")

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Commands and all options, rare ones too."""
        with _revealed(self):
            return super().shell_complete(ctx, incomplete)


class CommandGroup(TyperGroup):
    """Commands under one name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, as the help shows them."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    """Parameters of which a switch has no value to name."""
    for one in parameters:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return parameters


def _is_hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


@contextmanager
def _revealed(found: Any) -> Iterator[None]:
    """Inside, no option of a command is hidden."""
    rare = [one for one in found.params if _is_hidden(one)]
    for one in rare:
        one.hidden = False
    try:
        yield
    finally:
        for one in rare:
            one.hidden = True


def _show_all(context: typer.Context, value: bool) -> None:
    """The callback of ``--help-all``."""
    if value and not context.resilient_parsing:
        with _revealed(context.command):
            print(context.get_help(), end="")  # with Rich, it is printed and not returned
        raise typer.Exit


@dataclass(slots=True)
class Invocation:
    """What holds for a whole invocation; Typer hands it on as the context's object."""

    debug: bool = False


def _set_debug(context: typer.Context, value: bool) -> bool:
    root = context.find_root()
    if value and isinstance(root.obj, Invocation):
        root.obj.debug = True
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_set_debug,
        is_eager=True,
        hidden=True,
        rich_help_panel=Panel.HELP,
    ),
]


HelpAllOption = Annotated[
    bool,
    typer.Option(
        "--help-all",
        help="Show all options and exit.",
        callback=_show_all,
        is_eager=True,
        rich_help_panel=Panel.HELP,
    ),
]


def _refuse_twice(given: Sequence[Any]) -> None:
    """Refuse options that are given again: the last one alone would count, without a word.

    Raises:
        UsageError: there is one.
    """
    for option, count in Counter(given).items():
        single = option.param_type_name == "option" and not option.multiple and not option.count
        if count > 1 and single:
            names = " or ".join([*option.opts, *option.secondary_opts])
            listed = "," in (option.metavar or "")
            way_out = f" (several values by commas: {option.opts[0]} A,B)" if listed else ""
            raise UsageError(f"{names} is given {count} times: give it once{way_out}.")


def _with_address(arguments: Sequence[str]) -> Iterator[str]:
    for at, argument in enumerate(arguments):
        yield argument
        following = arguments[at + 1 : at + 2]
        if argument == RAY and (not following or following[0].startswith("-")):
            yield _LOCAL
