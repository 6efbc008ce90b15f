"""Ready prompts in the layout that the authors of XTransplant released: one JSON value a line.

A line is a prompt, or an object that holds one; files of one split and language belong together
line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosslatent.core.errors import TaskError
from crosslatent.tasks.definition import Definition, Listed, Released
from crosslatent.tasks.expressions import Constant, Expression, compiled
from crosslatent.tasks.item import Item
from crosslatent.tasks.judging import Judging, Values, golds, listed, surroundings, text
from crosslatent.tasks.row_values import RowValues, plain
from crosslatent.tasks.sources import formatted, read_json_lines, read_value
from crosslatent.tasks.yaml_file import YamlFile

_OTHER = "other"
_PLACE = ("released",)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The files of one split and pair of languages, line by line.

    Attributes:
        main: the file of the prompts.
        has_aux: whether there is a file of their counterparts.
        columns: name -> number and value of each line.
        once: name -> the value that holds for all lines.
    """

    main: Path
    has_aux: bool
    columns: Mapping[str, list[tuple[int, Any]]]
    once: Mapping[str, Any]


class ReleasedReader:
    """Reads the items of one task from a folder in the released layout."""

    def __init__(self, file: YamlFile, task: Definition, data: Path) -> None:
        """Compile what is the same for all lines.

        Raises:
            TaskError: an expression cannot be read.
        """
        assert task.released is not None
        self._file, self._task, self._layout, self._data = file, task, task.released, data
        layout = task.released
        self._prompt = self._expression("prompt")
        self._aux_prompt = self._expression("aux_prompt")
        self._aux_answer = self._expression("aux_answer")
        self._aux_labels = self._expression("aux_labels")
        self._let = {
            name: Expression(code, file.where(*_PLACE, "let", name))
            for name, code in layout.let.items()
        }

    @staticmethod
    def serves(layout: Released, data: Path) -> bool:
        """Whether a folder holds a split of the layout."""
        return any((data / folder).is_dir() for folder in layout.splits.values())

    def items(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        mains: Sequence[str] = (),
        auxes: Sequence[str] = (),
        counterparts: bool = True,
    ) -> Iterator[Item]:
        """The items of some pairs of (main, aux) languages, split by split.

        Pairs without files are left out, but `mains` and `auxes`, which the user asked for, must
        exist. Without `counterparts`, `Item.aux` may be empty.

        Raises:
            TaskError: files are missing, have a mistake or do not fit each other.
        """
        there = {pair: self._folders(*pair, counterparts=counterparts) for pair in pairs}
        found = [pair for pair, folders in there.items() if folders]
        for place, asked in enumerate((mains, auxes)):
            for lang in asked:
                if lang not in {pair[place] for pair in found}:
                    raise self._missing(*next(pair for pair in pairs if pair[place] == lang))
        for main, aux in found:
            for split, folder in there[main, aux]:
                yield from self._of_split(folder, main, aux, split)

    def _folders(self, main: str, aux: str, *, counterparts: bool) -> list[tuple[str, Path]]:
        """The splits that have the files of a pair of languages."""
        needed = 2 if counterparts else 1
        return [
            (split, self._data / folder)
            for split, folder in self._layout.splits.items()
            if all(
                path.is_file() for path in self._prompts(self._data / folder, main, aux)[:needed]
            )
        ]

    def _missing(self, main: str, aux: str) -> TaskError:
        folder = self._data / next(iter(self._layout.splits.values()))
        absent = next(path for path in self._prompts(folder, main, aux) if not path.is_file())
        return TaskError(
            f"Task {self._task.name!r} has no questions in {main!r} with counterparts in {aux!r}: "
            f"there is no file {absent}."
        )

    def _prompts(self, folder: Path, main: str, aux: str) -> tuple[Path, Path]:
        layout = self._layout
        pattern = layout.aux
        if isinstance(pattern, dict):
            pattern = pattern.get(aux) or pattern.get(_OTHER) or layout.main
        return self._path(folder, layout.main, main, aux), self._path(folder, pattern, main, aux)

    def _path(self, folder: Path, pattern: str, main: str, aux: str) -> Path:
        codes, where = self._layout.codes, self._file.where(*_PLACE)
        name = formatted(pattern, where, code=codes.get(main, main), aux_code=codes.get(aux, aux))
        return folder / name

    def _read(self, folder: Path, main: str, aux: str) -> _Lines:
        main_file, aux_file = self._prompts(folder, main, aux)
        named = {
            name: self._path(folder, pattern, main, aux)
            for name, pattern in self._layout.columns.items()
        }
        paths = {"main": main_file, "aux": aux_file, **named}
        has_aux = aux_file.is_file()
        columns = {
            name: list(read_json_lines(path))
            for name, path in paths.items()
            if has_aux or path.is_file()
        }
        for name, lines in columns.items():
            _check_lines(paths["main"], columns["main"], paths[name], lines)
        # Without counterparts, what belongs to them is missing too.
        numbers = [number for number, _ in columns["main"]]
        for name in set(paths) - set(columns):
            columns[name] = [(number, "" if name == "aux" else None) for number in numbers]
        single = {
            name: self._path(folder, pattern, main, aux)
            for name, pattern in self._layout.once.items()
        }
        once = {
            name: read_value(path) if has_aux or path.is_file() else None
            for name, path in single.items()
        }
        return _Lines(main_file, has_aux, columns, once)

    def _of_split(self, folder: Path, main: str, aux: str, split: str) -> Iterator[Item]:
        lines = self._read(folder, main, aux)
        judging = Judging.of(self._file, self._task, _PLACE, main)
        code = self._layout.codes.get(main, main)
        for number, (line, _) in enumerate(lines.columns["main"]):
            where = f"{lines.main}:{line}"
            beside = {name: column[number][1] for name, column in lines.columns.items()}
            ours = surroundings(self._task, main, aux, code, number)
            values = RowValues(plain({**lines.once, **beside}), ours)
            for name, expression in self._let.items():
                values = values.naming(name, expression(values, where))
            yield self._item(judging, values, split, where, has_aux=lines.has_aux)

    def _item(
        self, judging: Judging, values: Values, split: str, where: str, *, has_aux: bool
    ) -> Item:
        main, aux, number = (values.ours[name] for name in ("lang", "aux_lang", "number"))
        options = listed(judging.options, values, where)
        values = values.knowing(options=options)
        cluster = f"{split}/{number + 1}"
        if judging.cluster is not None:
            # A prompt that the expression finds nothing in is by itself.
            cluster = text(judging.cluster(values, where), where) or cluster
        other = golds(self._aux_answer, values, where) if has_aux else ()
        item = Item(
            id=f"{main}-{aux}/{split}/{number + 1}",
            lang=main,
            aux_lang=aux,
            main=_prompt(self._prompt, values, where, "main"),
            aux=_prompt(self._aux_prompt, values, where, "aux") if has_aux else "",
            options=options,
            labels=listed(judging.labels, values, where),
            cluster=cluster,
            split=split,
            aux_labels=_usable(listed(self._aux_labels, values, where)) if has_aux else None,
        )
        return judging.judged(item, values, where, other)

    def _expression(self, name: str) -> Expression | Constant | None:
        value: Listed | None = getattr(self._layout, name)
        return None if value is None else compiled(value, self._file.where(*_PLACE, name))


def _prompt(expression: Expression | Constant | None, values: Values, where: str, role: str) -> str:
    prompt = "" if expression is None else text(expression(values, where), where)
    if not prompt.strip():
        raise TaskError(f"{where}: the {role} prompt is empty.")
    return prompt


def _usable(labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Labels, unless some were not found, or end in the cue for the answer.

    Not every translation keeps the marks of options, or the line breaks between them.
    """
    ends = (":", "\uff1a")
    whole = labels and all(label and not label.endswith(ends) for label in labels)
    return labels if whole else None


def _check_lines(
    main: Path, prompts: list[tuple[int, Any]], path: Path, lines: list[tuple[int, Any]]
) -> None:
    """Lines belong together by their place, so none may be missing or empty in one file alone."""
    if [number for number, _ in lines] != [number for number, _ in prompts]:
        raise TaskError(
            f"{main} has {len(prompts)} lines and {path} {len(lines)}, or other ones are empty: "
            "they belong together line by line, so each must have the same lines."
        )
