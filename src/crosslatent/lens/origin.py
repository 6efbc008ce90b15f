"""Whether a space and a model go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crosslatent.errors import SpaceError

if TYPE_CHECKING:
    from crosslatent.lens.space import Space
    from crosslatent.model import Model

_DTYPE_FREE = ("type", "config_hash", "tokenizer_hash")
"""What of an identity does not depend on the type of numbers that a model was loaded in."""


def check_shape(model: Model, space: Space) -> None:
    """Refuse a space whose blocks or width are not the model's.

    Raises:
        SpaceError: they are not.
    """
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
    # The same weights give other hashes in another type of numbers.
    same_type = there.get("dtype") == model.identity.get("dtype")
    names = (*_DTYPE_FREE, "weights_hash") if same_type else _DTYPE_FREE
    for name in names:
        if there.get(name) != model.identity.get(name):
            what = name.replace("_hash", "").replace("_", " ")
            raise SpaceError(
                f"The language space was probed in {space.record.model.get('name')}, which is not "
                f"{model.name} (another {what}): probe this model."
            )
