"""From rows of a data set to items: a prompt by template in each language, joined by their key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import ENGLISH
from crosslatent.tasks.data_rows import DataRow, RowQuery, RowSource
from crosslatent.tasks.definition import Definition
from crosslatent.tasks.expressions import Expression, Template
from crosslatent.tasks.item import Item, check_one_each
from crosslatent.tasks.judging import Judging, Values, golds, listed, surroundings, text
from crosslatent.tasks.row_values import RowValues, plain, written
from crosslatent.tasks.yaml_file import YamlFile


@dataclass(frozen=True, slots=True)
class RowQuestion:
    """A row put as a question in its language.

    Attributes:
        key: the same in all languages of a parallel data set.
        prompt: its text.
        values: what expressions see.
        where: file and line of the row, for messages.
        keyed: whether the key is more than the row's number.
    """

    key: str
    prompt: str
    options: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    values: Values
    where: str
    lang: str
    keyed: bool


class Builder:
    """Makes the items of one task from its rows."""

    def __init__(self, file: YamlFile, task: Definition, source: RowSource) -> None:
        """Compile what is the same for all rows.

        Raises:
            TaskError: an expression or template cannot be read.
        """
        assert task.rows is not None
        self._file, self._task, self._rows, self._source = file, task, task.rows, source
        place = ("rows",)
        self._let = {
            name: Expression(code, file.where(*place, "let", name))
            for name, code in task.rows.let.items()
        }
        self._each = {
            name: Expression(code, file.where(*place, "each", name))
            for name, code in task.rows.each.items()
        }
        self._parts = _optional(task.rows.parts, file.where(*place, "parts"))
        self._aux = (
            None
            if task.aux_template is None
            else Template(task.aux_template, file.where("aux_template"))
        )
        self._where = _optional(task.rows.where, file.where(*place, "where"))
        self._key = _optional(task.rows.key, file.where(*place, "key"))
        self._judging: dict[str, Judging] = {}
        self._templates: dict[str, Template] = {}

    def items(self, pairs: Sequence[tuple[str, str]]) -> Iterator[Item]:
        """The items of some pairs of (main, aux) languages, split by split.

        Where the data has no counterpart, `Item.aux` is empty.

        Raises:
            TaskError: rows cannot be loaded, or do not fit each other.
        """
        for main, aux in pairs:
            for split in self._source.splits:
                yield from self._of_pair(main, aux, split)

    def _of_pair(self, main: str, aux: str, split: str | None) -> Iterator[Item]:
        own = self._asked(main, aux, split, None)
        if not self._rows.parallel or main == aux:
            for one in own.values():
                found = self._item(one, one if main == aux else None, aux, split)
                yield (
                    found
                    if self._aux is None
                    else replace(found, aux=self._aux(one.values, one.where))
                )
            return
        others = self._asked(aux, aux, split, main)
        self._check_lengths(own, others, main, aux)
        english = self._english(main, aux, split)
        for key, one in own.items():
            if key in others:
                yield self._item(one, others[key], aux, split, english.get(key))
            elif self._rows.unmatched == "error":
                raise TaskError(
                    f"{one.where}: the key {key!r} of {main!r} is not in the data of {aux!r}: mend "
                    f"the data, or leave such rows out ({self._file.where('rows')}, unmatched: "
                    "skip)."
                )

    def _english(self, main: str, aux: str, split: str | None) -> dict[str, RowQuestion]:
        """The English rows, where neither side is English and clusters are named in it."""
        if ENGLISH in (main, aux) or ENGLISH not in self._task.languages:
            return {}
        needed = self._judging_of(main).cluster is not None
        return self._asked(ENGLISH, aux, split, main) if needed else {}

    def _check_lengths(
        self, own: Mapping[str, RowQuestion], others: Mapping[str, RowQuestion], main: str, aux: str
    ) -> None:
        """Rows without keys belong together by their number alone, so none may be missing."""
        keyed = all(one.keyed for one in (*own.values(), *others.values()))
        if not keyed and len(own) != len(others):
            raise TaskError(
                f"{self._file.where('rows')}: the data has {len(own)} rows in {main!r} and "
                f"{len(others)} in {aux!r}, so that it is not clear which belong together: mend "
                "the data, or name what tells rows apart (key)."
            )

    def _asked(
        self, lang: str, aux: str, split: str | None, main: str | None
    ) -> dict[str, RowQuestion]:
        code = self._task.languages[lang].code or lang
        main_code = None if main is None else self._task.languages[main].code or main
        found: dict[str, RowQuestion] = {}
        query = RowQuery(lang, code, split, main, main_code)
        for part, row in self._rows_of(query, surroundings(self._task, lang, aux, code, 0)):
            ours = {**surroundings(self._task, lang, aux, code, row.number), **part}
            if row.key is not None:
                ours["row_key"] = row.key
            for asking in self._askings(row, lang, RowValues(plain(row.columns), ours)):
                if asking.key in found:
                    raise TaskError(f"{row.where}: the key {asking.key!r} is repeated here.")
                found[asking.key] = asking
        return found

    def _rows_of(
        self, query: RowQuery, ours: Mapping[str, Any]
    ) -> Iterator[tuple[Mapping[str, str], DataRow]]:
        """Rows, each with the name of its part, where there are parts."""
        if self._parts is None:
            yield from (({}, row) for row in self._source.read(query))
            return
        where = self._file.where("rows", "parts")
        for part in self._parts(RowValues({}, ours), where):
            for row in self._source.read(replace(query, part=part)):
                yield {"part": part}, row

    def _askings(self, row: DataRow, lang: str, values: Values) -> Iterator[RowQuestion]:
        for name, expression in self._let.items():
            values = values.naming(name, expression(values, row.where))
        for one, ending in self._each_of(values, row):
            if self._where is None or self._where(one, row.where):
                yield self._asking(one, ending, row, lang)

    def _each_of(self, values: Values, row: DataRow) -> Iterator[tuple[Values, str]]:
        if not self._each:
            yield values, ""
        for name, expression in self._each.items():
            several = expression(values, row.where)
            if not isinstance(several, list | tuple):
                raise TaskError(
                    f"{self._file.where('rows', 'each', name)}: 'each' gives {several!r} on "
                    f"{row.where}, but a list belongs there."
                )
            for value in several:
                try:
                    ending = written(value)
                except ValueError as error:
                    raise TaskError(f"{row.where}: {error}.") from error
                yield values.naming(name, value), f"/{ending}"

    def _asking(self, values: Values, ending: str, row: DataRow, lang: str) -> RowQuestion:
        own_key = row.number if row.key is None else row.key
        key = own_key if self._key is None else self._key(values, row.where)
        keyed = row.key is not None or self._key is not None
        judging = self._judging_of(lang)
        options = listed(judging.options, values, row.where)
        values = values.knowing(options=options)
        labels = listed(judging.labels, values, row.where)
        # The template would fail on the missing one, with a message about tuples.
        check_one_each(options, labels, "labels", row.where)
        values = values.knowing(labels=labels)
        prompt = self._template_of(lang)(values, row.where)
        if not prompt.strip():
            raise TaskError(f"{row.where}: the template gives an empty prompt.")
        name = f"{text(key, row.where)}{ending}"
        return RowQuestion(name, prompt, options, labels, values, row.where, lang, keyed)

    def _item(
        self,
        main: RowQuestion,
        aux: RowQuestion | None,
        aux_lang: str,
        split: str | None,
        english: RowQuestion | None = None,
    ) -> Item:
        judged = main.options is not None
        other = () if aux is None or judged else self._golds(aux)
        item = Item(
            id="/".join(part for part in (f"{main.lang}-{aux_lang}", split, main.key) if part),
            lang=main.lang,
            aux_lang=aux_lang,
            main=main.prompt,
            aux="" if aux is None else aux.prompt,
            options=main.options,
            # Without options, labels are words for the template and no more.
            labels=main.labels if judged else None,
            cluster=self._cluster(main, aux, english, split),
            split=split,
            aux_labels=aux.labels if judged and aux is not None else None,
        )
        return self._judging_of(main.lang).judged(item, main.values, main.where, other)

    def _golds(self, asking: RowQuestion) -> tuple[str, ...]:
        return golds(self._judging_of(asking.lang).answer, asking.values, asking.where)

    def _cluster(
        self,
        main: RowQuestion,
        aux: RowQuestion | None,
        english: RowQuestion | None,
        split: str | None,
    ) -> str:
        """What is independent, as the English side names it: the same in every language."""
        sides = [side for side in (main, aux, english) if side is not None]
        side = next((side for side in sides if side.lang == ENGLISH), main)
        expression = self._judging_of(side.lang).cluster
        if expression is not None:
            return text(expression(side.values, side.where), side.where)
        # Keys may start anew in every split, and without parallel rows in every language.
        parts = (None if self._rows.parallel else main.lang, split, side.key)
        return "/".join(part for part in parts if part)

    def _judging_of(self, lang: str) -> Judging:
        if lang not in self._judging:
            self._judging[lang] = Judging.of(self._file, self._task, (), lang)
        return self._judging[lang]

    def _template_of(self, lang: str) -> Template:
        if lang not in self._templates:
            own = self._task.languages[lang].template
            place = ("template",) if own is None else ("languages", lang, "template")
            chosen = own or self._task.template or ""
            self._templates[lang] = Template(chosen, self._file.where(*place))
        return self._templates[lang]


def _optional(code: str | None, where: str) -> Expression | None:
    return None if code is None else Expression(code, where)
