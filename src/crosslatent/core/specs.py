"""Frozen value types that say what is transplanted where, and their canonical hash.

Layers are 0-based block indices. ``source`` is the block that an activation is read from (in the
run over ``aux``), ``target`` the block that it lands in (in the run over ``main``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.settings import Panel, Setting
from crosslatent.core.untrusted import nearest, parse_json

Component = Literal["attn", "ffn", "attn_residual", "block", "cross_attn", "neurons", "heads"]
"""What is carried across. Definitions: XTransplant (arXiv 2412.12686), section 3; ``attn_residual``
is what the authors' released code carries for attention: module output + residual input.
``cross_attn`` is a decoder's attention over what an encoder made of the prompt. ``neurons`` are
what enters the last matrix of the feed-forward, ``heads`` what enters that of attention, head by
head."""

COMPONENTS: tuple[Component, ...] = ("attn", "ffn", "attn_residual", "block", "cross_attn")
"""Components of the width of the residual stream."""

UNITS: tuple[Component, ...] = ("neurons", "heads")
"""Components of a width of their own, which not every model has (`model.units`)."""

OF_EVERY_MODEL: tuple[Component, ...] = ("attn", "ffn", "attn_residual", "block")
"""Those that every model has; ``cross_attn`` is there in encoder-decoder models alone."""

STRATA = ("same_answer", "same_symbol", "different_answer")
"""Donors of the control ``shuffled``, by what their gold answer has in common with the item's: the
option and the text behind it; the option alone, with another text behind it ("(3)" is a mammal here
and Asia there); or neither. Answers without labels are their own text."""

IDENTITY_COMPONENTS: tuple[Component, ...] = ("attn", "ffn", "block", "cross_attn", *UNITS)
"""Vectors of the prompt itself change nothing at source = target (docs/methods.md 1.1)."""

CONTROLS = ("shuffled", "noise", "mean", "self", "paraphrase")
"""Controls in the order in which they are run; others come after these. In a row's column
``control``, ``none`` is a true transplant, ``vanilla`` the unmodified run over main,
``translate_test`` the unmodified run over aux."""

PART_CONTROLS = ("mean-main", "skip")
"""Controls that say, with ``mean``, which part of an edit carries its gain."""

FEWER_ATTEMPTS = frozenset({"skip"})
"""Controls without a row for each pair, which no union over pairs is compared with."""

SHARED_PREFIX, EXPANDED_CACHE, ORACLE = PATHS = ("shared-prefix", "expanded-cache", "oracle")
"""Ways to compute rows, from the fastest to the plainest (`crosslatent.engine`)."""

EXACT = "exact"
"""How a near-tie was settled: answered again by the oracle, in float32 (`engine.near_ties`)."""

ACCURACY = "accuracy"
"""The share of right answers, as the metric of a task."""

AUTO = "auto"
"""The fastest path that passes a trial on the model."""

FINAL = "final"
"""As a layer: the state after the final norm, transformers' ``hidden_states[-1]``."""

Layer = int | str
"""A block whose output is meant, from 0, or `FINAL`."""

Pair = tuple[int, int]
"""(source, target), both counted from 0."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A place in the model where a vector is read or written: a component of one block."""

    component: Component
    layer: int


@dataclass(frozen=True, slots=True, order=True)
class TransplantSpec:
    """The output of ``component`` of block ``source`` replaces that of block ``target``."""

    component: Component
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Chat:
    """How prompts go through a chat template.

    Attributes:
        arguments: arguments of the template by name, such as ``{"enable_thinking": False}``.
        now: the time, ISO 8601, for a template that asks for it; None for the time of each
            call.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    now: str | None = None


AsChat = bool | Chat
"""Whether prompts go through a chat template, and how if there is more to say."""


PRESETS: Mapping[str, TransplantSpec] = {
    "understanding": TransplantSpec("attn", -1, 0),
    "generation": TransplantSpec("ffn", 0, 0),
    "culture": TransplantSpec("ffn", 0, 0),
}
"""Tuning-free choices by type of task (XTransplant v2, table of presets); -1 is the last layer."""


_NEAR_TIE = {"float32": 1e-3, "float64": 1e-3, "float16": 0.03, "bfloat16": 0.25}


def near_tie_margin(dtype: str) -> float:
    """Gap of the two highest logits below which the batch may decide a step (docs/methods.md, 2).

    Some twenty times what batching was seen to move logits by in float32. For the half-precision
    types it is some times the rounding of logits of ordinary size, and has not been measured.

    Args:
        dtype: of the weights, such as "float32".
    """
    return _NEAR_TIE.get(dtype, _NEAR_TIE["bfloat16"])


_OTHER_NAMES = {
    "attention": "attn", "self_attn": "attn", "mlp": "ffn", "feed-forward": "ffn",
    "feedforward": "ffn", "residual": "block", "layer": "block", "hidden": "block",
}  # fmt: skip
"""What components are called elsewhere."""


def check_component(name: str) -> Component:
    """Return `name` as a component.

    Raises:
        PairError: `name` is no component.
    """
    known = (*COMPONENTS, *UNITS)
    for component in known:
        if name == component:
            return component
    meant = nearest(name, known, _OTHER_NAMES)
    raise PairError(f"Unknown component {name!r}{meant}: use one of {', '.join(known)}.")


def check_controls(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` as controls, in the canonical order and each once.

    Raises:
        UsageError: a name is no control, or one of another package has a name that is taken.
    """
    known = [*CONTROLS, *(name for name in CONTROL_KINDS.names() if name not in CONTROLS)]
    for name in names:
        if name not in known:
            meant = nearest(name, known)
            raise UsageError(f"Unknown control {name!r}{meant}: use {', '.join(known)}.")
    return tuple(control for control in known if control in names)


