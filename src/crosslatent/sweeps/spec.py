"""The settings of a sweep: what decides its rows, and how it is run."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.core.pairs import NONE
from crosslatent.core.settings import Setting, names, positive, real, unique, whole
from crosslatent.core.specs import AUTO, CHAT, CHAT_ARGS, AsChat, Pair, chat_of

if TYPE_CHECKING:
    from crosslatent.interventions.condition import Condition
    from crosslatent.interventions.intervention import Intervention


class SweepSpec(TypedDict, total=False):
    """What decides the rows of a sweep, beside the model and the task."""

    component: Annotated[
        str | Sequence[str],
        Setting(
            help="What is carried across: attn (default), ffn, attn_residual, block.",
            default=(),
            metavar="C,C",
            read=names,
            python="One or several; none given means the preset's, else attn.",
        ),
    ]
    pairs: Annotated[
        str | Sequence[Pair] | None,
        Setting(
            help="all (default), none, target-first, source-last, preset:NAME, I:J,I:J or a file.",
            metavar="PAIRS",
            python="Or (source, target) pairs. By default none where conditions are given, and "
            "neither components nor controls.",
        ),
    ]
    conditions: Annotated[
        "Mapping[str, Intervention | Sequence[Intervention]] | Sequence[str | Condition]",
        Setting(
            help="Beside or instead of pairs: what is changed alike for all items, such as "
            "ablate:heads:each:each. Repeat for more.",
            default=(),
            metavar="[NAME=]KIND:...",
            flags=("--condition",),
            repeated=True,
            python="Or interventions by name. Each is a row of every item, beside the unmodified "
            "model's.",
        ),
    ]
    controls: Annotated[
        Sequence[str],
        Setting(
            help="shuffled, noise, mean, self, paraphrase; none by default.",
            default=(),
            metavar="C,C",
            read=names,
            python="Registered ones too.",
        ),
    ]
    control_splits: Annotated[
        Sequence[str] | None,
        Setting(help="Splits whose items get the controls; None for all.", only_python=True),
    ]
    seed: Annotated[
        int, Setting(help="Seed of donors and noise.", default=0, metavar="N", read=whole)
    ]
    max_new_tokens: Annotated[
        int | None,
        Setting(
            help="Most new tokens; the task's by default.",
            metavar="T",
            read=positive,
            python="Items without a task have 20.",
        ),
    ]
    score_only: Annotated[
        bool, Setting(help="No decoding: the likeliest option is the answer.", default=False)
    ]
    score_options: Annotated[
        bool, Setting(help="Score whole options, beside decoding.", default=False)
    ]
    strength: Annotated[
        float,
        Setting(
            help="own + ALPHA * (vector - own); 1 replaces it.",
            default=1.0,
            metavar="ALPHA",
            read=real,
        ),
    ]
    positions: Annotated[
        int,
        Setting(
            help="How many of the last tokens to carry over.",
            default=1,
            metavar="K",
            read=positive,
        ),
    ]
    exact: Annotated[
        bool, Setting(help="Answer near-ties again in float32, one row at a time.", default=False)
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    clock: Annotated[
        str | None,
        Setting(
            help="The time given to a chat template that asks for it, ISO 8601; None for the time "
            "at which the run in the folder was made, or now if there is none.",
            only_python=True,
        ),
    ]
    attribution: Annotated[
        bool, Setting(help="Rank all pairs by gradients too, for selectors.", default=False)
    ]
    samples: Annotated[
        int,
        Setting(
            help="Sample K answers without transplant too.",
            default=0,
            metavar="K",
            read=positive,
        ),
    ]
    keep_vectors: Annotated[
        bool,
        Setting(
            help="Keep the captured vectors too, in safetensors.",
            default=False,
            python="See `Run.vectors`.",
        ),
    ]


class RunSettings(TypedDict, total=False):
    """How the rows are computed: no result depends on it."""

    engine: Annotated[
        str,
        Setting(
            help="auto, shared-prefix, expanded-cache or oracle.",
            default=AUTO,
            metavar="PATH",
            python="auto is the fastest that passes a trial on the model; oracle answers one row "
            "at a time.",
        ),
    ]
    batch_rows: Annotated[
        int | None,
        Setting(
            help="Rows per batch; what memory holds by default.",
            metavar="N",
            read=positive,
            aside=True,
        ),
    ]
    new: Annotated[
        bool, Setting(help="Start over, also if a run is there.", default=False, aside=True)
    ]
    strict: Annotated[
        bool,
        Setting(help="Stop if an item cannot be run, instead of noting it.", default=False),
    ]


def _gpus(text: str) -> float:
    number = real(text)
    if number < 0:
        raise ValueError(f"{text} GPUs cannot be given: give 0 or more.")
    return number


class RaySettings(TypedDict, total=False):
    """Workers of Ray, instead of this process: no result depends on them."""

    ray: Annotated[
        str | None,
        Setting(
            help="Run on workers of Ray: on this machine, or on the cluster at ADDRESS.",
            metavar="[ADDRESS]",
            aside=True,
            python='"local" is this machine.',
        ),
    ]
    ray_workers: Annotated[
        int | None,
        Setting(
            help="Workers; one per GPU by default, without GPUs one per core and at most four.",
            metavar="N",
            read=positive,
            aside=True,
        ),
    ]
    ray_gpus: Annotated[
        float | None,
        Setting(help="GPUs of each worker; one by default.", metavar="K", read=_gpus, aside=True),
    ]
    slice_rows: Annotated[
        int | None,
        Setting(help="Rows that a worker gets at a time.", metavar="N", read=positive, aside=True),
    ]


def components_of(spec: SweepSpec) -> tuple[str, ...]:
    """The components that a spec names, each once."""
    return unique(spec["component"])


def pairs_of(spec: SweepSpec) -> str | tuple[Pair, ...]:
    """The pairs that a spec asks for."""
    pairs = spec["pairs"]
    if pairs is not None:
        return pairs if isinstance(pairs, str) else tuple(pairs)
    return NONE if spec["conditions"] and not (spec["component"] or spec["controls"]) else "all"


def chat_settings(spec: SweepSpec) -> AsChat:
    """Whether, and how, prompts go through the chat template.

    Raises:
        UsageError: there are arguments without chat, or some that are no plain data.
    """
    return chat_of(spec["chat"], spec["chat_args"], spec["clock"])
