"""`Item`: one question as main and aux prompt, with what is needed to judge an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crosslatent.errors import TaskError


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        id: unique in its task.
        lang: language of `main` (ISO 639 code, or anything the task's author uses).
        aux_lang: language of `aux`.
        main: the prompt that gets answered.
        aux: its counterpart, from which activations are captured.
        answer: gold answer; with `options`, exactly one of them. None if unknown.
        options: the strings that an answer may be, such as "(1)" and "(2)". None for open answers.
        labels: what each option says, for people to read. None if the options speak for themselves.
        cluster: what is independent (a fact, asked in several languages), which intervals resample;
            the item itself if empty.
        split: "pilot", "unseen" or "final"; None if the task has no splits.
        strata: groups to report apart, such as ``{"relation": "continent"}``.
    """

    id: str
    lang: str
    aux_lang: str
    main: str
    aux: str
    answer: str | None = None
    options: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    cluster: str = ""
    split: str | None = None
    strata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """An item is its own cluster unless told otherwise."""
        if not self.cluster:
            object.__setattr__(self, "cluster", self.id)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for hashing and for JSON."""
        data = asdict(self)
        return {
            name: list(part) if isinstance(part, tuple) else part for name, part in data.items()
        }


_REQUIRED = ("main", "aux")
_TEXT_FIELDS = ("id", "lang", "aux_lang", "main", "aux", "answer", "cluster", "split")
_LIST_FIELDS = ("options", "labels")
FIELDS = (*_TEXT_FIELDS, *_LIST_FIELDS, "strata")

UNKNOWN_LANGUAGE = "und"
"""ISO 639's code for a language that nobody has named."""


def item_from_dict(data: Mapping[str, Any], where: str, default_id: str) -> Item:
    """Build an item from one JSON object, checking every field.

    Args:
        data: the object.
        where: file and line, for the message.
        default_id: the id of an object that has none.

    Raises:
        TaskError: a field is missing, unknown or of the wrong type.
    """
    _check_fields(data, where)
    present = {name: value for name, value in data.items() if value is not None}
    item_id = present.get("id", default_id)
    item = Item(
        id=item_id,
        lang=present.get("lang", UNKNOWN_LANGUAGE),
        aux_lang=present.get("aux_lang", UNKNOWN_LANGUAGE),
        main=present["main"],
        aux=present["aux"],
        answer=present.get("answer"),
        options=_tuple(present.get("options")),
        labels=_tuple(present.get("labels")),
        cluster=present.get("cluster", item_id),
        split=present.get("split"),
        strata=dict(present.get("strata", {})),
    )
    _check_answer(item, where)
    return item


def _tuple(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _check_fields(data: Mapping[str, Any], where: str) -> None:
    for name in _REQUIRED:
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise TaskError(
                f"{where}: the field {name!r} is {data.get(name)!r}, but every item needs both a "
                "main and an aux prompt, as text that is not empty."
            )
    for name, value in data.items():
        if name not in FIELDS:
            raise TaskError(f"{where}: unknown field {name!r}; known are {', '.join(FIELDS)}.")
        if value is not None and not _is_type(name, value):
            kind = _expected(name)
            raise TaskError(f"{where}: the field {name!r} is {value!r}, but {kind} belongs there.")


def _is_type(name: str, value: Any) -> bool:
    if name in _TEXT_FIELDS:
        return isinstance(value, str)
    if name in _LIST_FIELDS:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return isinstance(value, Mapping) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    )


def _expected(name: str) -> str:
    if name in _TEXT_FIELDS:
        return "a text"
    return "a list of texts" if name in _LIST_FIELDS else "an object of texts"


def _check_answer(item: Item, where: str) -> None:
    if item.options is None:
        return
    if len(item.options) < 2 or len(set(item.options)) < len(item.options):
        raise TaskError(
            f"{where}: options are {list(item.options)}: give two or more, all different."
        )
    if item.answer is not None and item.answer not in item.options:
        raise TaskError(
            f"{where}: the answer {item.answer!r} is none of the options {list(item.options)}."
        )
    if item.labels is not None and len(item.labels) != len(item.options):
        raise TaskError(
            f"{where}: {len(item.labels)} labels for {len(item.options)} options; give one each."
        )
