"""Write docs/cli.md from the commands themselves: `python scripts/cli_docs.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosslatent.cli.app import command
from crosslatent.cli.command_class import EXAMPLES, lines_of

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"
_HEAD = """# The command line

All commands and their options, in the panels of the help. `crosslatent COMMAND --help` shows those
that most calls need; those in *italics* are shown by `crosslatent COMMAND --help-all`, and so is
`--debug` of every command, which shows the traceback of an error. What `--json` prints:
[JSON](json.md). This page is written by `make docs` from the code.

`crosslatent --install-completion` makes your shell complete commands, options, and the names of
tasks, components, pairs, presets, controls, strategies, engines, devices and formats
(`--show-completion` prints what it would add).
"""


def render() -> str:
    """The content of docs/cli.md."""
    return "\n".join([_HEAD, *_commands("crosslatent", command())])


def _commands(name: str, found: Any) -> Iterator[str]:
    """A section for each command, those of groups after it."""
    below = getattr(found, "commands", None)
    if below is None:
        yield from _section(name, found)
        return
    for each in sorted(below):
        yield from _commands(f"{name} {each}", below[each])


def _section(name: str, found: Any) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{_cell(found.help or '').strip()}\n"
    if examples := EXAMPLES.get(name.partition(" ")[2]):
        yield "\n".join(["```sh", *map(lines_of, examples), "```\n"])
    arguments = [each for each in found.params if each.param_type_name == "argument"]
    for each in arguments:
        yield f"- `{each.metavar or each.name.upper()}`: {_cell(each.help or '')}"
    if arguments:
        yield ""
    options = [each for each in found.params if each.param_type_name == "option"]
    panels: dict[str, list[Any]] = {}
    for each in options:
        if each.name not in ("help", "help_all", "debug"):
            panels.setdefault(each.rich_help_panel or "", []).append(each)
    for title, group in panels.items():
        if title:
            yield f"{title}:\n"
        yield "| option | what it is | default |"
        yield "| --- | --- | --- |"
        yield from (_line(each) for each in sorted(group, key=lambda each: each.hidden))
        yield ""


def _line(option: Any) -> str:
    names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    names = f"*{names}*" if option.hidden else names
    value = "" if option.is_flag else f" `{_cell(option.metavar or 'VALUE')}`"
    default = option.default
    shown = "required" if option.required else "" if default in (None, False) else f"`{default}`"
    return f"| {names}{value} | {_cell(option.help or '')} | {shown} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
