"""Settings of `overhead`: the command and the Python function take them."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Sequence
from typing import Annotated, TypedDict

from crosslatent.core.hardware import MACHINES, REACHED, SIZES
from crosslatent.core.settings import More, Panel, Setting, positive, real, whole
from crosslatent.core.shared_settings import NEW_TOKENS
from crosslatent.core.specs import OF_EVERY_MODEL

MARKER = "overhead.json"
"""What `overhead` writes into its folder, by which a folder of an earlier call is recognised."""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive(part) for part in text.split(",")))


_RARELY: More = {"panel": Panel.CARRIED, "rare": True}


class OverheadSettings(TypedDict, total=False):
    """What is measured, planned or counted."""

    plan: Annotated[
        str | None,
        Setting(
            "Compute times instead of measuring: 7B@h200, or a machine with --model.",
            "SIZE@MACHINE",
            panel=Panel.MODEL,
            known=lambda: (f"{size}@{machine}" for size in SIZES for machine in MACHINES),
        ),
    ]
    prompt_tokens: Annotated[
        Sequence[int],
        Setting(
            "Tokens of a prompt.",
            "N,N",
            default=(150, 600),
            shown="150,600",
            read=_numbers,
            panel=Panel.QUESTIONS,
        ),
    ]
    batch_sizes: Annotated[
        Sequence[int],
        Setting(
            "Questions that are answered together.",
            "B,B",
            default=(1, 4),
            shown="1,4",
            read=_numbers,
            panel=Panel.QUESTIONS,
        ),
    ]
    max_new_tokens: Annotated[
        int,
        Setting(
            "New tokens of every answer.",
            "T",
            default=NEW_TOKENS,
            read=positive,
            panel=Panel.ANSWERS,
        ),
    ]
    pairs: Annotated[
        int,
        Setting(
            "Pairs that a selector answers with.",
            "K",
            default=8,
            read=positive,
            panel=Panel.CARRIED,
        ),
    ]
    component: Annotated[
        str,
        Setting(
            "attn, ffn, attn_residual or block.",
            "C",
            default="ffn",
            known=OF_EVERY_MODEL,
            **_RARELY,
        ),
    ]
    layer: Annotated[
        int | None,
        Setting(
            "Block that is read, edited and steered; the middle one by default.",
            "L",
            read=whole,
            **_RARELY,
        ),
    ]
    repetitions: Annotated[
        int,
        Setting(
            "Rounds, each of every way in turn.",
            "R",
            default=5,
            read=positive,
            panel=Panel.MACHINE,
        ),
    ]
    utilisation: Annotated[
        float,
        Setting(
            "With --plan: share of a machine's peak that reading prompts reaches.",
            "SHARE",
            default=REACHED.compute,
            read=real,
            panel=Panel.MACHINE,
            rare=True,
        ),
    ]
    bandwidth_share: Annotated[
        float,
        Setting(
            "With --plan: share of a machine's memory bandwidth that is reached.",
            "SHARE",
            default=REACHED.bandwidth,
            read=real,
            panel=Panel.MACHINE,
            rare=True,
        ),
    ]
    dry_run: Annotated[
        bool,
        Setting("Count multiply-adds, and run nothing.", default=False, panel=Panel.MACHINE),
    ]
    seed: Annotated[
        int,
        Setting("Of the prompts.", "N", default=0, read=whole, panel=Panel.QUESTIONS, rare=True),
    ]
