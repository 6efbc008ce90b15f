"""What must hold of the model and the space before training: checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crosslatent.core.errors import ModelError, SpaceError, UsageError
from crosslatent.lens.origin import check_decoder, check_origin, check_shape
from crosslatent.lens.training.train_spec import FLOAT32, TrainSpec

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.model import Model


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
    elif record.chat_args != dict(spec.chat_args or {}):
        found.append(
            f"the space was probed with the chat template's arguments {record.chat_args}, but "
            f"training reads texts with {dict(spec.chat_args or {})}"
        )
    return found
