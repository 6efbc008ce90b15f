"""The harness's command line with `crosslatent` among its models, and the model's arguments."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.specs import AUTO, TransplantSpec, check_component, check_engine, check_preset
from crosslatent.core.untrusted import parse_json

NAME = "crosslatent"
"""What the harness calls the model."""

_YES = ("true", "1", "yes")
_FEWSHOT_SEED_AT = 3
"""Which of the four numbers of ``--seed`` draws the examples."""


def run(arguments: Sequence[str]) -> int:
    """Run the harness's command line and return its exit code.

    Args:
        arguments: as after ``lm_eval``; a lone ``--help`` shows the options of ``lm_eval run``.

    Raises:
        UsageError: the model's arguments are wrong, or lm_eval is not installed.
    """
    need("lm-eval")
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
    settings = {
        "include_path": flags.include_path,
        "system_instruction": flags.system_instruction,
        "num_fewshot": _count(flags.num_fewshot),
        "fewshot_seed": _fewshot_seed(flags.seed),
        "apply_chat_template": None if flags.apply_chat_template is None else True,
        "fewshot_as_multiturn": flags.fewshot_as_multiturn
        and flags.fewshot_as_multiturn.lower() in _YES,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
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


def _fewshot_seed(seeds: str | None) -> int | None:
    numbers = (seeds or "").split(",")
    return _count(numbers[0] if len(numbers) == 1 else "".join(numbers[_FEWSHOT_SEED_AT:]))


def _count(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None


_NONE = ("none", "None", None)
"""Values that mean no component; which one arrives depends on how the harness parsed them."""
_FEWSHOT_SEED = 1234
"""The harness's own default."""


