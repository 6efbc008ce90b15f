"""How a training run is set up: `TrainSpec`, `LoraSpec`, and what of it a model cannot do.

Defaults are those of the released training of Lens (arXiv 2410.04407; docs/methods.md, 7.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import ModelError, SpaceError, UsageError
from crosslatent.core.specs import AsChat, chat_of, resolve_layer
from crosslatent.lens.origin import check_decoder, check_origin, check_shape
from crosslatent.lens.space import FINAL, Layer

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.model import Model

ALL = "all"
"""As a layer of `TrainSpec.at`: the first trained block, every one above it, and the final norm."""

SCHEDULES = ("cosine", "linear", "constant")
"""The learning rate after the warm-up: decay to 0 along a cosine or a line, or constant."""

AUTO, FLOAT32, BFLOAT16 = PRECISIONS = ("auto", "float32", "bfloat16")

MODEL = "model"
SAVE_DTYPES = (AUTO, FLOAT32, MODEL)
"""In what the trained model is saved; see `TrainSpec.save_dtype`."""


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """Low-rank adapters (arXiv 2106.09685) on every linear layer of the trained blocks.

    Attributes:
        rank: of every update.
        alpha: updates are scaled by alpha / rank.
        dropout: share of an adapter's inputs that is left out at random while training.

    Raises:
        UsageError: a value makes no sense.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least("LoRA rank", self.rank, 1)
        _positive("LoRA alpha", self.alpha)
        _share("LoRA dropout", self.dropout)


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """What is trained, towards what, and how.

    Attributes:
        blocks: how many blocks from the top, or which (0-based; negative ones from the end).
        at: where the losses of Lens are read: block outputs, `FINAL` (after the final norm), or
            `ALL`. Terms are averaged over them.
        align: weight of the loss that pulls together what languages share.
        separate: weight of the loss that pushes a language towards its own place.
        retain: weight of the loss that keeps the central language where it was.
        strength: lambda_l, how far a language is pushed, as a multiple of its direction; one
            number, or one by language (1 for those not named).
        epochs: passes over the rows.
        max_steps: exactly so many steps, in place of whole passes; two objectives with different
            numbers of rows have the same budget with it.
        batch_size: rows of a forward, over all processes.
        lr: highest learning rate.
        weight_decay: of AdamW; norms and biases have none.
        warmup: share of all steps in which the learning rate rises.
        schedule: what follows the warm-up, one of `SCHEDULES`.
        accumulate: batches of one step.
        clip: largest norm of a step's gradient; None for any.
        seed: of the order of rows, of held-out rows and of dropout.
        held_out: share of the rows that are kept from training and evaluated.
        patience: evaluations without a better held-out loss after which training stops, and the
            best weights are taken; None to train to the end and take the last ones.
        evaluate_every: steps between evaluations; None for one after every epoch.
        checkpoint_every: steps between checkpoints, beside those at evaluations; None for one about
            every minute. Counts for nothing without a folder to keep them in.
        max_tokens: longer texts lose what is beyond.
        chat: put texts through the tokenizer's chat template.
        chat_args: arguments of the template by name, such as ``{"enable_thinking": False}``.
        clock: the time, ISO 8601, for a template that asks for it; None for the time
            at which the training in the folder began, or now if there is none.
        lora: train adapters instead of the blocks' own weights.
        gradient_checkpointing: compute the blocks again for the gradient instead of keeping what
            they computed; slower, with less memory.
        precision: "float32"; "bfloat16" (matrix products in bfloat16, trained weights kept in
            float32); "auto" for float32 if the model is in float32, else bfloat16.
        save_dtype: of the saved model: "model" rounds trained weights to the dtype that the model
            had, and a half precision has no room for small changes; "float32" saves the whole
            model, which has one dtype, in float32; "auto" is "float32" if weights were trained in
            float32 that had been in half precision. Adapters are in float32 in any case.
        central_answers: whether training on answers has the central language's prompts too.

    Raises:
        UsageError: a value makes no sense.
    """

    blocks: int | tuple[int, ...] = 2
    at: tuple[Layer, ...] = (FINAL,)
    align: float = 1.0
    separate: float = 1.0
    retain: float = 1.0
    strength: float | Mapping[str, float] = 1.0
    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 8
    lr: float = 1e-5
    weight_decay: float = 0.1
    warmup: float = 0.05
    schedule: str = "cosine"
    accumulate: int = 1
    clip: float | None = 1.0
    seed: int = 0
    held_out: float = 0.1
    patience: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    max_tokens: int = 512
    chat: bool = False
    chat_args: Mapping[str, Any] = field(default_factory=dict)
    clock: str | None = None
    lora: LoraSpec | None = None
    gradient_checkpointing: bool = False
    precision: str = AUTO
    save_dtype: str = AUTO
    central_answers: bool = True

    def __post_init__(self) -> None:
        """Refuse what no model could be trained with."""
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None:
                _at_least(_words(name), value, 1)
        _at_least("seed", self.seed, 0)
        for name in ("held_out", "warmup"):
            _share(_words(name), getattr(self, name))
        _positive("learning rate", self.lr)
        _not_negative("learning rate", self.lr)
        _positive("clip", math.inf if self.clip is None else self.clip)
        for name in ("align", "separate", "retain", "weight_decay"):
            _not_negative(_words(name), getattr(self, name))
        if self.align == self.separate == self.retain == 0:
            raise UsageError("All three losses have weight 0, so nothing is trained: raise one.")
        chat_of(self.chat, self.chat_args, self.clock)
        self._check_names()
        if self.patience is not None and self.held_out == 0:
            raise UsageError(
                f"The patience is {self.patience}, but no row is held out to judge by: give a "
                "share of held-out rows above 0."
            )

    @property
    def as_chat(self) -> AsChat:
        """Whether, and how, texts go through the chat template."""
        return chat_of(self.chat, self.chat_args, self.clock)

    def _check_names(self) -> None:
        for strength in self._strengths().values():
            if not math.isfinite(strength):
                raise UsageError(f"The strength is {strength}: give a finite number.")
        for name, known in (
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("save_dtype", SAVE_DTYPES),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"Unknown {_words(name)} {value!r}: use {', '.join(known)}.")
        for layer in self.at:
            if isinstance(layer, str) and layer not in (FINAL, ALL):
                raise UsageError(
                    f"Unknown layer {layer!r}: use block numbers, {FINAL!r} or {ALL!r}."
                )
        if not self.at:
            raise UsageError(f"No layer is named to read the losses at: name one, or {FINAL!r}.")

    def _strengths(self) -> Mapping[str, float]:
        return self.strength if isinstance(self.strength, Mapping) else {"": self.strength}

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
        plain = asdict(self)
        plain["strength"] = (
            dict(self.strength) if isinstance(self.strength, Mapping) else self.strength
        )
        # Only where there are some, so that a run of before them is still the same.
        unsaid = [name for name in ("chat_args", "clock") if not plain[name]]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
            if name not in unsaid
        }


