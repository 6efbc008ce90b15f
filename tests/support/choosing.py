"""One question answered by a saved selector."""

from __future__ import annotations

from typing import Any

from crosslatent import Chooser, Model
from crosslatent.api.transplants import Selected
from crosslatent.selectors.saved import SavedSelector


def answered(
    model: Model,
    saved: SavedSelector,
    *,
    main: str,
    aux: str,
    about: dict[str, Any] | None = None,
    **how: Any,
) -> Selected:
    """The answer to a question; `about`: its language and options."""
    item = {"main": main, "aux": aux, **(about or {})}
    (found,) = Chooser(saved).answer(model, [item], force=True, **how)
    return found