@dataclass(frozen=True, slots=True)
class Building:
    """How the harness builds contexts: the flags of the same names.

    Attributes:
        num_fewshot: examples before the question; None for what each task says.
        fewshot_seed: draws the examples.
        apply_chat_template: whether contexts are chats.
        fewshot_as_multiturn: whether examples are turns of their own in a chat.
        system_instruction: text before everything else.
        folders: where tasks are looked for, beside those of the harness.
    """

    num_fewshot: int | None = None
    fewshot_seed: int = _FEWSHOT_SEED
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True
    system_instruction: str | None = None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of the model.

    Attributes:
        pretrained: folder or name on the hub.
        what: the transplant; None for the unmodified model. Layers may be counted from the end.
        aux: the counterpart task, or the language code that leads to it; empty without transplant.
        strength: alpha in own + alpha * (vector - own); 1 is the paper's replacement.
        positions: how many of the last tokens are carried over.
        device: see `crosslatent.model.load`.
        dtype: see `crosslatent.model.load`.
        quantization: see `crosslatent.model.load`.
        revision: see `crosslatent.model.load`.
        trust_remote_code: see `crosslatent.model.load`.
        engine: "auto", or one of `core.specs.PATHS`.
        batch_rows: rows per batch; None for what memory holds.
        max_gen_toks: most new tokens, where the task does not say.
        chat_args: arguments of the chat template by name.
        building: how contexts are built.
    """

    pretrained: str
    what: TransplantSpec | None = None
    aux: str = ""
    strength: float = 1.0
    positions: int = 1
    device: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    engine: str = AUTO
    batch_rows: int | None = None
    max_gen_toks: int = 256
    chat_args: Mapping[str, Any] = field(default_factory=dict)
    building: Building = Building()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Arguments:
        """Read what the harness hands over.

        Raises:
            UsageError: a name is unknown, a value is of the wrong kind, or something is missing.
        """
        values = _checked(given)
        if "pretrained" not in values:
            raise UsageError(
                "There is no model: give --model_args pretrained=PATH, a folder or a name on the "
                "hub."
            )
        what = _what(given, values)
        if what is not None and "aux" not in values:
            raise UsageError(
                "The transplant has no counterpart: give aux=TASK, or aux=CODE for the task whose "
                "name ends in that language code."
            )
        if values.get("chat_args") and not values.get("apply_chat_template"):
            raise UsageError(
                f"chat_args is {values['chat_args']!r}, but contexts are no chats: give "
                "--apply_chat_template (among the model arguments: apply_chat_template=True) too."
            )
        building = {name: values[name] for name in _BUILDING if name in values}
        folders = [values[name] for name in ("include_path", "aux_path") if name in values]
        return cls(
            what=what,
            aux=values.get("aux", "") if what else "",
            batch_rows=values.get("batch_size") or values.get("max_batch_size"),
            building=Building(**building, folders=tuple(folders)),
            **{name: values[name] for name in _PLAIN if name in values},
        )


def _whole(name: str, value: Any) -> int:
    # The harness reads -1 as -1.0.
    if not isinstance(value, bool) and isinstance(value, int | float) and value == int(value):
        return int(value)
    raise UsageError(f"{name} is {value!r}: give a whole number.")


def _positive(name: str, value: Any) -> int:
    number = _whole(name, value)
    if number < 1:
        raise UsageError(f"{name} is {number}: it must be 1 or more.")
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name} is {value!r}: give a finite number.")
    return float(value)


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: give True or False.")
    return value


def _chat_args(name: str, value: Any) -> dict[str, Any]:
    """An object of JSON, or its text."""
    try:
        found = parse_json(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            f'{name} is {value!r}: give an object of JSON, such as {{"enable_thinking": false}}.'
        )
    return found


def _batch(name: str, value: Any) -> int | None:
    if str(value).partition(":")[0] == AUTO:
        return None
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    return _positive(name, number)


def _text(_name: str, value: Any) -> str:
    return str(value)


_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("pretrained", "device", "dtype", "quantization", "revision"), _text),
    "strength": _number,
    "positions": _positive,
    "trust_remote_code": _yes_or_no,
    "engine": lambda _name, value: check_engine(str(value)),
    "max_gen_toks": _positive,
    "chat_args": _chat_args,
}
"""Fields of `Arguments` that are given by their names."""
_BUILDING: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("num_fewshot", "fewshot_seed"), _whole),
    **dict.fromkeys(("apply_chat_template", "fewshot_as_multiturn"), _yes_or_no),
    "system_instruction": _text,
}
"""Fields of `Building` that are given by their names."""
_KNOWN: dict[str, Callable[[str, Any], Any]] = {
    **_PLAIN,
    **_BUILDING,
    **dict.fromkeys(("component", "preset", "aux", "aux_path", "include_path"), _text),
    **dict.fromkeys(("source", "target"), _whole),
    "batch_size": _batch,
    "max_batch_size": _positive,
}


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in given if name not in _KNOWN]
    if unknown:
        raise UsageError(f"Unknown model argument {unknown[0]!r}: use {', '.join(sorted(_KNOWN))}.")
    return {name: _KNOWN[name](name, value) for name, value in given.items() if value is not None}


def _what(given: Mapping[str, Any], values: Mapping[str, Any]) -> TransplantSpec | None:
    """The transplant, or None if `component=none` or nothing of one was given."""
    if "component" in given and given["component"] in _NONE:
        return None
    parts = ("component", "source", "target")
    absent = [name for name in parts if name not in values]
    if "preset" in values:
        if len(absent) < len(parts):
            raise PairError(
                f"preset={values['preset']} cannot be combined with component, source or target: "
                "leave them out, or the preset."
            )
        return check_preset(values["preset"])
    if len(absent) == len(parts) and "aux" not in values:
        return None
    if absent:
        raise PairError(
            f"What to transplant is not clear without {', '.join(absent)}: give component, source "
            "and target, or preset=NAME, or component=none for the unmodified model."
        )
    return TransplantSpec(check_component(values["component"]), values["source"], values["target"])