def check(spec: TrainSpec, model: Model, space: Space | None, languages: Sequence[str]) -> None:
    """Refuse a setting that this model or this space cannot serve.

    Args:
        spec: the setting.
        model: to be trained.
        space: language subspaces; None for training on answers.
        languages: the target languages.

    Raises:
        UsageError: blocks or layers that the model does not have.
        SpaceError: the space was probed in another model.
        ModelError: the precision does not go with the model, its weights are quantised, or an
            encoder reads its prompts.
    """
    check_decoder(model)
    spec.read_at(model.n_layers)
    dtype = str(model.dtype).removeprefix("torch.")
    if spec.precision == FLOAT32 and dtype != "float32":
        raise ModelError(
            f"Training in float32 needs a model in float32, and this one is in {dtype}: load it "
            "with dtype float32, or train in bfloat16."
        )
    if isinstance(spec.strength, Mapping):
        unknown = [lang for lang in spec.strength if lang not in languages]
        if unknown:
            raise UsageError(
                f"A strength is given for {unknown[0]!r}, which is not trained: the target "
                f"languages are {', '.join(languages)}."
            )
    if space is not None:
        from crosslatent.lens.training.lora import check_weights

        # Before the origin: weights that were quantised since are others, but that is not why.
        check_weights(model, lora=spec.lora is not None, blocks=spec.trained_blocks(model.n_layers))
        check_shape(model, space)
        check_origin(model, space)


def check_languages(space: Space, central: str, languages: Sequence[str]) -> None:
    """Refuse languages that a space cannot serve; takes no model.

    Raises:
        SpaceError: no target language, one that the space lacks, or another central language.
    """
    if not [lang for lang in languages if lang != central]:
        raise SpaceError(
            f"There is no target language beside the central one, {central!r}: name another."
        )
    missing = [lang for lang in languages if lang not in space.languages]
    if missing:
        raise SpaceError(
            f"The space knows nothing of {missing[0]!r}, only {', '.join(space.languages)}: probe "
            "with that language too."
        )
    if central != space.central:
        raise SpaceError(
            f"The central language is {central!r}, but the space's directions start from "
            f"{space.central!r}: name that one, or probe again."
        )


def read_otherwise(space: Space, spec: TrainSpec) -> list[str]:
    """A sentence for each way in which the space's texts were read otherwise than these will be."""
    record, found = space.record, []
    if record.pooling != "last":
        found.append(
            f"the subspaces are of states averaged over tokens (pooling {record.pooling}), but "
            "training moves those of the last token"
        )
    if record.chat != spec.chat:
        was, will = ("with", "without") if record.chat else ("without", "with")
        found.append(
            f"the space was probed {was} the chat template, but training reads texts {will} it"
        )
    elif record.chat_args != dict(spec.chat_args):
        found.append(
            f"the space was probed with the chat template's arguments {record.chat_args}, but "
            f"training reads texts with {dict(spec.chat_args)}"
        )
    return found


_COUNTS = (
    "epochs",
    "max_steps",
    "batch_size",
    "accumulate",
    "max_tokens",
    "patience",
    "evaluate_every",
    "checkpoint_every",
)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _at_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"The setting {what!r} is {value}: give {least} or more.")


def _positive(what: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"The setting {what!r} is {value}: give a number above 0.")


def _not_negative(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"The setting {what!r} is {value}: give a number of 0 or more.")


def _share(what: str, value: float) -> None:
    if not 0 <= value < 1:
        raise UsageError(
            f"The setting {what!r} is {value}: give a share of 0 or more, and below 1."
        )
