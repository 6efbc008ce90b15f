"""The settings of `probe` and of `evaluate`, with their checks; they need no torch."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast, get_args

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.settings import Panel, Setting, positive, real, whole
from crosslatent.core.specs import CHAT, CHAT_ARGS

if TYPE_CHECKING:
    from crosslatent.lens.space import SpaceRecord


Pooling = Literal["last", "mean"]
"""The state of the last real token, or the mean over the real tokens."""

HELD_OUT = 64
"""Most texts of a language that are held out: their states are kept in memory."""

LEAST, FEW = 2, 20
"""Texts of a language below which there is no mean to speak of, and below which it is rough."""


class ProbeSpec(TypedDict, total=False):
    """How texts are read and subspaces fitted."""

    central: Annotated[
        str,
        Setting(
            help="The language that directions start from.",
            default="en",
            metavar="L",
            panel=Panel.TEXTS,
        ),
    ]
    rank: Annotated[
        int | None,
        Setting(
            help="Of the specific subspaces; languages - 1 by default.",
            metavar="R",
            read=whole,
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    pooling: Annotated[
        str,
        Setting(
            help="State of the last token, or of all, averaged.",
            default="last",
            metavar="last|mean",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    batch_size: Annotated[
        int,
        Setting(
            help="Texts per forward.",
            default=16,
            metavar="N",
            read=positive,
            panel=Panel.MACHINE,
            rare=True,
        ),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    max_tokens: Annotated[
        int | None,
        Setting(
            help="Cut longer texts; at the model's context.",
            metavar="N",
            read=positive,
            panel=Panel.TEXTS,
            rare=True,
        ),
    ]
    held_out: Annotated[
        float,
        Setting(
            help="Texts to test separability on, at most 64 a language.",
            default=0.5,
            metavar="SHARE",
            read=real,
            python="The means of the result are over all texts; 0 tests nothing.",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    seed: Annotated[
        int,
        Setting(
            help="Of the held-out texts and intervals.",
            default=0,
            metavar="S",
            read=whole,
            python="A text's content decides with it.",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]


class EvaluationSpec(TypedDict, total=False):
    """How questions are asked and answers judged."""

    central: Annotated[
        str | None,
        Setting(
            help="The central language; that of --space, else English.",
            metavar="L",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]
    rule: Annotated[
        str | None,
        Setting(
            help="What judges: option, contains, ..., first_token, likelihood, likelihood_mean; "
            "the task's own by default.",
            metavar="RULE",
            python="first_token is the option with the likeliest first token. All rules that fit "
            "are in the rows.",
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        Setting(
            help="Most new tokens; the task's by default.",
            metavar="T",
            read=positive,
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    seed: Annotated[
        int,
        Setting(
            help="Of the intervals and tests.",
            default=0,
            metavar="S",
            read=whole,
            panel=Panel.ANSWERS,
            rare=True,
        ),
    ]
    batch_rows: Annotated[
        int | None,
        Setting(
            help="Rows per batch; what memory holds by default.",
            metavar="N",
            read=positive,
            panel=Panel.MACHINE,
            rare=True,
        ),
    ]
    allow_training_data: Annotated[
        bool,
        Setting(
            help="Evaluate also on what a condition was trained on; every figure says so.",
            default=False,
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]


def check_probe(spec: ProbeSpec, languages: Sequence[str]) -> None:
    """Refuse what no model and no texts could do.

    Raises:
        SpaceError: languages, central language and rank do not go together.
        UsageError: an unknown pooling, a batch size or max_tokens below 1, or a share of held-out
            texts that is none.
    """
    from crosslatent.core.subspace import check_rank

    check_rank(tuple(languages), spec["central"], spec["rank"])
    check_pooling(spec["pooling"])
    check_batch_size(spec["batch_size"])
    check_max_tokens(spec["max_tokens"])
    if not 0 <= spec["held_out"] < 1:
        raise UsageError(
            f"held_out is {spec['held_out']:g}, but it is a share of the texts: give 0 (none) or "
            "more, below 1."
        )


def check_pooling(pooling: str) -> Pooling:
    """The pooling of this name.

    Raises:
        UsageError: there is none.
    """
    if pooling not in get_args(Pooling):
        raise UsageError(f"The pooling {pooling!r} is not known: give last or mean.")
    return cast("Pooling", pooling)


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


def few_texts(record: "SpaceRecord") -> list[str]:
    """A sentence for each language whose mean is of fewer than `FEW` texts."""
    return [
        f"the mean states of {lang!r} are of {n} texts only, and {FEW} or more make them steadier"
        for lang, n in record.texts.items()
        if n < FEW
    ]
