"""Loading a model for a command, without the chatter of the libraries below."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from crosslatent.cli.errors import warn
from crosslatent.cli.options import module_paths

if TYPE_CHECKING:
    from crosslatent.distributed import ModelSource
    from crosslatent.model import Model


def load_model(
    name: str,
    revision: str | None,
    device: str,
    dtype: str,
    modules: str | None = None,
    quantization: str | None = None,
) -> Model:
    """Load a model.

    Args:
        name: its folder, or its name on the hub.
        revision: on the hub.
        device: see `crosslatent.model.load`.
        dtype: see `crosslatent.model.load`.
        modules: what --modules says.
        quantization: as for `crosslatent.model.load`.

    Raises:
        UsageError: --modules cannot be read.
        ModelError: it cannot be loaded; see `crosslatent.model.load`.
    """
    paths = module_paths(modules)
    quiet()
    from crosslatent.model import load

    with warnings_in_one_line():
        return load(
            name,
            revision=revision,
            device=device,
            dtype=dtype,
            quantization=quantization,
            modules=paths,
        )


def source_of(
    name: str,
    revision: str | None,
    device: str,
    dtype: str,
    modules: str | None = None,
    quantization: str | None = None,
) -> ModelSource:
    """Where the workers of a sweep load a model from; arguments as for `load_model`.

    Raises:
        UsageError: --modules cannot be read.
    """
    from crosslatent.distributed import ModelSource

    return ModelSource.of(
        name,
        revision=revision,
        device=device,
        dtype=dtype,
        quantization=quantization,
        modules=module_paths(modules),
    )


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Inside, our own warnings look like those of the command line."""
    from crosslatent.model.adapters import AdapterWarning
    from crosslatent.model.tokenizers import TokenizerWarning

    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, AdapterWarning | TokenizerWarning):
                warn(str(message))
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def quiet() -> None:
    """Prepare for torch and transformers; must come before their first import.

    Silences the log of transformers, since an error is one sentence of ours, and lets threads that
    wait for each other spin but shortly. Small models meet often and briefly: without spinning, two
    threads are no faster than one; with the default spinning, a busy machine makes them many times
    slower.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")

    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
