"""Loading a model for a command, without the chatter of the libraries below."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosslatent.model import Model


def load_model(name: str, revision: str | None, device: str, dtype: str) -> Model:
    """Load a model.

    Raises:
        ModelError: it cannot be loaded; see `crosslatent.model.load`.
    """
    quiet()
    from crosslatent.model import load

    return load(name, revision=revision, device=device, dtype=dtype)


def quiet() -> None:
    """Prepare for torch and transformers; must come before their first import.

    Silences the log of transformers, since an error is one sentence of ours, and keeps threads that
    wait for each other from spinning: on a busy machine that makes small models many times slower.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
