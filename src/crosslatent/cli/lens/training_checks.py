"""What of ``crosslatent lens train`` can be refused before any model is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import typer

from crosslatent.cli.output import check_output_folder, check_writable_folder
from crosslatent.core.errors import UsageError

LENS, ANSWERS = "lens", "answers"
_OF_LENS = ("at", "align", "separate", "retain", "strength")
_OF_ANSWERS = ("central_answers",)
_OF_LORA = ("lora_rank", "lora_alpha", "lora_dropout")


def is_first() -> bool:
    """Whether this is the only process, or the one of several that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def check_objective(objective: str, task: str | None, space: Path | None) -> None:
    """Refuse an objective that is unknown, lacks what it needs, or has what it does not use."""
    if objective not in (LENS, ANSWERS):
        raise UsageError(f"Unknown objective {objective!r}: use {LENS} or {ANSWERS}.")
    if objective == LENS and space is None:
        raise UsageError(
            "--space is missing: training with language subspaces needs those of the model, from "
            "'crosslatent lens probe'."
        )
    if objective == ANSWERS and task is None:
        raise UsageError("--task is missing: gold answers come from a task's questions.")
    if objective == ANSWERS and space is not None:
        raise UsageError(
            f"--space is {str(space)!r}, but training on answers uses no subspaces: leave it out."
        )


def check_used(context: typer.Context, objective: str, *, lora: bool) -> None:
    """Refuse options that were given and would count for nothing."""
    given = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if objective == ANSWERS:
        _refuse(given, _OF_LENS, "training on answers has none of the losses of Lens")
    else:
        _refuse(given, _OF_ANSWERS, "only training on answers has any")
    if not lora:
        _refuse(given, _OF_LORA, "no adapters are trained without --lora")


def _refuse(given: Mapping[str, object], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is {given[name]!r}, but {why}: leave it out.")


def check_places(out: Path, cache: Path | None) -> None:
    """Refuse folders that cannot be written."""
    from crosslatent.lens.training.record import MARKER

    if not is_first():
        return
    check_output_folder(out, MARKER)
    if cache is not None:
        check_writable_folder(cache)
