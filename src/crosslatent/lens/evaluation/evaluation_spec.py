"""The settings of `evaluate`, which need no torch."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from crosslatent.core.settings import Setting, positive, whole
from crosslatent.core.specs import CHAT, CHAT_ARGS


class EvaluationSpec(TypedDict, total=False):
    """How questions are asked and answers judged."""

    central: Annotated[
        str | None,
        Setting(help="The central language; that of --space, else English.", metavar="L"),
    ]
    rule: Annotated[
        str | None,
        Setting(
            help="What judges: option, contains, ..., first_token, likelihood, likelihood_mean; "
            "the task's own by default.",
            metavar="RULE",
            python="first_token is the option with the likeliest first token. All rules that fit "
            "are in the rows.",
        ),
    ]
    max_new_tokens: Annotated[
        int | None,
        Setting(help="Most new tokens; the task's by default.", metavar="T", read=positive),
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]
    seed: Annotated[
        int, Setting(help="Of the intervals and tests.", default=0, metavar="S", read=whole)
    ]
    batch_rows: Annotated[
        int | None,
        Setting(help="Rows per batch; what memory holds by default.", metavar="N", read=positive),
    ]
    allow_training_data: Annotated[
        bool,
        Setting(
            help="Evaluate also on what a condition was trained on; every figure says so.",
            default=False,
        ),
    ]
