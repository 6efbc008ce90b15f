"""`Item`: one question as main and aux prompt, with what judges an answer to it; files of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import UNKNOWN, same_language
from crosslatent.core.normal import fold, one_cluster_each, says_something
from crosslatent.core.untrusted import nearest
from crosslatent.tasks.naming import clash
from crosslatent.tasks.sources import read_objects


class Shot(NamedTuple):
    """A solved question in both languages, to put before a prompt."""

    main: str
    main_answer: str
    aux: str
    aux_answer: str


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
        other_answers: further gold answers of an open question, as good as the first.
        options: the strings that an answer may be, such as "(1)" and "(2)". None for open answers.
        labels: what each option says, for people to read. None if the options speak for themselves.
        cluster: what is independent (a fact, asked in several languages); the item itself if empty.
        split: "pilot", "unseen" or "final"; None if the task has no splits.
        strata: groups to report apart, such as ``{"relation": "continent"}``.
        aux_answer: gold answer in the language of `aux`, by which an answer to `aux` itself is
            judged; if None, `answer` counts for items with options, and none is known for others.
        other_aux_answers: further ones.
        aux_labels: what each option says in the language of `aux`; `labels` count if None.
        shares: how a population answered, one share per option (GlobalOpinionQA). None if unknown.
        shots: questions with their answers that stand before the prompt (few-shot prompts).
        paraphrase: `main` in other words of the same language, for the control of that name.
        weights: how much each of `golds` counts, such as its votes. None if alike.
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
    aux_answer: str | None = None
    aux_labels: tuple[str, ...] | None = None
    shares: tuple[float, ...] | None = None
    shots: tuple[Shot, ...] = ()
    paraphrase: str | None = None
    other_answers: tuple[str, ...] = ()
    other_aux_answers: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """An item is its own cluster by default."""
        if not self.cluster:
            object.__setattr__(self, "cluster", self.id)

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers, `answer` first; empty if none is known."""
        return () if self.answer is None else (self.answer, *self.other_answers)

    @property
    def aux_golds(self) -> tuple[str, ...]:
        """All gold answers in the language of `aux`; empty if none is given."""
        return () if self.aux_answer is None else (self.aux_answer, *self.other_aux_answers)

    def as_aux(self) -> Item:
        """The item as an answer to its aux prompt is judged: gold answer and labels of `aux`.

        An option is the same in both languages; what is right for an open question in another
        language is not known unless `aux_answer` says it.
        """
        same = self.options is not None or same_language(self.lang, self.aux_lang)
        golds = self.aux_golds or (self.golds if same else ())
        return replace(
            self,
            answer=golds[0] if golds else None,
            other_answers=golds[1:],
            weights=self.weights if golds == self.golds else None,
            labels=self.labels if self.aux_labels is None else self.aux_labels,
            lang=self.aux_lang,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for hashing and for JSON; several gold answers are a list."""
        data = asdict(self)
        if self.weights is None:
            del data["weights"]  # so that tasks without them keep their hash
        for name, several in (("answer", self.golds), ("aux_answer", self.aux_golds)):
            if data.pop(f"other_{name}s"):
                data[name] = list(several)
        return {
            name: list(part) if isinstance(part, tuple) else part for name, part in data.items()
        }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(part, kind) and not isinstance(part, bool) for part in value
    )


def _is_texts(value: Any) -> bool:
    return _is_list(value, str)


TEXT = ("a text", _is_text)
_GOLDS = (
    "a text or a list of texts that is not empty",
    lambda value: _is_text(value) or (_is_texts(value) and len(value) > 0),
)
_TEXTS = ("a list of texts", _is_texts)
_NUMBERS = (
    "a list of numbers from 0 up",
    lambda value: _is_list(value, (int, float)) and min(value, default=0) >= 0,
)

FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "id": TEXT,
    "lang": TEXT,
    "aux_lang": TEXT,
    "main": TEXT,
    "aux": TEXT,
    "cluster": TEXT,
    "split": TEXT,
    "paraphrase": TEXT,
    "answer": _GOLDS,
    "aux_answer": _GOLDS,
    "options": _TEXTS,
    "labels": _TEXTS,
    "aux_labels": _TEXTS,
    "shares": _NUMBERS,
    "weights": _NUMBERS,
    "strata": (
        "an object of texts",
        lambda value: isinstance(value, Mapping) and _is_texts([*value, *value.values()]),
    ),
    "shots": (
        "a list of [main, its answer, aux, its answer]",
        lambda value: (
            _is_list(value, (list, tuple))
            and all(len(shot) == len(Shot._fields) and _is_texts(shot) for shot in value)
        ),
    ),
}
"""The fields of an item in a file: what belongs there, in words and as a check."""


def has_answer(item: Item) -> bool:
    """Whether an item has a gold answer."""
    return item.answer is not None


def item_from_dict(
    data: Mapping[str, Any], where: str, default_id: str, *, counterparts: bool = True
) -> Item:
    """Build an item from one JSON object, checking every field.

    Args:
        data: the object.
        where: file and line, for the message.
        default_id: the id of an object that has none.
        counterparts: whether the item must have an aux prompt; its `aux` is empty otherwise.

    Raises:
        TaskError: a field is missing, unknown, of the wrong type or empty.
    """
    _check_fields(data, where, ("main", "aux") if counterparts else ("main",))
    present = {name: value for name, value in data.items() if value is not None}
    for name in ("options", "labels", "aux_labels"):
        if name in present:
            present[name] = tuple(present[name])
    for name in ("answer", "aux_answer"):
        if name in present:
            golds = present[name]
            first, *others = [golds] if isinstance(golds, str) else dict.fromkeys(golds)
            present |= {name: first, f"other_{name}s": tuple(others)}
    for name in ("shares", "weights"):
        if name in present:
            present[name] = tuple(map(float, present[name]))
    present["shots"] = tuple(Shot(*shot) for shot in present.get("shots", ()))
    present["strata"] = dict(present.get("strata", {}))
    defaults = {"id": default_id, "lang": UNKNOWN, "aux_lang": UNKNOWN, "aux": ""}
    item = Item(**(defaults | present))
    check_judging(item, where)
    return item


_LINE = '{"main": "...", "aux": "...", "answer": "..."}'
"""How a line of prompts looks."""

_OTHER_NAMES = {
    "main": ("question", "prompt", "text", "input", "query", "instruction"),
    "aux": ("english", "translation", "counterpart", "question_en", "prompt_en", "text_en"),
    "answer": ("gold", "label", "target", "output", "correct", "solution", "correct_answer"),
    "options": ("choices", "candidates"),
    "labels": ("option_texts", "choice_texts"),
    "lang": ("language", "lang_code", "locale"),
    "cluster": ("fact", "group", "topic"),
    "split": ("subset", "set", "part"),
}
"""What fields are called elsewhere."""


def _check_fields(data: Mapping[str, Any], where: str, needed: tuple[str, ...]) -> None:
    others = {other: name for name, some in _OTHER_NAMES.items() for other in some}
    for name in needed:
        if not isinstance(data.get(name), str) or not data[name].strip():
            here = [other for other in data if others.get(other.casefold()) == name]
            if here and name not in data:
                raise TaskError(
                    f"{where}: the field {name!r} is missing: call the field {here[0]!r} so."
                )
            way_out = " (--aux auto translates main)" if name == "aux" else ""
            raise TaskError(
                f"{where}: the field {name!r} is {data.get(name)!r}, but every item needs both a "
                f"main and an aux prompt, as text that is not empty{way_out}."
            )
    for name, value in data.items():
        if name not in FIELDS:
            meant = nearest(name, FIELDS, others)
            raise TaskError(
                f"{where}: unknown field {name!r}{meant}; known are {', '.join(FIELDS)}."
            )
        kind, holds = FIELDS[name]
        if value is not None and not holds(value):
            raise TaskError(f"{where}: the field {name!r} is {value!r}, but {kind} belongs there.")
        if name in ("lang", "aux_lang") and value == "all":
            raise TaskError(
                f"{where}: the field {name!r} is 'all', which in results means all languages: "
                "give the language a code of its own."
            )


def check_judging(item: Item, where: str) -> None:
    """Refuse options, labels, shares and gold answers that are inconsistent.

    Raises:
        TaskError: they are, or a gold answer is in every output; the message begins with `where`
            (file and line).
    """
    if item.options is None:
        for name in ("labels", "aux_labels", "shares"):
            if getattr(item, name) is not None:
                raise TaskError(
                    f"{where}: there are {name.replace('_', ' ')} but no options: give options."
                )
    else:
        _check_options(item.options, where)
        _check_with_options(item, item.options, where)
    for name, golds in (("answer", item.golds), ("aux_answer", item.aux_golds)):
        for gold in golds:
            if not fold(gold):
                raise TaskError(
                    f"{where}: the field {name!r} is empty; leave it out if it is not known."
                )
            if item.options is None and not says_something(gold):
                raise TaskError(
                    f"{where}: the field {name!r} is {gold!r}, which other answers hold by "
                    "accident: give an answer with a letter, number or symbol, or leave it out."
                )


def _check_options(options: tuple[str, ...], where: str) -> None:
    if len(options) < 2 or len(set(options)) < len(options):
        raise TaskError(f"{where}: options are {list(options)}: give two or more, all different.")
    empty = [option for option in options if not fold(option)]
    if empty:
        raise TaskError(
            f"{where}: the option {empty[0]!r} has no character that can be seen: no answer could "
            "name it."
        )
    alike = clash(options)
    if alike:
        raise TaskError(
            f"{where}: the options {list(options)} cannot be distinguished, as {alike}: make them "
            "differ in more than case, brackets, the script of digits, blanks, invisible "
            "characters, or the mark of another one."
        )


def _check_with_options(item: Item, options: tuple[str, ...], where: str) -> None:
    for golds in (item.golds, item.aux_golds):
        if len(golds) > 1:
            raise TaskError(
                f"{where}: there are {len(golds)} gold answers, {list(golds)}, but of options "
                "exactly one is right: give that one."
            )
    if item.answer is not None and item.answer not in options:
        raise TaskError(
            f"{where}: the answer {item.answer!r} is none of the options {list(options)}."
        )
    for name in ("labels", "aux_labels", "shares"):
        check_one_each(options, getattr(item, name), name.replace("_", " "), where)
    for labels in (item.labels or options, item.aux_labels or options):
        empty = [option for option, label in zip(options, labels, strict=True) if not fold(label)]
        if empty:
            raise TaskError(f"{where}: the option {empty[0]!r} has no label: write one for it.")


def check_one_each(
    options: Sequence[str] | None, given: Sequence[Any] | None, name: str, where: str
) -> None:
    """Refuse labels or shares that are not as many as the options.

    Raises:
        TaskError: they are not.
    """
    if options is not None and given is not None and len(given) != len(options):
        raise TaskError(f"{where}: {len(given)} {name} for {len(options)} options; give one each.")


def with_one_cluster_each(
    items: tuple[Item, ...], *, declared: bool | None = None
) -> tuple[Item, ...]:
    """The items with `core.normal.one_cluster_each`; the very same ones where none asks the same.

    Args:
        items: of a task.
        declared: whether the task says what its clusters are; None = each item says it, and one
            that is its own cluster says nothing.
    """
    given = [item.cluster != item.id if declared is None else declared for item in items]
    found = one_cluster_each(items, given)
    return tuple(
        item if item.cluster == name else replace(item, cluster=name)
        for item, name in zip(items, found, strict=True)
    )


def read_items(path: Traversable, *, counterparts: bool = True) -> tuple[Item, ...]:
    """Read a file of items: JSON Lines, or JSON that is a list of objects.

    Args:
        path: the file.
        counterparts: whether every item must have its aux prompt.

    Raises:
        TaskError: the file cannot be read or holds no item; a line is no JSON object; a field is
            missing, unknown or of the wrong type; an id appears twice.
    """
    return items_from(read_objects(path), path, counterparts=counterparts)


def items_from(
    objects: Iterable[tuple[int, str | None, Mapping[str, Any]]],
    path: Traversable,
    *,
    counterparts: bool = True,
) -> tuple[Item, ...]:
    """The items of a file; see `read_items`.

    Args:
        objects: the line, the key if there is one, and the fields of each item. An item without an
            id is called by its key or line; more of one line are "1-2", "1-3".
        path: the file, for messages.
        counterparts: whether every item must have its aux prompt.
    """
    items: dict[str, Item] = {}
    on_line = Counter[int]()
    for line, key, data in objects:
        where = f"{path}:{line}"
        on_line[line] += 1
        number = str(line) if on_line[line] == 1 else f"{line}-{on_line[line]}"
        item = item_from_dict(data, where, key or number, counterparts=counterparts)
        if item.id in items:
            raise TaskError(f"{where}: the field 'id' is {item.id!r} a second time.")
        items[item.id] = item
    if not items:
        raise TaskError(
            f"{path}: the file holds no items: write one JSON object per line, such as {_LINE}."
        )
    return tuple(items.values())
