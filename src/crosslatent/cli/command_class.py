"""`Command`: what all commands have in common for those who type them.

Help in panels with two examples, rare options with ``--help-all`` alone, each option once, and
``--ray`` without a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from crosslatent.core import specs
from crosslatent.core.errors import UsageError

ALL = "crosslatent.help_all"
"""Where a context says that rare options are shown too."""

RARE = frozenset({
    "accumulate", "align", "allow_training_data", "also", "at", "attribution", "batch_rows",
    "central_answers", "central_data", "chat_args", "checkpoint_every", "clip", "combine", "data",
    "debug", "declare", "dtype", "engine", "evaluate_every", "evaluate_on", "exact", "field",
    "force", "gradient_checkpointing", "held_out", "keep_vectors", "alpha", "dropout",
    "max_tokens", "modules", "options", "patience", "pooling", "positions",
    "precision", "quantization", "rank", "ray_gpus", "ray_workers", "retain", "revision", "rule",
    "samples", "save_dtype", "save_parallel", "schedule", "score_options", "seed", "separate",
    "shots", "slice_rows", "strength", "strict", "test", "translate_with", "translation_cache",
    "tune", "warmup", "weight_decay",
})  # fmt: skip
"""Options that few calls need, by the names of their settings."""

_MACHINE, _CONTROLS = "Machine", "Controls and samples"
PANELS = {
    **dict.fromkeys(
        ("dtype", "quantization", "engine", "batch_rows", "strict", "processes", "ray",
         "ray_workers", "ray_gpus", "slice_rows", "exact"), _MACHINE,
    ),
    **dict.fromkeys(("controls", "seed", "samples", "declare"), _CONTROLS),
}  # fmt: skip
"""Where the help shows options of several groups, by the names of their settings."""

_TWO = '--main "Mnyama: mkunga. Ni wa kundi gani? Jibu:" --aux "Animal: eel. What kind? Answer:"'
EXAMPLES: dict[str, tuple[str, str]] = {
    "demo": ("demo", "demo --planted --variant plain --out planted"),
    "transplant": (
        f"transplant --model MODEL {_TWO} --component ffn --source 7 --target 7",
        f"transplant --model MODEL {_TWO} --preset understanding --json",
    ),
    "check": ("check MODEL", "check MODEL --quick --components attn,ffn"),
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


def _tasks() -> list[str]:
    from crosslatent.tasks.task_loading import shipped_files

    return sorted(shipped_files())


_COMPLETED: dict[str, Callable[[], Iterable[str]]] = {
    "task": _tasks,
    "component": lambda: specs.COMPONENTS,
    "components": lambda: specs.COMPONENTS,
    "controls": lambda: specs.CONTROLS,
    "preset": lambda: specs.PRESETS,
    "engine": lambda: (specs.AUTO, *specs.PATHS),
    "device": lambda: ("auto", "cpu", "cuda", "mps", "spread"),
    "dtype": lambda: ("auto", "float32", "bfloat16", "float16"),
    "quantization": lambda: ("8bit", "4bit"),
    "aux": lambda: ("auto",),
}
"""What the shell may put in place of the beginning of a value, by the name of its setting."""


def completion(name: str) -> Callable[[str], list[str]] | None:
    """What completes the value of an option: of several names, the last one; None if nothing."""
    if name not in _COMPLETED:
        return None

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        known = _COMPLETED[name]()
        return [f"{before}{comma}{one}" for one in known if one.startswith(last)]

    return complete


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

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: its rare options with ``--help-all`` alone, then the examples."""
        params: list[Any] = [*self.params]
        rare = [] if ctx.meta.get(ALL) else [one for one in params if one.name in RARE]
        name = ctx.command_path.partition(" ")[2]
        lines = [f"  crosslatent {example}" for example in EXAMPLES.get(name, ())]
        more = f"{len(rare)} more options: --help-all" if rare else ""
        self.epilog = "\n\n".join(filter(None, ["Examples:" if lines else "", *lines, more]))
        shown = [(one, getattr(one, "hidden", False)) for one in rare]
        try:
            for one, _ in shown:
                one.hidden = True
            super().format_help(ctx, formatter)
        finally:
            for one, before in shown:
                one.hidden = before


def show_all(context: typer.Context, value: bool) -> None:
    """The callback of ``--help-all``."""
    if value and not context.resilient_parsing:
        context.meta[ALL] = True
        print(context.get_help(), end="")  # with Rich, it is printed and not returned
        raise typer.Exit


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
