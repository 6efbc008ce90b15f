"""Settings of a transplant and of choosing pairs: a command and a Python function each take them.

Their functions are in rooms that load torch or DuckDB; ``--help`` needs the settings alone.
"""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.settings import (
    Panel,
    Setting,
    count,
    positive,
    real,
    repeated,
    several,
    whole,
)
from crosslatent.core.specs import (
    CHAT,
    CHAT_ARGS,
    OF_EVERY_MODEL,
    PRESETS,
    Component,
    TransplantSpec,
    check_component,
    check_preset,
)
from crosslatent.core.untrusted import nearest

STRENGTH = Setting(
    "own + ALPHA * (vector - own); 1 replaces it.",
    "ALPHA",
    default=1.0,
    read=real,
    panel=Panel.CARRIED,
    rare=True,
)
POSITIONS = Setting(
    "How many of the last tokens to carry over.",
    "K",
    default=1,
    read=positive,
    panel=Panel.CARRIED,
    rare=True,
)
NEW_TOKENS = 20
"""Most new tokens of an answer if nothing says how many."""

_WHAT = "give --component, --source and --target, or --preset NAME or --selector FILE"


def transplants(texts: Iterable[str]) -> tuple[TransplantSpec, ...]:
    """Transplants from texts such as ``ffn:3:0``.

    Raises:
        PairError: a text is of another form, or names an unknown component.
    """
    return tuple(_transplant(text) for text in texts)


def _transplant(text: str) -> TransplantSpec:
    try:
        component, source, target = text.split(":")
        return TransplantSpec(check_component(component), int(source), int(target))
    except ValueError as error:
        raise PairError(
            f"--also is {text!r}, but component, source and target belong there, such as ffn:3:0."
        ) from error


def _components(text: str) -> tuple[Component, ...]:
    return tuple(check_component(name.strip()) for name in text.split(","))


class AnswerSettings(TypedDict, total=False):
    """How the question is asked and answered."""

    max_new_tokens: Annotated[
        int | None,
        count(
            f"Most tokens of the answer; {NEW_TOKENS}, or with --selector as in its run.",
            "T",
            python="The end token is counted in.",
            panel=Panel.ANSWERS,
        ),
    ]
    chat: Annotated[
        bool | None,
        Setting(
            "Put prompts through the tokenizer's chat template, or not; with --selector as in "
            "its run by default.",
            flags=("--chat/--no-chat",),
            panel=Panel.ANSWERS,
        ),
    ]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]


class CarriedSettings(TypedDict, total=False):
    """What is carried across."""

    component: Annotated[
        str | None,
        Setting(
            "attn, ffn, attn_residual or block.",
            "C",
            python='In encoder-decoder models "cross_attn", too.',
            panel=Panel.CARRIED,
            known=OF_EVERY_MODEL,
        ),
    ]
    source: Annotated[
        int | None,
        Setting("Layer in aux, from 0; -1 is the last.", "I", read=whole, panel=Panel.CARRIED),
    ]
    target: Annotated[
        int | None,
        Setting("Layer in main, from 0; -1 is the last.", "J", read=whole, panel=Panel.CARRIED),
    ]
    preset: Annotated[
        str | None,
        Setting(
            "Instead of component and layers: understanding, generation or culture.",
            "NAME",
            panel=Panel.CARRIED,
            known=PRESETS,
        ),
    ]
    also: Annotated[
        Sequence[TransplantSpec],
        repeated(
            "One more transplant in the same answer; may be repeated.",
            "C:I:J",
            read=transplants,
            panel=Panel.CARRIED,
            rare=True,
        ),
    ]
    strength: Annotated[float, STRENGTH]
    positions: Annotated[int, POSITIONS]


class TransplantSettings(CarriedSettings, AnswerSettings, total=False):
    """The settings of `crosslatent.transplant`."""


