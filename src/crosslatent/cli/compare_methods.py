"""``crosslatent compare`` and ``culture``: methods side by side, and culture beyond accuracy."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import REQUIRED, Panel, Setting, several
from crosslatent.core.shared_settings import (
    COMPARE_MARKER,
    CompareSettings,
    method_names,
)
from crosslatent.core.untrusted import nearest
from crosslatent.studies.culture_settings import MARKER as CULTURE_MARKER
from crosslatent.studies.culture_settings import (
    CultureSettings,
    fixed_pair,
    measure_names,
)

_OUT = Setting(
    "Folder for the run folder and the report; repeat to resume, or to add methods.",
    "DIR",
    default=REQUIRED,
    read=Path,
    panel=Panel.OUTPUT,
)
_TRANSLATE_WITH = Setting(
    "A translation model, for methods that make the English prompt.",
    "MODEL",
    panel=Panel.COUNTERPARTS,
)


def language_files(texts: Iterable[str]) -> dict[str, Path]:
    """Files of texts by language, from texts such as ``sw=news.txt``.

    Raises:
        UsageError: one is of another form, or its file is not there.
    """
    found: dict[str, Path] = {}
    for text in texts:
        lang, sign, name = text.partition("=")
        if not (lang and sign and Path(name).is_file()):
            raise UsageError(
                f"--texts is {text!r}, but LANG=FILE belongs there, with a file that is there: "
                "lines of text, such as sw=news.txt."
            )
        found[lang] = Path(name)
    return found


_TEXTS = Setting(
    "Further text of a language, a line each, for what learns without labels; may be repeated.",
    "LANG=FILE",
    default=(),
    repeated=True,
    panel=Panel.TEXTS,
)


def _from_file(context: typer.Context, name: str | None) -> str | None:
    """Take the values of a YAML file as defaults: options on the command line win.

    Raises:
        UsageError: an option is unknown.
        TaskError: the file is not there, or no such YAML.
    """
    if name is None:
        return None
    from crosslatent.tasks.yaml_file import read_yaml

    file = Path(name)
    if not file.is_file():
        raise UsageError(f"--config is {name!r}, but there is no such file: give a YAML file.")
    known = {
        option.lstrip("-"): one.name
        for one in context.command.params
        for option in (*one.opts, *one.secondary_opts)
    }
    values: dict[str, Any] = {}
    try:
        content = read_yaml(file, file.parent)
    except TaskError as error:
        raise UsageError(str(error)) from error
    for key, value in content.data.items():
        option = str(key).replace("_", "-")
        if option not in known or option == "config":
            raise UsageError(
                f"{content.where(str(key))}: there is no option --{option}"
                f"{nearest(option, known)}: use those of crosslatent compare --help-all."
            )
        values[str(known[option])] = _as_text(value, repeated=option == "texts")
    context.default_map = {**(context.default_map or {}), **values}
    return name


def _as_text(value: Any, *, repeated: bool) -> Any:
    """A value of YAML as the command line has it."""
    if isinstance(value, dict):
        value = [f"{key}={each}" for key, each in value.items()]
    if isinstance(value, list):
        return list(map(str, value)) if repeated else ",".join(map(str, value))
    return value if isinstance(value, bool) or value is None else str(value)


_ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A YAML file of these options, one in each line: 'lang: sw', 'quick: true'.",
        callback=_from_file,
        is_eager=True,
        rich_help_panel=Panel.QUESTIONS,
    ),
]


@options.command
def compare(
    model: options.ModelSettings,
    out: Annotated[Path, _OUT],
    asked: questions.PlainQuestionSettings,
    compared: CompareSettings,
    translate_with: Annotated[str | None, _TRANSLATE_WITH],
    texts: Annotated[Any, _TEXTS],
    json: options.JsonOption,
    config: _ConfigOption = None,
) -> None:
    """Compare methods that repair another language: what each brings, at what price."""
    del config  # its callback has read it
    need("report")
    options.check_model(model)
    options.check_chat(compared)
    options.check_seed(compared)
    method_names(compared["methods"] or ())
    files = language_files(texts or ())
    read = {lang: file.read_text(encoding="utf-8").split("\n") for lang, file in files.items()}
    task = questions.load_questions(asked, auto=True)
    task, failures = questions.prepare_questions(task, limit=asked["limit"])
    from crosslatent.studies.questions import answered

    answered(task, failures)
    terminal.check_output_folder(out, COMPARE_MARKER)
    loaded = options.load_model(model)
    from crosslatent.report.method_words import HEAD, lines, without_figures
    from crosslatent.studies.methods_compared import compare as run

    with terminal.stoppable(), terminal.progresses() as show:
        found = run(
            loaded,
            task,
            out=out,
            translator=_translator(translate_with, model),
            texts=read,
            progress=show,
            failures=failures,
            **compared,
        )
    if json:
        terminal.print_json({"out": str(out), **found.to_dict()})
        return
    terminal.say(found.division)
    terminal.print_table(HEAD, lines(found.table), width=100)
    for line in without_figures(found.table):
        terminal.say(f"Without figures: {line}")
    terminal.say(f"Report: {found.report}")
    for sentence in found.sentences:
        terminal.print_text(sentence)


def _translator(name: str | None, model: options.ModelSettings) -> Any:
    """The translation model; None without one."""
    if name is None:
        return None
    from crosslatent.translate import load_translator

    return load_translator(name, device=model["device"], dtype=model["dtype"])


_CARD_OUT = Setting(
    "Folder for run folders and the card; repeat to resume, or to add measures.",
    "DIR",
    default=REQUIRED,
    read=Path,
    panel=Panel.OUTPUT,
)
_TASKS = several(
    "Tasks, by name or file; those of the measures by default.",
    "NAME|FILE,...",
    panel=Panel.QUESTIONS,
)
_DATA = Setting(
    "Folder with the tasks' data, instead of the hub.",
    "DIR",
    read=Path,
    panel=Panel.QUESTIONS,
)
_CARD_TRANSLATE = Setting(
    "A translation model, for questions without a prompt in the country's language.",
    "MODEL",
    panel=Panel.COUNTERPARTS,
)


@options.command
def culture(
    model: options.ModelSettings,
    out: Annotated[Path, _CARD_OUT],
    task: Annotated[tuple[str, ...], _TASKS],
    data: Annotated[Path | None, _DATA],
    translate_with: Annotated[str | None, _CARD_TRANSLATE],
    measured: CultureSettings,
    json: options.JsonOption,
) -> None:
    """Measure culture beyond accuracy: opinions, knowledge, norms, stereotypes, with controls."""
    need("report")
    options.check_model(model)
    options.check_chat(measured)
    options.check_seed(measured)
    measure_names(measured["measures"] or ())
    fixed_pair(measured)
    terminal.check_output_folder(out, CULTURE_MARKER)
    from crosslatent.studies.culture_tasks import questions_of_card

    found = questions_of_card(task or (), measured, data)
    found.check()
    loaded = options.load_model(model)
    from crosslatent.report.culture_words import HEAD, lines, without_figures
    from crosslatent.studies.culture_card import culture as run

    translator = _translator(translate_with, model)
    with terminal.stoppable(), terminal.progresses() as show:
        card = run(loaded, found, out=out, translator=translator, progress=show, **measured)
    if json:
        terminal.print_json({"out": str(out), **card.to_dict()})
        return
    terminal.print_table(HEAD, lines(card.result), width=100)
    for line in without_figures(card.result):
        terminal.say(f"Without figures: {line}")
    terminal.say(f"Report: {card.report}")
    for sentence in card.sentences:
        terminal.print_text(sentence)
