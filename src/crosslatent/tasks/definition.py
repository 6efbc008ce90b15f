"""The fields of a task's YAML file, checked one by one: `docs/tasks.md` explains each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import ENGLISH, code_among
from crosslatent.core.plugins import Registry
from crosslatent.core.specs import ACCURACY
from crosslatent.tasks.metrics import METRICS
from crosslatent.tasks.rules import RULES
from crosslatent.tasks.task import DEFAULT_NEW_TOKENS, Direction, TaskType
from crosslatent.tasks.yaml_file import YamlFile

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

ENDINGS = (".csv", ".tsv")
"""How names of files of delimited text end."""
Quoting = Literal["none", "double"]
Code = str
"""A Jinja2 expression over the columns of a row."""
Listed = str | list[str]
"""A list taken as it is, or an expression that gives one."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Language(_Part):
    """What is special about one language; fields of the author's own are for expressions.

    Attributes:
        code: how the data spells the language, if not by its name here.
        aux_only: the data has no questions in it, only counterparts.
        words: texts for the template.
        options, labels, template: instead of the task's.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    code: str | None = None
    aux_only: bool = False
    words: dict[str, str] = {}
    options: Listed | None = None
    labels: Listed | None = None
    template: str | None = None


class RowsSection(_Part):
    """Where the questions of a task come from, row by row.

    Attributes:
        hub: a data repository of the Hugging Face Hub.
        files: instead of `hub`, local files by ``{code}`` and ``{split}``.
        quoting, delimiter: of files of delimited text (CSV, TSV), if not as usual for their kind.
        field: of JSON files that are one object: the field that holds the rows.
        revision, config, data_files: of the repository; the last two are expressions.
        parts: names; `files` is read once for each of them, as ``{part}``, where it is there.
        splits: our name of a split -> theirs.
        parallel: rows of two languages with the same key ask the same.
        key: what tells rows apart; the row's number by default.
        unmatched: what becomes of a row that the other language lacks.
        let, each, where: further values of a row, one item for each of some values, which to keep.
        counterpart_hub: language of aux -> the repository that has its rows, if another.
    """

    hub: str | None = None
    files: str | None = None
    parts: Code | None = None
    quoting: Quoting | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    field: str | None = None
    revision: str | None = None
    config: Code | None = None
    data_files: Code | None = None
    splits: dict[str, str] = {}
    parallel: bool = True
    key: Code | None = None
    unmatched: Literal["error", "skip"] = "error"
    let: dict[str, Code] = {}
    each: Annotated[dict[str, Code], Field(max_length=1)] = {}
    where: Code | None = None
    counterpart_hub: dict[str, str] = {}


class JudgedFields(_Part):
    """How the gold answer of an item follows from its row: expressions."""

    answer: Code | None = None
    options: Listed | None = None
    labels: Listed | None = None
    shares: Code | None = None
    weights: Code | None = None
    cluster: Code | None = None
    strata: dict[str, Code] = {}


class Released(JudgedFields):
    """Ready prompts, one a line, in the layout that the authors of XTransplant released.

    Attributes:
        splits: our name of a split -> its folder.
        main: pattern of the file with the prompts; `aux` of their counterparts, which may differ by
            language of aux (``other`` for the rest).
        columns: further values, one a line; `once`: values that hold for all lines.
        prompt, aux_prompt: the prompt's text, where a line is more than that.
        codes: how file names spell a language, where that is not its code.
        let: further values of a line.
    """

    splits: dict[str, str]
    main: str
    aux: str | dict[str, str]
    columns: dict[str, str] = {}
    once: dict[str, str] = {}
    prompt: Code = "main"
    aux_prompt: Code = "aux"
    codes: dict[str, str] = {}
    let: dict[str, Code] = {}
    aux_answer: Code | None = None
    aux_labels: Listed | None = None


class Definition(JudgedFields):
    """A task's file. Items come ready (`items`), from `rows`, or from a `released` layout.

    `aux_template` is the counterpart's prompt, of the same row, where rows are not parallel.
    """

    name: Annotated[str, Field(min_length=1)]
    title: str | None = None
    description: str = ""
    direction: Direction = "custom"
    type: TaskType = "custom"
    rule: str | None = None
    metric: str = ACCURACY
    max_new_tokens: Annotated[int, Field(ge=1)] = DEFAULT_NEW_TOKENS
    sources: str | list[str] = []
    items: str | list[str] = []
    template: str | None = None
    aux_template: str | None = None
    languages: dict[str, Language] = {}
    rows: RowsSection | None = None
    released: Released | None = None

    def chosen(
        self, languages: Iterable[str] | None, aux_languages: Iterable[str] | None
    ) -> list[tuple[str, str]]:
        """The (main, aux) languages to load.

        `languages` are those that the task is about: of main where the direction is ``en->x``, of
        aux where it is ``x->en`` (unless `aux_languages` are given too).

        Raises:
            TaskError: a language that the task does not have.
        """
        asked = None if languages is None else list(dict.fromkeys(languages))
        aux = None if aux_languages is None else list(dict.fromkeys(aux_languages))
        own = [name for name, language in self.languages.items() if not language.aux_only]
        culture = self.direction == "x->en"
        if culture:
            mains, auxes = (asked if aux and asked else [ENGLISH]), aux or asked or own
        else:
            away = [name for name in own if name != ENGLISH or self.direction == "custom"]
            mains, auxes = asked or away, aux or [ENGLISH]
        mains, auxes = (
            [code_among(name, self.languages) for name in some] for some in (mains, auxes)
        )
        for name in (*mains, *auxes):
            if name not in self.languages:
                known = ", ".join(self.languages)
                raise TaskError(f"Task {self.name!r} has no language {name!r}: it has {known}.")
        for name in mains:
            if self.languages[name].aux_only:
                raise TaskError(
                    f"Task {self.name!r} has no questions in {name!r}, only counterparts: it has "
                    f"questions in {', '.join(own)}."
                )
        named = (aux or asked) if culture else asked
        return [
            (main, other)
            for main in mains
            for other in auxes
            # A language is its own counterpart only where the task says so.
            if main != other or named
        ]


def check_definition(file: YamlFile) -> Definition:
    """Check what a task's file says.

    Raises:
        TaskError: a field is missing, unknown or of the wrong kind; with file and line.
    """
    try:
        definition = Definition.model_validate(dict(file.data))
    except ValidationError as error:
        raise TaskError(_sentence(file, error.errors()[0])) from error
    if definition.rule is not None:
        _check_kind(file, "rule", definition.rule, RULES)
    if definition.metric != ACCURACY:
        _check_kind(file, "metric", definition.metric, METRICS, ACCURACY)
    _check_origin(file, definition)
    return definition


def _check_kind(file: YamlFile, name: str, value: str, kinds: Registry[Any], *others: str) -> None:
    """Refuse a rule or metric that there is not, and one that cannot be loaded."""
    if value in kinds:
        kinds[value]
        return
    known = ", ".join([*others, *kinds])
    raise TaskError(
        f"{file.where(name)}: the field {name!r} is {value!r}, but one of {known} belongs there."
    )


def _check_origin(file: YamlFile, task: Definition) -> None:
    if not (task.items or task.rows or task.released):
        raise TaskError(
            f"{file.where('items')}: the field 'items' is missing; a task needs it, or rows to "
            "make items from."
        )
    if not (task.rows or task.released):
        return
    if task.items:
        raise TaskError(f"{file.where('items')}: a task has items or rows, not both.")
    if not task.languages:
        raise TaskError(
            f"{file.where('languages')}: the field 'languages' is missing; name those of the data."
        )
    if task.rows:
        _check_rows(file, task, task.rows)


def _check_rows(file: YamlFile, task: Definition, rows: RowsSection) -> None:
    if (rows.hub is None) == (rows.files is None):
        raise TaskError(f"{file.where('rows')}: rows come either from a hub or from files.")
    if rows.files is not None:
        _check_files(file, rows)
    _check_format(file, rows)
    own = [] if rows.hub is None else [rows.hub]
    for hub in (*own, *rows.counterpart_hub.values()):
        # `datasets` takes a folder for a name as well, and a single word for one of its readers, of
        # which "pandas" unpickles.
        if not _REPOSITORY.fullmatch(hub):
            raise TaskError(
                f"{file.where('rows')}: the data repository is {hub!r}, but OWNER/NAME belongs "
                "there, as on the hub."
            )
    if rows.hub is not None and not rows.splits:
        raise TaskError(
            f"{file.where('rows')}: the field 'splits' is missing; say which split of {rows.hub} "
            "is what, such as {pilot: validation, unseen: test}."
        )
    for name, language in task.languages.items():
        if task.template is None and language.template is None:
            raise TaskError(
                f"{file.where('languages', name)}: the field 'template' is missing; rows need one "
                "to become prompts."
            )


def _check_files(file: YamlFile, rows: RowsSection) -> None:
    """Several splits of files must be several files, or pilot and test would be the same rows."""
    where = file.where("rows", "splits")
    named = "{split}" in (rows.files or "")
    if named != bool(rows.splits):
        raise TaskError(
            f"{where}: files by {{split}} need the field 'splits', and splits need {{split}} in "
            f"the name of the files, but that is {rows.files!r}."
        )
    for name, split in rows.splits.items():
        if "[" in split:
            raise TaskError(
                f"{where}: the split {name!r} is {split!r}, but files cannot be sliced: give each "
                "split a file of its own."
            )


def _check_format(file: YamlFile, rows: RowsSection) -> None:
    """Refuse fields about a kind of files that the task does not have."""
    name = rows.files or ""
    delimited = name.endswith(ENDINGS)
    json = bool(name) and not delimited and not name.endswith(".parquet")
    for field, kind, belongs in (
        ("quoting", "files called .csv or .tsv", delimited),
        ("delimiter", "files called .csv or .tsv", delimited),
        ("field", "JSON files", json),
    ):
        if getattr(rows, field) is not None and not belongs:
            raise TaskError(
                f"{file.where('rows', field)}: the field {field!r} is about {kind}, but the rows "
                f"are those of {rows.files or rows.hub!r}: leave it out."
            )


def _sentence(file: YamlFile, mistake: ErrorDetails) -> str:
    """One sentence for the first thing that is wrong."""
    # A field of several kinds names the kinds behind it, which are no fields.
    place = tuple(str(part) for part in mistake["loc"] if _is_field(part))
    where, name = file.where(*place), place[-1]
    if mistake["type"] == "missing":
        return f"{where}: the field {name!r} is missing; a task needs it."
    if mistake["type"] == "extra_forbidden":
        known = ", ".join(("include", *_fields_beside(place)))
        return f"{where}: unknown field {name!r}; known are {known}."
    belongs = _belongs(mistake)
    return f"{where}: the field {name!r} is {mistake['input']!r}, but {belongs} belongs there."


def _is_field(part: str | int) -> bool:
    return isinstance(part, int) or part not in ("str", "list[str]", "dict[str,str]", "[key]")


def _fields_beside(place: tuple[str, ...]) -> Iterable[str]:
    parts: Mapping[str, type[BaseModel]] = {"rows": RowsSection, "released": Released}
    part = parts.get(place[0], Definition) if len(place) > 1 else Definition
    return part.model_fields


_BELONGS = {
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
    "bool_type": "true or false",
    "int_type": "a whole number from 1 up",
    "greater_than_equal": "a whole number from 1 up",
    "too_long": "a single name",
    "string_too_long": "a single character",
}


def _belongs(mistake: ErrorDetails) -> str:
    if mistake["type"] == "literal_error":
        return f"one of {mistake['ctx']['expected'].replace(chr(39), '').replace(' or ', ', ')}"
    several = any(
        part in ("list[str]", "dict[str,str]") or part == "str" for part in mistake["loc"]
    )
    if several:
        return "a text or a mapping" if mistake["loc"][-1] == "dict[str,str]" else _TEXT_OR_LIST
    return _BELONGS.get(mistake["type"], mistake["msg"])


_TEXT_OR_LIST = "a text or a list of texts"


def only(names: Any) -> list[str]:
    """A text as a list of one; a list as it is."""
    return names if isinstance(names, list) else [names]
