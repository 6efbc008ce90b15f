"""The settings of a sweep: what decides its rows, and how it is run."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.core.errors import PairError, TaskError, UsageError
from crosslatent.core.pairs import NONE, PRESET, SHAPES, check_pairs
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.settings import (
    More,
    Panel,
    Setting,
    count,
    positive,
    real,
    repeated,
    several,
    unique,
    whole,
)
from crosslatent.core.shared_settings import POSITIONS, STRENGTH
from crosslatent.core.specs import (
    AUTO,
    CHAT,
    CHAT_ARGS,
    OF_EVERY_MODEL,
    PATHS,
    PRESETS,
    AsChat,
    Component,
    Pair,
    chat_of,
    check_component,
    check_controls,
    check_preset,
)

if TYPE_CHECKING:
    from crosslatent.interventions.condition import Condition
    from crosslatent.interventions.intervention import Intervention


_ANSWERS: More = {"panel": Panel.ANSWERS, "rare": True}
_MACHINE: More = {"panel": Panel.MACHINE, "rare": True}
_OUTPUT: More = {"panel": Panel.OUTPUT, "rare": True}


class SweepSpec(TypedDict, total=False):
    """What is carried across."""

    component: Annotated[
        str | Sequence[str],
        several(
            "What is carried across: attn (default), ffn, attn_residual, block.",
            "C,C",
            python="One or several; none given means the preset's, else attn.",
            panel=Panel.CARRIED,
            known=OF_EVERY_MODEL,
        ),
    ]
    pairs: Annotated[
        str | Sequence[Pair] | None,
        Setting(
            "all (default), none, target-first, source-last, preset:NAME, I:J,I:J or a file.",
            "PAIRS",
            python="Or (source, target) pairs. By default none where conditions are given, and "
            "neither components nor controls.",
            panel=Panel.CARRIED,
            known=(*SHAPES, NONE, *(f"{PRESET}{name}" for name in PRESETS)),
        ),
    ]
    conditions: Annotated[
        "Mapping[str, Intervention | Sequence[Intervention]] | Sequence[str | Condition]",
        repeated(
            "Beside or instead of pairs: what is changed alike for all items, such as "
            "ablate:heads:each:each. Repeat for more.",
            "[NAME=]KIND:...",
            flags=("--condition",),
            python="Or interventions by name. Each is a row of every item, beside the unmodified "
            "model's.",
            panel=Panel.CARRIED,
            rare=True,
        ),
    ]
    controls: Annotated[
        Sequence[str],
        several(
            "shuffled, noise, mean, self, paraphrase, mean-main, skip; none by default.",
            "C,C",
            python="Registered ones too.",
            panel=Panel.CONTROLS,
            known=CONTROL_KINDS,
        ),
    ]
    control_splits: Annotated[
        Sequence[str] | None,
        Setting("Splits whose items get the controls; None for all.", only_python=True),
    ]
    seed: Annotated[
        int,
        Setting(
            "Seed of donors and noise.", "N", default=0, read=whole, panel=Panel.CONTROLS, rare=True
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        count(
            "Most new tokens; the task's by default.",
            "T",
            python="Items without a task have 20.",
            **_ANSWERS,
        ),
    ]
    score_only: Annotated[
        bool,
        Setting("No decoding: the likeliest option is the answer.", default=False, **_ANSWERS),
    ]
    score_options: Annotated[
        bool,
        Setting("Score whole options, beside decoding.", default=False, **_ANSWERS),
    ]
    strength: Annotated[float, STRENGTH]
    positions: Annotated[int, POSITIONS]
    exact: Annotated[
        bool,
        Setting("Answer near-ties again in float32, one row at a time.", default=False, **_ANSWERS),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    clock: Annotated[
        str | None,
        Setting(
            "The time given to a chat template that asks for it, ISO 8601; None for the time "
            "at which the run in the folder was made, or now if there is none.",
            only_python=True,
        ),
    ]
    attribution: Annotated[
        bool,
        Setting("Rank all pairs by gradients too, for selectors.", default=False, **_OUTPUT),
    ]
    samples: Annotated[
        int,
        Setting(
            "Sample K answers without transplant too.", "K", default=0, read=positive, **_OUTPUT
        ),
    ]
    keep_vectors: Annotated[
        bool,
        Setting(
            "Keep the captured vectors too, in safetensors.",
            default=False,
            python="See `Run.vectors`.",
            **_OUTPUT,
        ),
    ]


class RunSettings(TypedDict, total=False):
    """How the run is made."""

    engine: Annotated[
        str,
        Setting(
            "auto, shared-prefix, expanded-cache or oracle.",
            "PATH",
            default=AUTO,
            known=(AUTO, *PATHS),
            python="auto is the fastest that passes a trial on the model; oracle answers one row "
            "at a time.",
            **_MACHINE,
        ),
    ]
    batch_rows: Annotated[
        int | None,
        count("Rows per batch; what memory holds by default.", "N", aside=True, **_MACHINE),
    ]
    new: Annotated[
        bool,
        Setting("Start over, also if a run is there.", default=False, aside=True, **_OUTPUT),
    ]
    strict: Annotated[
        bool,
        Setting("Stop if an item cannot be run, instead of noting it.", default=False, **_OUTPUT),
    ]


def _gpus(text: str) -> float:
    number = real(text)
    if number < 0:
        raise ValueError(f"{text} GPUs cannot be given: give 0 or more.")
    return number


class WorkerSettings(TypedDict, total=False):
    """Workers, instead of this process."""

    processes: Annotated[
        int,
        Setting(
            "Processes of this machine that answer; 1 is this one alone.",
            "N",
            default=1,
            read=positive,
            aside=True,
            python="With more, each loads the model, and so a sweep is given its folder or name.",
            **_MACHINE,
        ),
    ]
    ray: Annotated[
        str | None,
        Setting(
            "Run on workers of Ray: on this machine, or on the cluster at ADDRESS.",
            "[ADDRESS]",
            aside=True,
            python='"local" is this machine.',
            **_MACHINE,
        ),
    ]
    ray_workers: Annotated[
        int | None,
        count(
            "Workers of Ray; one per GPU by default, without GPUs one per core and at most four.",
            "N",
            aside=True,
            **_MACHINE,
        ),
    ]
    ray_gpus: Annotated[
        float | None,
        Setting(
            "GPUs of each worker of Ray; one by default.", "K", read=_gpus, aside=True, **_MACHINE
        ),
    ]
    slice_rows: Annotated[
        int | None,
        count("Rows that a worker gets at a time.", "N", aside=True, **_MACHINE),
    ]


def uses_workers(asked: WorkerSettings) -> bool:
    """Whether workers are asked for, instead of this process.

    Raises:
        UsageError: both sorts of workers, or a setting of workers without them.
    """
    several, ray = asked["processes"] != 1, asked["ray"] is not None
    if several and ray:
        raise UsageError(
            f"--processes is {asked['processes']}, but with --ray the number of workers is that of "
            "--ray-workers: leave one of the two out."
        )
    for name in ("ray_workers", "ray_gpus"):
        if asked.get(name) is not None and not ray:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is about workers of Ray: add --ray, or leave it out.")
    if asked["slice_rows"] is not None and not (several or ray):
        raise UsageError(
            "--slice-rows is about workers: add --processes or --ray, or leave it out."
        )
    return several or ray


def components_of(spec: SweepSpec) -> tuple[str, ...]:
    """The components that a spec names, each once."""
    return unique(spec["component"])


def pairs_of(spec: SweepSpec) -> str | tuple[Pair, ...]:
    """The pairs that a spec asks for."""
    pairs = spec["pairs"]
    if pairs is not None:
        return pairs if isinstance(pairs, str) else tuple(pairs)
    return NONE if spec["conditions"] and not (spec["component"] or spec["controls"]) else "all"


def carried_by(spec: SweepSpec) -> tuple[Component, ...]:
    """The components that a spec carries over, those of its preset or the usual one among them.

    Raises:
        PairError: an unknown component or preset, or settings that do not go together.
    """
    asked = tuple(dict.fromkeys(check_component(name) for name in components_of(spec)))
    pairs = pairs_of(spec)
    if pairs == NONE:
        _check_no_grid(spec)
        return ()
    if not isinstance(pairs, str) or not pairs.startswith(PRESET):
        return asked or ("attn",)
    name = pairs.removeprefix(PRESET)
    preset = check_preset(name)
    if asked not in ((), (preset.component,)):
        raise PairError(
            f"The preset {name!r} carries {preset.component}, but {', '.join(asked)} was asked: "
            "leave the component out, or name the pairs."
        )
    return (preset.component,)


def check_spec(spec: SweepSpec, n_layers: int | None) -> None:
    """Refuse what no model could do, or none of this depth.

    Args:
        spec: what to run.
        n_layers: number of decoder blocks; None if that is not known yet.

    Raises:
        UsageError: a name, a number or a pair of layers that cannot be, or settings that do not go
            together.
    """
    _check_edit(spec["strength"], spec["positions"])
    _check_samples(spec)
    carried_by(spec)
    check_controls(spec["controls"])
    check_pairs(pairs_of(spec), n_layers)


def _check_edit(strength: float, positions: int) -> None:
    if not math.isfinite(strength):
        raise PairError(f"The strength is {strength}: it must be a finite number.")
    if positions < 1:
        raise PairError(f"The number of positions is {positions}: it must be 1 or more.")


def _check_samples(spec: SweepSpec) -> None:
    if spec["samples"] < 0:
        raise TaskError(f"The number of samples is {spec['samples']}: it must be 0 or more.")
    if spec["samples"] and spec["score_only"]:
        raise TaskError(
            "Sampled answers are texts, and score_only makes none: leave one of the two out."
        )


def _check_no_grid(spec: SweepSpec) -> None:
    """Refuse what is of pairs of layers where there are none.

    Raises:
        PairError: something is.
    """
    asked = {
        "component": spec["component"],
        "controls": spec["controls"],
        "attribution": spec["attribution"],
        "keep_vectors": spec["keep_vectors"],
    }
    if named := [name for name, value in asked.items() if value]:
        raise PairError(
            f"There are no pairs of layers, so {', '.join(named)} would do nothing: leave that "
            'out, or ask for pairs, such as "all".'
        )


def chat_settings(spec: SweepSpec) -> AsChat:
    """Whether, and how, prompts go through the chat template.

    Raises:
        UsageError: there are arguments without chat, or some that are no plain data.
    """
    return chat_of(spec["chat"], spec["chat_args"], spec["clock"])