class AboutSettings(TypedDict, total=False):
    """What is known about the question."""

    lang: Annotated[
        str | None,
        Setting(
            "Language of main, for auto; found out by default.",
            "L",
            python="For culture tasks that of aux. None is not known.",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]
    aux_lang: Annotated[
        str,
        Setting(
            "Language that auto translates into.",
            "L",
            default="en",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]
    options: Annotated[
        Sequence[str],
        several(
            "With --selector: what an answer may be, as '(1),(2)'.",
            "O,O",
            python="A selector that was fitted on questions with options needs them.",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]


class SelectSettings(TypedDict, total=False):
    """On what selectors are fitted and tested."""

    components: Annotated[
        Sequence[Component] | None,
        Setting(
            "What candidates carry; all of RUN by default.",
            "C,C",
            flags=("--component",),
            read=_components,
            panel=Panel.CHOICE,
        ),
    ]
    tune: Annotated[str, Setting("Split to fit on.", "SPLIT", default="pilot", panel=Panel.CHOICE)]
    test: Annotated[
        str | None,
        Setting("Split to test on; the first that can be by default.", "SPLIT", panel=Panel.CHOICE),
    ]
    seed: Annotated[
        int, Setting("Of the intervals.", "S", default=0, read=whole, panel=Panel.CHOICE, rare=True)
    ]
    allow_training_data: Annotated[
        bool,
        Setting(
            "Test also on facts and texts of the split to fit on; every figure says so.",
            default=False,
            panel=Panel.CHOICE,
            rare=True,
        ),
    ]


def transplant_of(carried: CarriedSettings | TransplantSettings) -> TransplantSpec:
    """The transplant that settings name, by its parts or as a preset.

    Raises:
        PairError: they name none, or both, or there is no such component or preset.
    """
    component, source, target = carried["component"], carried["source"], carried["target"]
    parts = {"--component": component, "--source": source, "--target": target}
    absent = [name for name, value in parts.items() if value is None]
    if carried["preset"] is not None:
        if len(absent) < len(parts):
            raise PairError(f"--preset cannot be combined with component or layers: {_WHAT}.")
        return check_preset(carried["preset"])
    if component is None or source is None or target is None:
        raise PairError(f"What to transplant is not clear without {', '.join(absent)}: {_WHAT}.")
    return TransplantSpec(check_component(component), source, target)


IMPROVE_MARKER = "improve.json"
"""What an earlier `improve` leaves behind first: its settings, and which questions and model."""
CHOOSER = "chooser.json"
"""What it keeps at last."""


class ImproveSettings(TypedDict, total=False):
    """What is tried, and how questions are answered."""

    component: Annotated[
        str | Sequence[str],
        several(
            "What is carried across: attn and ffn by default.",
            "C,C",
            python="Or one.",
            panel=Panel.CARRIED,
        ),
    ]
    seed: Annotated[
        int,
        Setting(
            "Of the split, donors, noise and intervals.",
            "N",
            default=0,
            read=whole,
            panel=Panel.CONTROLS,
            rare=True,
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        count(
            f"Most new tokens; the task's by default, {NEW_TOKENS} for prompts.",
            "T",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    score_options: Annotated[
        bool,
        Setting(
            "Score whole options, beside decoding.", default=False, panel=Panel.ANSWERS, rare=True
        ),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    anyway: Annotated[
        bool,
        Setting(
            "Try pairs even where the model does not know the answers.",
            default=False,
            panel=Panel.CARRIED,
            rare=True,
        ),
    ]


COMPARE_MARKER = "compare.json"
"""What an earlier `compare` leaves behind first: its settings, and which questions and model."""


def method_names(asked: Iterable[str]) -> tuple[str, ...]:
    """Names of methods, where the beginning of names means all of them; all if none is given.

    Raises:
        UsageError: there is no such method.
    """
    known, found = METHOD_KINDS.names(), {"vanilla"}
    for name in [*asked] or known:
        members = [one for one in known if one == name or one.startswith(f"{name}-")]
        if not members:
            raise UsageError(
                f"Unknown method {name!r}{nearest(name, known)}: use one of {', '.join(known)}."
            )
        found.update(members)
    first = ("vanilla", "oracle-en", "transplant-pilot")
    # What chooses among the rows of others comes after these.
    return tuple(sorted(found, key=lambda one: (one not in first, one)))


def check_ranking(text: str) -> str:
    """The only ranking that there is.

    Raises:
        UsageError: another one.
    """
    if text != "leagues":
        raise UsageError(
            f"The ranking asked for is {text!r}, but methods that are given the English prompt "
            "know more than those that are not, so there is no ranking of both: give leagues, or "
            "leave it out."
        )
    return text


class CompareSettings(TypedDict, total=False):
    """Which methods are compared, and how questions are answered."""

    methods: Annotated[
        Sequence[str],
        several(
            "Which methods; all by default. A name such as transplant means all that begin so.",
            "M,M",
            python="See `docs/compare.md`.",
            panel=Panel.CONDITIONS,
            known=METHOD_KINDS.names,
        ),
    ]
    quick: Annotated[
        bool,
        Setting(
            "Fewer settings, one seed, shorter training: a first look.",
            default=False,
            panel=Panel.CONDITIONS,
        ),
    ]
    seeds: Annotated[
        int,
        Setting(
            "How many seeds for what trains or draws.",
            "N",
            default=3,
            read=positive,
            panel=Panel.TRAINING,
            rare=True,
        ),
    ]
    ranking: Annotated[
        str,
        Setting(
            "leagues: a ranking for each. There is no other, as they are given unlike information.",
            "leagues",
            default="leagues",
            read=check_ranking,
            panel=Panel.OUTPUT,
            rare=True,
        ),
    ]
    seed: Annotated[
        int,
        Setting(
            "Of the split, of what is drawn, and of intervals.",
            "N",
            default=0,
            read=whole,
            panel=Panel.CHOICE,
            rare=True,
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        count(
            f"Most new tokens; the task's by default, {NEW_TOKENS} for prompts.",
            "T",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    batch_rows: Annotated[
        int | None,
        count("Rows per batch; what memory holds by default.", "N", panel=Panel.MACHINE, rare=True),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
