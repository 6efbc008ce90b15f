"""`Condition`: interventions under a name that are the same for every item.

In words: ``KIND:SETTINGS``, where the kind reads its own settings; several joined by ``+`` hold at
once; ``NAME=`` before them gives a name. ``ablate:heads:each:each`` is a condition for every head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import canonical_hash
from crosslatent.interventions.intervention import KINDS, Intervention, check_places, check_sites

if TYPE_CHECKING:
    from crosslatent.model import Model


MOST = 60_000
"""Conditions of a run: a row's key has room for no more."""


@dataclass(frozen=True)
class Condition:
    """Interventions that hold together for every item.

    Attributes:
        name: what it is called in results.
        row: the interventions.

    Raises:
        UsageError: there is no name, no intervention, or one that cannot be compared by value.
        PairError: two of them change one place.
    """

    name: str
    row: tuple[Intervention, ...]

    def __post_init__(self) -> None:
        """Refuse what changes nothing or has no identity."""
        if not self.name.strip():
            raise UsageError("A condition has no name: give one.")
        if not self.row:
            raise UsageError(f"The condition {self.name!r} changes nothing: give an intervention.")
        check_sites(self.row)
        assert self.id  # What has none is refused now.

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """What the interventions consist of, as plain data; tensors by their hash."""
        return [_described(each) for each in self.row]

    @cached_property
    def id(self) -> str:
        """Canonical hash of the interventions: 16 hex digits; the name does not count."""
        return canonical_hash(self.settings)

    @property
    def about(self) -> str:
        """One sentence for people."""
        return f"{'; '.join(each.about for each in self.row)}."

    def to_dict(self) -> dict[str, Any]:
        """What a run folder keeps of it."""
        kept = {"id": self.id, "name": self.name, "about": self.about}
        return {**kept, "interventions": self.settings}


def check_texts(texts: Iterable[str]) -> None:
    """Refuse conditions in words whose kinds are unknown, before a model is loaded.

    Raises:
        UsageError: a text names no kind.
    """
    known = KINDS.names()
    for text in texts:
        for kind, _ in _parts(text):
            if kind not in known:
                _refuse(text, f"there is no kind {kind!r} of interventions")


def conditions_of(
    model: Model,
    asked: Mapping[str, Intervention | Sequence[Intervention]] | Sequence[str | Condition],
) -> tuple[Condition, ...]:
    """Conditions of a model, those in words among them.

    Args:
        model: the model.
        asked: conditions, or texts in the form of this module; or interventions by name.

    Raises:
        UsageError: a text is in no such form, or two conditions have one name or change the same.
        PairError: the model has no such component, block or unit.
    """
    if isinstance(asked, Mapping):
        asked = [
            Condition(name, (row,) if isinstance(row, Intervention) else tuple(row))
            for name, row in asked.items()
        ]
    if words := [one for one in asked if isinstance(one, str)]:
        check_texts(words)
    made = ([each] if isinstance(each, Condition) else _of_text(model, each) for each in asked)
    found = list(chain.from_iterable(made))
    if len(found) > MOST:
        raise UsageError(
            f"There are {len(found):,} conditions, but a run can have {MOST:,}: name fewer."
        )
    names, ids = set[str](), dict[str, str]()
    for one in found:
        check_places(model, one.row)
        if one.name in names:
            raise UsageError(f"Two conditions are called {one.name!r}: give other names.")
        names.add(one.name)
        if (before := ids.setdefault(one.id, one.name)) != one.name:
            raise UsageError(
                f"The conditions {before!r} and {one.name!r} change the same: leave one out."
            )
    return tuple(found)


def _of_text(model: Model, text: str) -> Iterator[Condition]:
    name, _ = _named(text)
    variants = [
        [(f"{kind}:{label}", row) for label, row in KINDS[kind].of_text(model, settings)]
        for kind, settings in _parts(text)
    ]
    combined = list(product(*variants))
    for parts in combined:
        label = "+".join(label for label, _ in parts)
        row = tuple(each for _, row in parts for each in row)
        called = label if not name else name if len(combined) == 1 else f"{name} {label}"
        yield Condition(called, row)


def _named(text: str) -> tuple[str, str]:
    name, _, rest = text.rpartition("=")
    return name.strip(), rest.strip()


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in _named(text)[1].split("+"):
        kind, colon, settings = part.strip().partition(":")
        if not colon:
            _refuse(text, "a kind and its settings belong there")
        yield kind, settings


def _refuse(text: str, why: str) -> None:
    raise UsageError(
        f"The condition is {text!r}, but {why}: write KIND:SETTINGS such as ablate:heads:2:0,3, "
        f"with a kind of {', '.join(KINDS.names())}, and NAME= before it for a name."
    )


def _described(each: Intervention) -> dict[str, Any]:
    held: Any = each
    if not is_dataclass(held):
        raise UsageError(
            f"{type(each).__name__} is no dataclass, so its interventions cannot be compared by "
            "value: decorate the class with @dataclass(frozen=True, eq=False)."
        )
    return {
        "kind": KINDS.name_of(type(each)),
        **{one.name: _plain(getattr(held, one.name), each) for one in fields(held)},
    }


def _plain(value: Any, of: Intervention) -> Any:
    """A value as plain data; arrays by what they hold."""
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        data = held.reshape(-1).view(torch.uint8).numpy()
        return _array(data, held.shape, held.dtype)
    if isinstance(value, np.ndarray):
        return _array(np.ascontiguousarray(value), value.shape, value.dtype)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(one, of) for name, one in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(one, of) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, of) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"{type(of).__name__} holds a {type(value).__name__}, so its interventions cannot be "
        "compared by value: hold numbers, texts and tensors only."
    )


def _array(data: Any, shape: Sequence[int], dtype: object) -> dict[str, Any]:
    name = str(dtype).removeprefix("torch.")
    return {"sha256": hashlib.sha256(data).hexdigest(), "shape": list(shape), "dtype": name}
