"""Whether a model, a language space and the settings of training go together. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import ModelError, SpaceError, UsageError

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.lens.training.train_spec import TrainSpec
    from crosslatent.model import Model

_DTYPE_FREE = ("type", "config_hash", "tokenizer_hash")
"""Parts of a model's identity that do not depend on the dtype that it was loaded in."""


def check_decoder(model: Model) -> None:
    """Refuse an encoder-decoder model: texts have no states in its decoder.

    Raises:
        ModelError: it is one.
    """
    from crosslatent.model.structure import refuse_encoder

    refuse_encoder(model.hf, "Lens", "give a causal language model")


def check_shape(model: Model, space: Space) -> None:
    """Refuse a space whose blocks or width are not the model's.

    Raises:
        SpaceError: they are not.
        ModelError: see `check_decoder`.
    """
    check_decoder(model)
    if (space.n_layers, space.d_model) != (model.n_layers, model.d_model):
        raise SpaceError(
            f"The language space has {space.n_layers} blocks of width {space.d_model}, but "
            f"{model.name} has {model.n_layers} of width {model.d_model}: probe this model."
        )


def check_origin(model: Model, space: Space) -> None:
    """Refuse a space whose record names another model, as far as the record shows.

    Raises:
        SpaceError: it does.
    """
    there = space.record.model.get("identity")
    if not isinstance(there, Mapping):
        return
    here = model.identity_now
    other = [name for name in _DTYPE_FREE if there.get(name) != here.get(name)]
    if other or not _same_weights(model, here, space.record.model, there):
        what = other[0].replace("_hash", "").replace("_", " ") if other else "weights"
        raise SpaceError(
            f"The language space was probed in {space.record.model.get('name')}, which is not "
            f"{model.name} (another {what}): probe this model."
        )


def _same_weights(
    model: Model, here: Mapping[str, Any], record: Mapping[str, Any], there: Mapping[str, Any]
) -> bool:
    if there.get("dtype") == here.get("dtype"):
        return bool(there.get("weights_hash") == here.get("weights_hash"))
    from crosslatent.model.model import rounded_weights_hash

    # Rounded, the same weights have the same hash in float32 and bfloat16.
    rounded = record.get("rounded_weights_hash")
    if rounded is None or {there.get("dtype"), here.get("dtype")} != {"float32", "bfloat16"}:
        return True
    return bool(rounded == rounded_weights_hash(model.hf))


def check_training(
    spec: TrainSpec, model: Model, space: Space | None, languages: Sequence[str]
) -> None:
    """Refuse settings of training that this model or this space cannot have.

    Args:
        spec: the settings.
        model: to be trained.
        space: language subspaces; None for training on answers.
        languages: the target languages.

    Raises:
        UsageError: blocks or layers that the model does not have.
        SpaceError: the space was probed in another model.
        ModelError: the precision does not go with the model, its weights are quantised, or it is
            an encoder-decoder.
    """
    check_decoder(model)
    spec.read_at(model.n_layers)
    dtype = str(model.dtype).removeprefix("torch.")
    if spec.precision == "float32" and dtype != "float32":
        raise ModelError(
            f"Training in float32 needs a model in float32, and this one is in {dtype}: load it "
            "with dtype float32, or train in bfloat16."
        )
    strengths = spec.strength if isinstance(spec.strength, Mapping) else {}
    if unknown := [lang for lang in strengths if lang not in languages]:
        raise UsageError(
            f"A strength is given for {unknown[0]!r}, which is not trained: the target languages "
            f"are {', '.join(languages)}."
        )
    if space is not None:
        from crosslatent.lens.training.lora import check_weights

        # Before the origin: quantising changes the weights' hash, but that is not what is wrong.
        check_weights(model, lora=spec.lora is not None, blocks=spec.trained_blocks(model.n_layers))
        check_shape(model, space)
        check_origin(model, space)


def check_languages(space: Space, central: str, languages: Sequence[str]) -> None:
    """Refuse languages that a space does not have.

    Raises:
        SpaceError: no target language, one that the space lacks, or another central language.
    """
    if not [lang for lang in languages if lang != central]:
        raise SpaceError(
            f"There is no target language beside the central one, {central!r}: name another."
        )
    if missing := [lang for lang in languages if lang not in space.languages]:
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
    """A sentence for each way in which the space's texts were read differently from training's."""
    record, arguments, sentences = space.record, dict(spec.chat_args or {}), []
    if record.pooling != "last":
        sentences.append(
            f"the subspaces are of states averaged over tokens (pooling {record.pooling}), but "
            "training moves those of the last token"
        )
    if record.chat != spec.chat:
        was, will = ("with", "without") if record.chat else ("without", "with")
        sentences.append(
            f"the space was probed {was} the chat template, but training reads texts {will} it"
        )
    elif record.chat_args != arguments:
        sentences.append(
            f"the space was probed with the chat template's arguments {record.chat_args}, but "
            f"training reads texts with {arguments}"
        )
    return sentences
