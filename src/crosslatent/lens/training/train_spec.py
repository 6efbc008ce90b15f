"""How a training run is set up: `TrainSpec` and `LoraSpec`, which need no torch.

Defaults are those of the released training of Lens (arXiv 2410.04407; docs/methods.md, 7.2).
"""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.core.errors import UsageError
from crosslatent.core.settings import (
    NOT_NEGATIVE,
    SHARE,
    Panel,
    Setting,
    above_zero,
    at_least,
    check,
    field_of,
    names,
    one_of,
    positive,
    real,
    setting,
    whole,
)
from crosslatent.core.specs import CHAT, CHAT_ARGS, FINAL, AsChat, Layer, chat_of, resolve_layer

if TYPE_CHECKING:
    from crosslatent.lens.training.loop import ShowTraining
    from crosslatent.tasks import Task

ALL = "all"
"""As a layer of `TrainSpec.at`: the first trained block, every one above it, and the final norm."""

SCHEDULES = ("cosine", "linear", "constant")
"""The learning rate after the warm-up: down to 0 along a cosine or a line, or constant."""

AUTO, FLOAT32, BFLOAT16 = PRECISIONS = ("auto", "float32", "bfloat16")

MODEL = "model"
SAVE_DTYPES = (AUTO, FLOAT32, MODEL)


def _blocks(text: str) -> int | tuple[int, ...]:
    """``2`` is the top two blocks; ``20,22``, or ``22,`` for one alone, are these."""
    try:
        if "," not in text:
            return int(text)
        return tuple(int(part) for part in text.rstrip(",").split(","))
    except ValueError as error:
        raise ValueError(
            f"{text!r} names no blocks: give how many top blocks, such as 2, or which, such as "
            "20,22."
        ) from error


def _layers(text: str) -> tuple[Layer, ...]:
    """Layers separated by commas: numbers of blocks, and names."""
    return tuple(int(part) if part.lstrip("-").isdigit() else part for part in names(text))


def _strength(text: str) -> float | dict[str, float]:
    """One number, or one by language: ``sw=1.5,hi=1``."""
    if "=" not in text:
        return real(text)
    strengths: dict[str, float] = {}
    for one in names(text):
        lang, _, value = one.partition("=")
        if not lang or not value:
            raise ValueError(
                f"{text!r} is no strength: give a number, or one for each language, such as sw=1.5."
            )
        strengths[lang.strip()] = real(value)
    return strengths


def _clip(text: str) -> float | None:
    """A number, or None for "none"."""
    return None if text == "none" else real(text)


_RARE: dict[str, Any] = {"panel": Panel.TRAINING, "rare": True}
_COUNT: dict[str, Any] = {**_RARE, "metavar": "N", "read": positive, "valid": at_least(1)}
_WEIGHT: dict[str, Any] = {
    **_RARE,
    "default": 1.0,
    "metavar": "W",
    "read": real,
    "valid": NOT_NEGATIVE,
}
_SHARE: dict[str, Any] = {**_RARE, "metavar": "SHARE", "read": real, "valid": SHARE}
_FACTOR: dict[str, Any] = {**_RARE, "metavar": "X", "read": real, "valid": above_zero()}


