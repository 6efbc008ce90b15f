"""From the values of one row to what judges its answers: options, gold answer, shares, cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from math import isfinite
from string import ascii_uppercase
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.normal import says_something
from crosslatent.tasks.definition import Definition, JudgedFields, Language, Listed
from crosslatent.tasks.expressions import Constant, Expression, compiled
from crosslatent.tasks.item import Item, check_judging
from crosslatent.tasks.row_values import RowValues, is_number, written
from crosslatent.tasks.yaml_file import Place, YamlFile

Values = RowValues
LETTERS = tuple(ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Judging:
    """What judges the items of one language, compiled; see `definition.JudgedFields`."""

    answer: Expression | Constant | None
    options: Expression | Constant | None
    labels: Expression | Constant | None
    shares: Expression | Constant | None
    weights: Expression | Constant | None
    cluster: Expression | Constant | None
    strata: Mapping[str, Expression | Constant]

    @classmethod
    def of(cls, file: YamlFile, task: Definition, part: Place, lang: str) -> Judging:
        """Compile what the task says, with what its part (`released`) and language say instead.

        Raises:
            TaskError: an expression cannot be read.
        """
        above: JudgedFields = task.released if part and task.released else task
        language = task.languages[lang]

        def field(name: str) -> Expression | Constant | None:
            for place, owner in _owners(task, above, language, part, lang):
                value: Listed | None = getattr(owner, name, None)
                if value is not None:
                    return compiled(value, file.where(*place, name))
            return None

        names = ("answer", "options", "labels", "shares", "weights", "cluster")
        place, owner = (part, above) if above.strata else ((), task)
        strata = {
            name: compiled(code, file.where(*place, "strata", name))
            for name, code in owner.strata.items()
        }
        return cls(**{name: field(name) for name in names}, strata=strata)

    def judged(self, item: Item, values: Values, where: str, aux_golds: Sequence[str]) -> Item:
        """An item with the gold answers, strata and shares that follow from its row.

        Raises:
            TaskError: they do not fit the item.
        """
        own = golds(self.answer, values, where)
        item = replace(
            item,
            answer=own[0] if own else None,
            other_answers=own[1:],
            strata={
                name: text(expression(values, where), where)
                for name, expression in self.strata.items()
            },
            aux_answer=aux_golds[0] if aux_golds else None,
            other_aux_answers=tuple(aux_golds[1:]),
            shares=numbers(self.shares, values, where),
            weights=self._weights(own, values, where),
        )
        check_judging(item, where)
        return item

    def _weights(self, own: Sequence[str], values: Values, where: str) -> tuple[float, ...] | None:
        """A weight for each gold answer: that of where it is given first.

        Raises:
            TaskError: there are more or fewer weights than answers.
        """
        found = numbers(self.weights, values, where)
        if found is None or self.answer is None:
            return None
        given = self.answer(values, where)
        several = given if isinstance(given, list | tuple) else [given]
        texts = [text(each, where) for each in several]
        if len(texts) != len(found):
            raise TaskError(
                f"{where}: {len(found)} weights for {len(texts)} gold answers; give one each."
            )
        return tuple(found[texts.index(each)] for each in own)


def _owners(
    task: Definition, above: JudgedFields, language: Language, part: Place, lang: str
) -> list[tuple[Place, JudgedFields | Language]]:
    """Who may say how items are judged, the first one that does being the one that counts."""
    owners: list[tuple[Place, JudgedFields | Language]] = []
    if above is not task:
        owners.append((part, above))
    return [*owners, (("languages", lang), language), ((), task)]


def listed(value: Expression | Constant | None, values: Values, row: str) -> tuple[str, ...] | None:
    """A list of texts.

    Raises:
        TaskError: it is something else.
    """
    if value is None:
        return None
    given = value(values, row)
    if not isinstance(given, list | tuple):
        raise TaskError(f"{row}: options and labels are lists, not {given!r}.")
    return tuple(text(part, row) for part in given)


def golds(value: Expression | Constant | None, values: Values, row: str) -> tuple[str, ...]:
    """Gold answers: a text, or a list of which the first is `Item.answer`; None gives none.

    Of a list, answers that other answers hold by accident ("." and the like) are left out.

    Raises:
        TaskError: it is something else, or an empty list.
    """
    given = None if value is None else value(values, row)
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        return (text(given, row),)
    if not given:
        raise TaskError(f"{row}: the list of gold answers is empty: give one, or none instead.")
    found = tuple(dict.fromkeys(text(part, row) for part in given))
    return tuple(filter(says_something, found)) or found[:1]


def numbers(
    value: Expression | Constant | None, values: Values, row: str
) -> tuple[float, ...] | None:
    """A list of numbers from 0 up; None stays None.

    Raises:
        TaskError: it is something else.
    """
    given = None if value is None else value(values, row)
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not all(_is_share(part) for part in given):
        raise TaskError(f"{row}: shares are a list of numbers from 0 up, not {given!r}.")
    return tuple(map(float, given))


def text(value: Any, row: str) -> str:
    """A text; numbers, dates and times are written out.

    Raises:
        TaskError: it is something else.
    """
    if not (isinstance(value, str | date | time) or is_number(value)):
        raise TaskError(f"{row}: {value!r} is given where a text belongs.")
    try:
        return written(value)
    except ValueError as error:
        raise TaskError(f"{row}: {error}.") from error


def _is_share(value: Any) -> bool:
    return is_number(value) and isfinite(value) and value >= 0


def surroundings(task: Definition, lang: str, aux: str, code: str, number: int) -> dict[str, Any]:
    """What expressions and templates see beside the columns of a row, the `number`-th from 0.

    `aux` is that of the pair that the row is read for; the data spells `lang` as `code`.
    """
    return {
        "lang": lang,
        "code": code,
        "language": _plain(task.languages[lang]),
        "aux_lang": aux,
        "aux_language": _plain(task.languages[aux]),
        "words": task.languages[lang].words,
        "letters": LETTERS,
        "number": number,
    }


def _plain(language: Language) -> dict[str, Any]:
    return {**language.model_dump(), **(language.model_extra or {})}
