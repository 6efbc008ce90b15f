"""Conditions as the command line names them. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import check_component
from crosslatent.lens.evaluation.conditions import Combined, Condition, Steered, Transplanted, Tuned
from crosslatent.lens.space import Space

if TYPE_CHECKING:
    from crosslatent.lens.steer import Part


def parse_tuned(texts: Sequence[str]) -> list[Tuned]:
    """``NAME=DIR``, or ``NAME:LANG=DIR`` for each language of one condition.

    Raises:
        UsageError: a text is neither, or two of them do not go together.
    """
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        label, folder = _named(text, "--tuned", "NAME=DIR or NAME:LANG=DIR")
        name, _, lang = label.partition(":")
        models = found.setdefault(name, {})
        # The key of a model for all languages is the empty text.
        if lang in models or (models and "" in (lang, *models)):
            raise UsageError(
                f"--tuned gives {name!r} more than one model for the same questions: give one for "
                "all languages, or one for each."
            )
        models[lang] = folder
    return [Tuned(name, models.get("") or models) for name, models in found.items()]


def parse_steer(text: str, space: Space) -> Steered:
    """``NAME=LAYERS:ALPHA`` or ``NAME=LAYERS:ALPHA:agnostic``; layers are separated by commas.

    Raises:
        UsageError: it is neither.
    """
    form = "NAME=LAYER:ALPHA, with ':agnostic' after it if the shared part is to be moved"
    name, rest = _named(text, "--steer", form)
    layers, _, how = rest.partition(":")
    alpha, _, part = how.partition(":")
    if part not in ("", "direction", "agnostic"):
        raise UsageError(f"--steer is {text!r}, but {form} belongs there.")
    try:
        blocks = tuple(int(layer) for layer in layers.split(","))
        return Steered(name, space, float(alpha), blocks, _part(part))
    except ValueError as error:
        raise UsageError(f"--steer is {text!r}, but {form} belongs there.") from error


def parse_transplant(text: str) -> Transplanted:
    """``COMPONENT:SOURCE:TARGET``, with ``NAME=`` before it or called as it reads.

    Raises:
        UsageError: it is not that.
        PairError: the component is unknown.
    """
    name, _, rest = text.rpartition("=")
    component, *layers = rest.split(":")
    try:
        source, target = map(int, layers)
    except ValueError as error:
        raise UsageError(
            f"--transplant is {text!r}, but COMPONENT:SOURCE:TARGET such as ffn:0:0 belongs there."
        ) from error
    return Transplanted(name or rest, check_component(component), source, target)


def parse_combined(text: str, known: Iterable[Condition]) -> Combined:
    """``NAME=STEERING+TRANSPLANT``, the names of two conditions.

    Raises:
        UsageError: it is not that, or there are no such conditions.
    """
    form = "NAME=STEERING+TRANSPLANT, the names of two other conditions"
    name, rest = _named(text, "--combine", form)
    by_name = {one.name: one for one in known}
    first, _, second = rest.partition("+")
    steered, transplanted = by_name.get(first), by_name.get(second)
    if not isinstance(steered, Steered) or not isinstance(transplanted, Transplanted):
        raise UsageError(
            f"--combine is {text!r}, but {form}, belongs there; there are "
            f"{', '.join(by_name) or 'none'}."
        )
    return Combined(name, steered, transplanted)


def _part(text: str) -> Part:
    return "agnostic" if text == "agnostic" else "direction"


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    name, found, rest = text.partition("=")
    if not (found and name.strip() and rest.strip()):
        raise UsageError(f"{option} is {text!r}, but {form} belongs there.")
    return name.strip(), rest.strip()
