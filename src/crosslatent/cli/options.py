"""Options that several commands share, and how their texts are read."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_type_hints, is_typeddict

import typer

from crosslatent.cli.errors import Settings
from crosslatent.core import settings, specs
from crosslatent.core.errors import PromptError, UsageError
from crosslatent.core.settings import REQUIRED, Setting, complete, settings_of

ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help="Model folder, or name on the hub."),
]
RevisionOption = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a model on the hub.")
]
DeviceOption = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps, or spread over all.")
]
DtypeOption = Annotated[
    str, typer.Option(metavar="DTYPE", help="auto, float32, bfloat16 or float16.")
]
QuantizationOption = Annotated[
    str | None,
    typer.Option(metavar="BITS", help="Hold the weights of linear layers in 8bit or 4bit."),
]
ModulesOption = Annotated[
    str | None,
    typer.Option(
        "--modules",
        metavar="PART=PATH,...",
        help="Where a model's modules are, if that is not found: blocks=PATH,attn=PATH,ffn=PATH.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


class PlainModelSettings(TypedDict, total=False):
    """Which model, and how it is loaded."""

    model: Annotated[
        str, Setting(help="Model folder, or name on the hub.", default=REQUIRED, metavar="MODEL")
    ]
    revision: Annotated[
        str | None, Setting(help="Branch, tag or commit of a model on the hub.", metavar="REV")
    ]
    device: Annotated[
        str,
        Setting(
            help="auto, cpu, cuda, cuda:1, mps, or spread over all.",
            default="auto",
            metavar="DEVICE",
        ),
    ]
    dtype: Annotated[
        str,
        Setting(help="auto, float32, bfloat16 or float16.", default="auto", metavar="DTYPE"),
    ]


class ModelSettings(PlainModelSettings, total=False):
    """Which model, and how it is loaded."""

    modules: Annotated[
        str | None,
        Setting(
            help="Where a model's modules are, if that is not found: "
            "blocks=PATH,attn=PATH,ffn=PATH.",
            metavar="PART=PATH,...",
        ),
    ]
    quantization: Annotated[
        str | None,
        Setting(help="Hold the weights of linear layers in 8bit or 4bit.", metavar="BITS"),
    ]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer takes it: each setting of its groups is an option.

    A parameter whose type is a group of settings (`core.settings`) gets all of them, given or not.
    """
    groups: dict[str, type[Any]] = {}
    parameters = []
    for name, annotation in get_type_hints(function, include_extras=True).items():
        if name == "return":
            continue
        if is_typeddict(annotation) or is_dataclass(annotation):
            groups[name] = annotation
            parameters += [
                _option(annotation, *one)
                for one in settings_of(annotation).items()
                if not one[1].only_python
            ]
        else:
            default = inspect.signature(function).parameters[name].default
            parameters.append(_keyword(name, annotation, default))

    @wraps(function)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            taken = {
                each: given.pop(each)
                for each, one in settings_of(group).items()
                if not one.only_python
            }
            given[name] = complete(group, _taken(group, taken))
        function(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call


def _taken(group: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a group; of what may be repeated, the texts are read together."""
    values = {}
    for name, value in given.items():
        one = settings_of(group)[name]
        # Nothing, where there is a default to be given, is what the text said.
        if value is not None or _default(one) is not None:
            values[name] = one.read(value) if one.repeated and one.read else value
    return values


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _option(group: type[Any], name: str, one: Setting) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    flags = one.flags or (f"{flag}/--no-{flag[2:]}" if one.default is True else flag,)
    panel = (inspect.getdoc(group) or "").partition("\n")[0].removesuffix(".")
    look: dict[str, Any] = {"help": one.help, "metavar": one.metavar, "rich_help_panel": panel}
    if one.is_switch:
        return _keyword(name, Annotated[bool, typer.Option(*flags, **look)], one.default)
    kind: Any = list[str] if one.repeated else str
    # Typer reads each text of several alone, but a setting reads all of them.
    parser = partial(_parsed, one.read) if one.read and not one.repeated else None
    option = typer.Option(*flags, parser=parser, **look)
    if one.default is REQUIRED:
        return _keyword(name, Annotated[kind, option], inspect.Parameter.empty)
    return _keyword(name, Annotated[kind | None, option], _default(one))


def _default(one: Setting) -> Any:
    """The default as the command line has it; None where no text says it, such as no names."""
    if one.default == ():
        return None
    if one.shown is not None:
        return one.shown
    try:
        return one.default if one.read is None else one.read(one.default)
    except (TypeError, ValueError):
        return None


def _parsed(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _set_debug(context: typer.Context, value: bool) -> bool:
    root = context.find_root()
    if value and isinstance(root.obj, Settings):
        root.obj.debug = True
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error.", callback=_set_debug, is_eager=True
    ),
]


def need_command(context: typer.Context) -> None:
    """Show help as wrong usage where a command is missing; for the callback of an application."""
    if context.invoked_subcommand is None:
        with redirect_stdout(sys.stderr):  # with Rich, the help is printed and not returned
            print(context.get_help(), end="")
        raise typer.Exit(2)


def whole(text: str) -> int:
    """A whole number."""
    return int(_parsed(settings.whole, text))


def positive(text: str) -> int:
    """A whole number from 1 up."""
    return int(_parsed(settings.positive, text))


def real(text: str) -> float:
    """A finite number."""
    return float(_parsed(settings.real, text))


StrengthOption = Annotated[
    float,
    typer.Option(parser=real, metavar="ALPHA", help="own + ALPHA * (vector - own); 1 replaces it."),
]
PositionsOption = Annotated[
    int,
    typer.Option(parser=positive, metavar="K", help="How many of the last tokens to carry over."),
]


DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder with the task's data, instead of the hub."),
]
LangOption = Annotated[
    str | None,
    typer.Option("--lang", metavar="L,L", help="Languages that the task is about; all by default."),
]
AuxLangOption = Annotated[
    str | None,
    typer.Option(
        "--aux-lang",
        metavar="L,L",
        help="Languages of aux; English, or the local one for culture tasks, by default.",
    ),
]
ShotsOption = Annotated[
    int,
    typer.Option(
        "--shots", parser=whole, metavar="K", help="Solved pilot questions before each one."
    ),
]
ChatOption = Annotated[
    bool, typer.Option("--chat", help="Put prompts through the tokenizer's chat template.")
]
ChatArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--chat-arg",
        metavar="NAME=VALUE",
        help="A switch of the chat template, such as enable_thinking=false; may be repeated.",
    ),
]
TranslateOption = Annotated[
    str,
    typer.Option(
        "--translate-with",
        metavar="self|MODEL",
        help="What makes the counterparts of --aux auto: the model itself, or a translation model.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--translation-cache", metavar="FILE", help="Where translations are kept between runs."
    ),
]


def names(text: str | None, option: str) -> tuple[str, ...]:
    """The parts of a comma-separated option, without blanks and repetitions.

    Raises:
        UsageError: the option is given and a part is empty.
    """
    if text is None:
        return ()
    try:
        return settings.names(text)
    except ValueError as error:
        raise UsageError(
            f"{option} is {text!r}, but names separated by commas belong there."
        ) from error


def chat_arguments(given: Sequence[str] | None, *, chat: bool) -> dict[str, Any]:
    """What --chat-arg says, by name; see `core.specs.chat_arguments`.

    Raises:
        UsageError: one is no argument; or there is no chat.
    """
    found = specs.chat_arguments(given or ())
    check_chat(found, chat=chat)
    return found


def check_chat(arguments: Mapping[str, Any], *, chat: bool) -> None:
    """Refuse arguments of a chat template where prompts do not go through one.

    Raises:
        UsageError: there are some.
    """
    if arguments and not chat:
        raise UsageError(
            f"--chat-arg {next(iter(arguments))} is a switch of a chat template, but prompts do "
            "not go through one: give --chat too."
        )


def module_paths(text: str | None) -> dict[str, str] | None:
    """What --modules says, for `crosslatent.model.load`.

    Raises:
        UsageError: a part is not of the form PART=PATH, or is given twice.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in names(text, "--modules")]
    for part, sign, path in pairs:
        if not (part and sign and path) or [each[0] for each in pairs].count(part) > 1:
            raise UsageError(
                f"--modules is {text!r}, but each part once belongs there, such as "
                "attn=self_attn,ffn=mlp."
            )
    return {part: path for part, _, path in pairs}


def prompt_text(text: str, role: str) -> str:
    """A prompt as given: the text itself, or with ``@FILE`` that file's content.

    The line break that editors leave at the end of a file is not part of the prompt, whose last
    token is what a transplant touches. A text that starts with "@" is written with two.

    Raises:
        PromptError: the file cannot be read, or the prompt is empty.
    """
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _read(text[1:], role)
    if not text.strip():
        raise PromptError(f"The {role} prompt is empty: give it some text.")
    return text


def _read(name: str, role: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PromptError(
            f"Cannot read the {role} prompt from {name!r} ({reason}): give @ and a text file."
        ) from error
    return text.removesuffix("\n").removesuffix("\r")
