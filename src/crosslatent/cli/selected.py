"""``crosslatent transplant --selector``: a saved selector chooses the pair for one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.cli.errors import warn
from crosslatent.cli.output import console, print_json, print_text
from crosslatent.core.errors import PairError

if TYPE_CHECKING:
    from crosslatent.api.selected import Selected
    from crosslatent.model import Model


def check_alone(
    selector: Path | None,
    *,
    strength: float = 1.0,
    positions: int = 1,
    options: str | None = None,
    **given: Any,
) -> None:
    """Refuse what a selector chooses itself, or took over from the run that it was fitted on.

    Args:
        selector: its file; None = the pair is given.
        strength: as given, or 1.
        positions: as given, or 1.
        options: what an answer may be, which nothing but a selector reads.
        given: what else says which pair it is; what is true was given.

    Raises:
        PairError: something of that is given too, or options without a selector.
    """
    if selector is None and options is not None:
        raise PairError(
            f"--options is {options!r}, but only a selector reads it: give --selector FILE, or "
            "leave --options out."
        )
    run = {"strength": strength != 1, "positions": positions != 1}
    taken = [f"--{name}" for name, value in run.items() if value]
    if selector is not None and taken:
        raise PairError(
            f"--selector takes strength and positions from the run that it was fitted on, but "
            f"{', '.join(taken)} is given too: leave one of the two out."
        )
    named = [f"--{name}" for name, value in given.items() if value]
    if selector is not None and named:
        raise PairError(
            f"--selector chooses the pair itself, but {', '.join(named)} is given too: leave one "
            "of the two out."
        )


def transplant_by(
    selector: Path,
    model: Model,
    main: str,
    aux: str,
    *,
    lang: str | None,
    aux_lang: str,
    options: Sequence[str],
    max_new_tokens: int | None,
    chat: bool | None,
    chat_args: Mapping[str, Any] | None,
    as_json: bool,
) -> None:
    """Answer main with what a saved selector chooses, and print it.

    Args:
        selector: what `crosslatent select --save` kept.
        model: the model.
        main: the prompt that is answered.
        aux: its counterpart.
        lang: language that tells questions apart; None = not known.
        aux_lang: language of aux.
        options: what an answer may be; empty = an open question.
        max_new_tokens: most new tokens; None = as in the run that the selector was fitted on.
        chat: through the chat template; None = as in that run.
        chat_args: arguments of the template by name; None = as in that run.
        as_json: print JSON.

    Raises:
        UsageError: the selector cannot be read, or was fitted on another kind of model.
        PromptError: a prompt is empty, or longer than the context.
    """
    from crosslatent.api.selected import transplant_selected
    from crosslatent.core.languages import UNKNOWN
    from crosslatent.selectors.saved import load

    found = transplant_selected(
        model,
        load(selector),
        main=main,
        aux=aux,
        lang=lang or UNKNOWN,
        aux_lang=aux_lang,
        options=options or None,
        max_new_tokens=max_new_tokens,
        chat=chat,
        chat_args=chat_args,
    )
    for text in found.warnings:
        warn(text)
    if found.trained_on:
        warn(
            "the selector was fitted on this question (1 of 1 was trained on): its choice here "
            "says nothing of others."
        )
    if as_json:
        print_json(found.to_dict() | {"main": main, "aux": aux})
    else:
        _print(found)


def _print(found: Selected) -> None:
    from rich.table import Table
    from rich.text import Text

    chosen = found.chosen
    what = (
        "left unmodified"
        if chosen is None
        else f"{chosen.component} {chosen.source} -> {chosen.target}"
    )
    table = Table(show_lines=True, expand=False)
    table.add_column("unmodified")
    table.add_column(f"{found.selector}: {what}")
    table.add_row(
        Text(found.vanilla.strip() or "(nothing)"), Text(found.output.strip() or "(nothing)")
    )
    console().print(table)
    print_text(
        f"chosen out of {found.candidates} pairs, for {found.cost:g} times the cost of an "
        "unmodified answer",
        style="dim",
    )
    if found.trained_on is None:
        print_text("on which questions the selector was fitted is not known", style="dim")
