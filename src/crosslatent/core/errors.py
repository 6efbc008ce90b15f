"""Exceptions of crosslatent, and the exit code of each.

Contract: a message is one clear sentence that says what is wrong, the value seen and what would be
right. ``docs/errors.md`` lists every class with its usual causes.
"""

from __future__ import annotations


class CrosslatentError(Exception):
    """Base class: everything that crosslatent raises on purpose. Exit code 1: the run failed."""

    exit_code = 1


class UsageError(CrosslatentError):
    """The caller asked for something that cannot be done as asked. Exit code 2: wrong usage."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A library that is not installed, since it belongs to an extra of the package."""


class PairError(UsageError):
    """A layer, component, preset or pair specification that the model does not have."""


class PromptError(UsageError):
    """A prompt that is empty, missing its counterpart, or longer than the model's context."""


class ModelError(UsageError):
    """A model that cannot be loaded, or whose blocks and modules cannot be found."""


class TaskError(UsageError):
    """A task or prompt file that cannot be read; names the file, the line and the field."""


class RunFolderError(UsageError):
    """A run or output folder that cannot be written, read or resumed."""


class StorageError(RunFolderError):
    """A place that cannot hold more, or fails while it is written to. Exit code 1."""

    exit_code = 1


class SpaceError(UsageError):
    """Texts, languages or a folder of language subspaces that Lens cannot use."""


class MemoryShortError(ModelError):
    """Memory that does not suffice for a single row."""


class DeviceError(CrosslatentError):
    """A device that fails, or an operation on tensors of several devices; no user error."""


class SweepError(CrosslatentError):
    """A sweep that was stopped by what failed in it; what was finished is kept."""


class ContractError(CrosslatentError):
    """A model on which something does not hold that every result relies on."""


class TrainingError(CrosslatentError):
    """Training that could not go on, such as when the loss is no longer a number."""


ITEM_FAULTS = (
    ArithmeticError,
    LookupError,
    MemoryError,
    ModelError,
    PromptError,
    RuntimeError,
    ValueError,
)
"""Exceptions that an item may cause, from the tokenizer down to the device. Errors of our own code
(`AssertionError`, `TypeError`) and of a disk (`OSError`) are not the fault of an item."""
