"""Whether a space and a model go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import SpaceError

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.model import Model

_DTYPE_FREE = ("type", "config_hash", "tokenizer_hash")
"""What of an identity does not depend on the type of numbers that a model was loaded in."""


def check_decoder(model: Model) -> None:
    """Refuse a model whose prompts an encoder reads: texts have no states in its decoder.

    Raises:
        ModelError: an encoder does.
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
    """Refuse a space that says that it was probed in another model.

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
    """Whether the weights are those that were probed, as far as the records show."""
    if there.get("dtype") == here.get("dtype"):
        return bool(there.get("weights_hash") == here.get("weights_hash"))
    from crosslatent.model.model import rounded_weights_hash

    # The same weights give other hashes in another type of numbers; rounded, they do not.
    rounded = record.get("rounded_weights_hash")
    types = {there.get("dtype"), here.get("dtype")}
    if rounded is None or types != {"float32", "bfloat16"}:
        return True
    return bool(rounded == rounded_weights_hash(model.hf))