def _choice(metavar: str, default: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {"metavar": metavar, "default": default, "valid": one_of(*names)}


def _lora(what: str, **attributes: Any) -> dict[str, Any]:
    return {"flags": (f"--lora-{what}",), "label": f"LoRA {what}", **attributes}


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """Low-rank adapters (arXiv 2106.09685) on every linear layer of the trained blocks.

    Raises:
        UsageError: a value is not valid.
    """

    rank: int = setting(help="Rank of adapters.", default=8, **_COUNT | _lora("rank", metavar="R"))
    alpha: float = setting(
        help="Adapters count A / rank.", default=16.0, **_FACTOR | _lora("alpha", metavar="A")
    )
    dropout: float = setting(
        help="Dropout before adapters.", default=0.0, **_SHARE | _lora("dropout", metavar="P")
    )

    def __post_init__(self) -> None:
        check(LoraSpec, self)


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """What is trained, towards what, and how.

    Raises:
        UsageError: a value is not valid.
    """

    blocks: int | tuple[int, ...] = setting(
        help="How many top blocks to train, or which: 22,23.",
        default=2,
        metavar="N|I,J",
        read=_blocks,
        shown="2",
        python="Blocks are counted from 0; negative ones from the end.",
        panel=Panel.TRAINING,
    )
    at: tuple[Layer, ...] = setting(
        help="Where losses are read: blocks, final, or all.",
        default=(FINAL,),
        metavar="L,L|all",
        read=_layers,
        shown=FINAL,
        python="Terms are averaged over them.",
        **_RARE,
    )
    align: float = setting(help="Weight: bring together what is shared.", **_WEIGHT)
    separate: float = setting(help="Weight: push targets to their place.", **_WEIGHT)
    retain: float = setting(help="Weight: keep the central language.", **_WEIGHT)
    strength: float | Mapping[str, float] = setting(
        help="How far to push, in language directions.",
        default=1.0,
        metavar="X|L=X,L=X",
        read=_strength,
        shown="1",
        python="lambda_l of docs/methods.md; a mapping by language, 1 for those not named.",
        **_RARE,
    )
    epochs: int = setting(help="Passes.", default=1, **_COUNT | {"rare": False})
    max_steps: int | None = setting(
        help="Exactly N steps, in place of passes.",
        python="Two objectives with different numbers of rows have the same budget with it.",
        **_COUNT,
    )
    batch_size: int = setting(help="Rows of a batch, over all processes.", default=8, **_COUNT)
    lr: float = setting(
        help="Learning rate.", default=1e-5, label="learning rate", **_FACTOR | {"rare": False}
    )
    weight_decay: float = setting(
        help="Of AdamW.",
        python="Norms and biases have none.",
        **_WEIGHT | {"default": 0.1, "metavar": "X"},
    )
    warmup: float = setting(help="Of all steps, with rising rate.", default=0.05, **_SHARE)
    schedule: str = setting(
        help="After it: cosine, linear or constant.", **_choice("NAME", "cosine", SCHEDULES) | _RARE
    )
    accumulate: int = setting(help="Batches of a step.", default=1, **_COUNT)
    clip: float | None = setting(
        help="Largest norm of a gradient.",
        default=1.0,
        shown="1",
        **_FACTOR | {"metavar": "X|none", "read": _clip, "valid": above_zero(finite=False)},
    )
    seed: int = setting(
        help="Of order, held-out rows and dropout.",
        default=0,
        **_COUNT | {"metavar": "S", "read": whole, "valid": at_least(0)},
    )
    held_out: float = setting(help="Rows that are evaluated only.", default=0.1, **_SHARE)
    patience: int | None = setting(
        help="Stop after N evaluations without a better one, and take the best weights.", **_COUNT
    )
    evaluate_every: int | None = setting(help="Steps; after each epoch by default.", **_COUNT)
    checkpoint_every: int | None = setting(
        help="Steps; about every minute by default.",
        python="Counts for nothing without a folder to keep them in.",
        **_COUNT,
    )
    max_tokens: int = setting(
        help="Cut longer texts.", default=512, **_COUNT | {"panel": Panel.TEXTS}
    )
    chat: bool = field_of(CHAT)
    chat_args: Mapping[str, Any] | None = field_of(CHAT_ARGS)
    clock: str | None = setting(
        help="The time given to a chat template that asks for it, ISO 8601; None for the time at "
        "which the training in the folder began, or now if there is none.",
        only_python=True,
    )
    lora: LoraSpec | None = setting(
        help="Train adapters instead of the blocks' own weights.", only_python=True
    )
    gradient_checkpointing: bool = setting(
        help="Less memory, more time.", default=False, panel=Panel.MACHINE, rare=True
    )
    precision: str = setting(
        help="auto, float32, or bfloat16 (float32 weights).",
        **_choice("P", AUTO, PRECISIONS),
        python="auto is float32 if the model is in float32, else bfloat16.",
        panel=Panel.MACHINE,
        rare=True,
    )
    save_dtype: str = setting(
        help="float32; model (the model's own); auto: float32 if it was trained in that.",
        **_choice("T", AUTO, SAVE_DTYPES),
        python="A half precision has no room for small changes. Adapters are in float32.",
        panel=Panel.OUTPUT,
        rare=True,
    )
    central_answers: bool = setting(
        help="With answers: train on the central prompts too.", default=True, **_RARE
    )

    def __post_init__(self) -> None:
        """Refuse what no model could be trained with."""
        check(TrainSpec, self)
        if self.align == self.separate == self.retain == 0:
            raise UsageError("All three losses have weight 0, so nothing is trained: raise one.")
        chat_of(self.chat, self.chat_args, self.clock)
        by_lang = self.strength if isinstance(self.strength, Mapping) else {"": self.strength}
        for strength in by_lang.values():
            if not math.isfinite(strength):
                raise UsageError(f"The strength is {strength}: give a finite number.")
        for layer in self.at:
            if isinstance(layer, str) and layer not in (FINAL, ALL):
                raise UsageError(
                    f"Unknown layer {layer!r}: use block numbers, {FINAL!r} or {ALL!r}."
                )
        if not self.at:
            raise UsageError(f"No layer is named to read the losses at: name one, or {FINAL!r}.")
        if self.patience is not None and self.held_out == 0:
            raise UsageError(
                f"The patience is {self.patience}, but no row is held out to judge by: give a "
                "share of held-out rows above 0."
            )

    @property
    def as_chat(self) -> AsChat:
        """Whether, and how, texts go through the chat template."""
        return chat_of(self.chat, self.chat_args, self.clock)

    def strength_of(self, lang: str) -> float:
        """lambda_l of one language."""
        if isinstance(self.strength, Mapping):
            return float(self.strength.get(lang, 1.0))
        return float(self.strength)

    def trained_blocks(self, n_layers: int) -> tuple[int, ...]:
        """The blocks to train, 0-based, from the lowest.

        Raises:
            UsageError: there are none, or the model has no such block.
        """
        if isinstance(self.blocks, int):
            if not 1 <= self.blocks <= n_layers:
                raise UsageError(
                    f"{self.blocks} top blocks are to be trained, but this model has {n_layers}: "
                    f"give 1 to {n_layers}."
                )
            return tuple(range(n_layers - self.blocks, n_layers))
        if not self.blocks:
            raise UsageError("No block is named to train: name one or more.")
        found = {resolve_layer(block, n_layers, "trained") for block in self.blocks}
        return tuple(sorted(found))

    def read_at(self, n_layers: int) -> tuple[Layer, ...]:
        """The layers that losses are read at: 0-based blocks in order, then `FINAL`.

        Raises:
            UsageError: the model has no such block, it lies below every trained one, or a trained
                block lies above all of them and would never change.
        """
        blocks = self.trained_blocks(n_layers)
        if ALL in self.at:
            return (*range(blocks[0], n_layers), FINAL)
        named = [layer for layer in self.at if isinstance(layer, int)]
        found = sorted({resolve_layer(layer, n_layers, "loss's") for layer in named})
        if found and found[0] < blocks[0]:
            raise UsageError(
                f"A loss is to be read at block {found[0]}, which training does not change, since "
                f"the first trained block is {blocks[0]}: name blocks from there, or {FINAL!r}."
            )
        if FINAL in self.at:
            return (*found, FINAL)
        if found[-1] < blocks[-1]:
            raise UsageError(
                f"Block {blocks[-1]} is to be trained, but no loss is read at it or above: add "
                f"{FINAL!r} to the layers that losses are read at."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the record and to tell two runs apart."""
        # Chat arguments and clock only if given: records of earlier releases have neither.
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value or name not in ("chat_args", "clock")
        }


class TrainOptions(TypedDict, total=False):
    """What `train` and `train_answers` take beside what is trained on."""

    spec: Annotated[
        TrainSpec | None, Setting(help="The settings; None for those of the released training.")
    ]
    out: Annotated[
        Path | None,
        Setting(
            help="Folder for the trained model, its record and checkpoints.",
            python="The same call again resumes from the last checkpoint, with the same result.",
        ),
    ]
    cache: Annotated[
        Path | None,
        Setting(
            help="Folder where what enters the trained blocks is kept for other runs; it is "
            "removed after training by default."
        ),
    ]
    new: Annotated[bool, Setting(help="Throw away a run that is in `out`.", default=False)]
    progress: Annotated[
        "ShowTraining | None", Setting(help="Called with the progress of training.")
    ]
    about: Annotated[
        Mapping[str, Any] | None, Setting(help='For the record: "space" (a folder), "command".')
    ]
    task: Annotated[
        "Task | None",
        Setting(help="The task that texts are from: its name is recorded with the facts asked."),
    ]