def check_engine(name: str) -> str:
    """Return `name` as a path, or `AUTO`.

    Raises:
        UsageError: there is no such path.
    """
    if name not in (AUTO, *PATHS):
        meant = nearest(name, (AUTO, *PATHS))
        raise UsageError(f"Unknown engine {name!r}{meant}: use {AUTO}, {', '.join(PATHS)}.")
    return name


def check_preset(name: str) -> TransplantSpec:
    """Return the preset called `name`.

    Raises:
        PairError: there is no such preset.
    """
    if name not in PRESETS:
        meant = nearest(name, PRESETS)
        raise PairError(f"Unknown preset {name!r}{meant}: use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def chat_of(
    chat: bool | None, arguments: Mapping[str, Any] | None = None, now: str | None = None
) -> AsChat:
    """How prompts go through the chat template, from the user's arguments.

    Args:
        chat: whether they do.
        arguments: arguments of the template by name; plain data.
        now: the time, ISO 8601, for a template that asks for it; None for the time of each call.

    Raises:
        UsageError: there are arguments without chat, arguments that are not plain data, or an
            invalid time.
    """
    given = dict(arguments or {})
    if given and not chat:
        raise UsageError(
            f"Arguments of a chat template are given ({', '.join(map(str, given))}), but prompts "
            "do not go through one: give --chat (chat=True) too."
        )
    try:
        plain: dict[str, Any] = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The arguments of a chat template are {given!r}, but names with values of JSON belong "
            "there."
        ) from error
    if now is not None:
        check_time(now)
    return Chat(plain, now) if chat else False


_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""What JSON calls what Python calls otherwise."""


def chat_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """Arguments of a chat template from texts such as ``enable_thinking=false``.

    Args:
        texts: each NAME=VALUE; a value is JSON if it reads as such, else a text.

    Raises:
        UsageError: one is not of that form, is given twice, or is Python where JSON belongs.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not (name and sign):
            raise UsageError(
                f"--chat-arg is {text!r}, but NAME=VALUE belongs there, such as "
                "enable_thinking=false."
            )
        if name in arguments:
            raise UsageError(f"--chat-arg gives {name!r} twice: give it once.")
        if value in _PYTHON:
            raise UsageError(
                f"--chat-arg is {text!r}, where {value} would be a text and not JSON: write "
                f"{name}={_PYTHON[value]}."
            )
        try:
            arguments[name] = parse_json(value)
        except ValueError:
            arguments[name] = value
    return arguments


CHAT = Setting(
    "Put prompts through the tokenizer's chat template.", default=False, panel=Panel.ANSWERS
)
CHAT_ARGS = Setting(
    "A switch of the chat template, such as enable_thinking=false; may be repeated.",
    "NAME=VALUE",
    flags=("--chat-arg",),
    repeated=True,
    read=chat_arguments,
    python='In Python a mapping, such as {"enable_thinking": False}.',
    panel=Panel.ANSWERS,
    rare=True,
)
"""Settings of every command that asks a model."""


def right_now() -> str:
    """The time on this machine's clock, with its distance from UTC, ISO 8601."""
    return dt.datetime.now().astimezone().isoformat(timespec="seconds")


def check_time(text: str) -> dt.datetime:
    """The time that a text says.

    Raises:
        UsageError: it says none.
    """
    try:
        return dt.datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The time {text!r} is none of ISO 8601, such as 2026-07-26T23:30:00+02:00."
        ) from error


def resolve_layer(layer: int, n_layers: int, role: str = "") -> int:
    """Turn a layer that may be counted from the end into a 0-based block index.

    Args:
        layer: ``0 .. n_layers - 1``, or ``-1 .. -n_layers`` counted from the last block.
        n_layers: number of decoder blocks of the model.
        role: which layer it is, for the message ("source", "target"); empty for none in particular.

    Raises:
        PairError: the model has no such block.
    """
    if not isinstance(layer, int):
        raise PairError(f"The {role} layer is {layer!r}: give a whole number, not a text.")
    if not -n_layers <= layer < n_layers:
        which = f"{role} layer" if role else "layer"
        raise PairError(
            f"The {which} {layer} is out of range: this model has {n_layers} blocks, "
            f"so use 0 to {n_layers - 1}, or -1 to -{n_layers} counted from the last."
        )
    return layer % n_layers


def canonical_hash(value: Any) -> str:
    """Hash of plain data that does not depend on key order or on the process: 16 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
