"""The settings of `probe`, and their checks that need neither a model nor torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.specs import AsChat
from crosslatent.core.subspace import check_rank
from crosslatent.lens.space import SpaceRecord

Pooling = Literal["last", "mean"]
"""The state of the last real token, or the mean over the real tokens."""

HELD_OUT = 64
"""Most texts of a language that are held out: their states are kept in memory."""

LEAST, FEW = 2, 20
"""Texts of a language below which there is no mean to speak of, and below which it is rough."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How texts are read and subspaces fitted; see `crosslatent.lens.probing.probe`."""

    central: str = "en"
    rank: int | None = None
    pooling: Pooling = "last"
    batch_size: int = 16
    chat: AsChat = False
    max_tokens: int | None = None
    held_out: float = 0.5
    seed: int = 0

    def check(self, languages: Sequence[str]) -> None:
        """Refuse what no model and no texts could do.

        Raises:
            SpaceError: languages, central language and rank do not go together.
            UsageError: an unknown pooling, a batch size or max_tokens below 1, or a share of
                held-out texts that is none.
        """
        check_rank(tuple(languages), self.central, self.rank)
        check_pooling(self.pooling)
        check_batch_size(self.batch_size)
        check_max_tokens(self.max_tokens)
        if not 0 <= self.held_out < 1:
            raise UsageError(
                f"held_out is {self.held_out:g}, but it is a share of the texts: give 0 (none) or "
                "more, below 1."
            )


def check_pooling(pooling: str) -> Pooling:
    """The pooling of this name.

    Raises:
        UsageError: there is none.
    """
    for known in get_args(Pooling):
        if pooling == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"The pooling {pooling!r} is not known: give last or mean.")


def check_batch_size(batch_size: int) -> None:
    """Refuse empty batches.

    Raises:
        UsageError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}, but a batch has 1 text or more.")


def check_max_tokens(max_tokens: int | None) -> None:
    """Refuse to cut texts to nothing.

    Raises:
        UsageError: `max_tokens` is below 1.
    """
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max_tokens is {max_tokens}, but a text needs 1 token or more.")


def check_enough(texts: Mapping[str, int]) -> None:
    """Refuse means of next to nothing.

    Args:
        texts: language -> how many there are.

    Raises:
        SpaceError: a language has fewer than `LEAST`.
    """
    for lang, n in texts.items():
        if n < LEAST:
            raise SpaceError(
                f"There is {'1 text' if n else 'no text'} of {lang!r} to fit on, but {LEAST} or "
                "more are needed: give more texts."
            )


def few_texts(record: SpaceRecord) -> list[str]:
    """A sentence for each language whose mean is of fewer than `FEW` texts."""
    return [
        f"the mean states of {lang!r} are of {n} texts only, and {FEW} or more make them steadier"
        for lang, n in record.texts.items()
        if n < FEW
    ]
