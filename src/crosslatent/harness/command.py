"""The harness's own command line, called with `crosslatent` among its models."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from crosslatent.core.errors import UsageError

NAME = "crosslatent"
"""What the harness calls the model."""

_YES = ("true", "1", "yes")
_FEWSHOT_SEED_AT = 3
"""Which of the four numbers of ``--seed`` draws the examples."""


def check_installed() -> None:
    """Refuse to go on without the harness.

    Raises:
        UsageError: lm_eval is not installed.
    """
    if find_spec("lm_eval") is None:
        raise UsageError(
            "lm-evaluation-harness (lm_eval) is not installed: pip install 'crosslatent[lm-eval]'."
        )


def run(arguments: Sequence[str]) -> int:
    """Run the harness's command line and return its exit code.

    Args:
        arguments: as after ``lm_eval``; a lone ``--help`` shows the options of ``lm_eval run``.

    Raises:
        UsageError: lm_eval is not installed, or the model's arguments are wrong.
    """
    check_installed()
    from lm_eval.__main__ import cli_evaluate

    own = sys.argv
    try:
        sys.argv = ["lm-eval", *_for_harness(list(arguments))]
        cli_evaluate()
    except SystemExit as leave:
        return _exit_code(leave)
    finally:
        sys.argv = own
    return 0


def _exit_code(leave: SystemExit) -> int:
    if leave.code is None or isinstance(leave.code, int):
        return leave.code or 0
    print(leave.code, file=sys.stderr)
    return 1


def _for_harness(arguments: list[str]) -> list[str]:
    """The arguments, with the flags that decide contexts handed on to the model.

    The harness does not tell a model how contexts are built, and this one builds counterparts.
    """
    if arguments in (["--help"], ["-h"]):
        return ["run", "--help"]
    flags, _ = _parser().parse_known_args(arguments)
    if flags.model != NAME:
        return arguments
    settings = _settings(flags)
    rest = arguments[1:] if arguments[0] == "run" else arguments
    # Before the user's own --model_args, which so have the last word.
    handed = ["--model_args", json.dumps(settings)] if settings else []
    return ["run", *handed, *rest]


def _parser() -> argparse.ArgumentParser:
    """Reads some of the harness's flags; what is wrong with them, the harness itself will say."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", "-M", nargs="?")
    parser.add_argument("--num_fewshot", "-f", nargs="?")
    for name in ("--include_path", "--seed", "--system_instruction"):
        parser.add_argument(name, nargs="?")
    for name in ("--apply_chat_template", "--fewshot_as_multiturn"):
        parser.add_argument(name, nargs="?", const="true")
    return parser


def _settings(flags: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "include_path": flags.include_path,
        "system_instruction": flags.system_instruction,
        "num_fewshot": _number(flags.num_fewshot),
        "fewshot_seed": _fewshot_seed(flags.seed),
    }
    if flags.apply_chat_template is not None:
        settings["apply_chat_template"] = True
    if flags.fewshot_as_multiturn is not None:
        settings["fewshot_as_multiturn"] = flags.fewshot_as_multiturn.lower() in _YES
    return {name: value for name, value in settings.items() if value is not None}


def _fewshot_seed(seeds: str | None) -> int | None:
    numbers = (seeds or "").split(",")
    return _number(numbers[0] if len(numbers) == 1 else "".join(numbers[_FEWSHOT_SEED_AT:]))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None
