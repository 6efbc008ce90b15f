"""Options of commands from settings (`core.settings`), those that commands share, and the model."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints, is_typeddict

import typer

from crosslatent.cli.command_class import DebugOption, HelpAllOption, completion, in_panels
from crosslatent.cli.terminal import warn
from crosslatent.core.errors import UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import (
    REQUIRED,
    More,
    Panel,
    Setting,
    complete,
    names,
    settings_of,
    switch,
)
from crosslatent.core.specs import TransplantSpec, resolve_layer
from crosslatent.model.folder import BITS, DTYPES

if TYPE_CHECKING:
    from crosslatent.distributed import ModelSource
    from crosslatent.model import Model

JsonOption = Annotated[
    bool, switch("Print JSON for programs to read (docs/json.md).", panel=Panel.OUTPUT)
]


def _module_paths(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in names(text)]
    for part, sign, path in pairs:
        if not (part and sign and path) or [each[0] for each in pairs].count(part) > 1:
            raise UsageError(
                f"--modules is {text!r}, but each part once belongs there, such as "
                "attn=self_attn,ffn=mlp."
            )
    return {part: path for part, _, path in pairs}


MODEL_HELP = "Model folder, or name on the hub."


_RARE: More = {"panel": Panel.MODEL, "rare": True}


class _NamedModel(TypedDict, total=False):
    model: Annotated[str, Setting(MODEL_HELP, "MODEL", default=REQUIRED, panel=Panel.MODEL)]


class LoadingSettings(TypedDict, total=False):
    """How the model is loaded."""

    revision: Annotated[
        str | None, Setting("Branch, tag or commit of a model on the hub.", "REV", **_RARE)
    ]
    device: Annotated[
        str,
        Setting(
            "auto, cpu, cuda, cuda:1, mps, or spread over all.",
            "DEVICE",
            default="auto",
            known=("auto", "cpu", "cuda", "mps", "spread"),
            **_RARE,
        ),
    ]
    dtype: Annotated[
        str,
        Setting(
            "auto, float32, bfloat16 or float16.",
            "DTYPE",
            default="auto",
            known=("auto", *DTYPES),
            **_RARE,
        ),
    ]


class _Modules(TypedDict, total=False):
    modules: Annotated[
        str | None,
        Setting(
            "Where a model's modules are, if that is not found: blocks=PATH,attn=PATH,ffn=PATH.",
            "PART=PATH,...",
            **_RARE,
        ),
    ]


class ModuleSettings(LoadingSettings, _Modules, total=False):
    """How the model is loaded."""


class PlainModelSettings(_NamedModel, LoadingSettings, total=False):
    """Which model, and how it is loaded."""


class ModelSettings(PlainModelSettings, _Modules, total=False):
    """Which model, and how it is loaded."""

    quantization: Annotated[
        str | None,
        Setting("Hold the weights of linear layers in 8bit or 4bit.", "BITS", known=BITS, **_RARE),
    ]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer takes it: each setting of its groups is an option, and --debug.

    A parameter whose type is a group of settings (`core.settings`) gets all of them, given or not;
    one that is annotated with a setting gets this one. The help shows them by panels.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if _is_group(kind)}
    defaults = inspect.signature(function).parameters
    parameters = [
        each
        for name, kind in hints.items()
        if name != "return"
        for each in _parameters(name, kind, defaults[name].default)
    ]
    of_all = {"debug": DebugOption, "help_all": HelpAllOption}
    parameters += [_keyword(name, kind, False) for name, kind in of_all.items()]
    parameters.sort(key=lambda one: in_panels(one.annotation))

    @wraps(function)
    def call(**given: Any) -> None:
        del given["debug"], given["help_all"]  # their callbacks have read them
        for name, group in groups.items():
            taken = {each: given.pop(each) for each, _ in _options_of(group)}
            given[name] = complete(group, _taken(group, taken))
        function(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _is_group(kind: Any) -> bool:
    return is_typeddict(kind) or is_dataclass(kind)


def _options_of(group: Any) -> list[tuple[str, Setting]]:
    return [each for each in settings_of(group).items() if not each[1].only_python]


def _parameters(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """What Typer gets of one parameter of a command."""
    alone = [one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Setting)]
    if alone:
        yield _option(name, alone[0])
    elif _is_group(kind):
        yield from (_option(*each) for each in _options_of(kind))
    else:
        yield _keyword(name, kind, default)


def _taken(group: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a group; of what may be repeated, the texts are read together."""
    values = {}
    for name, value in given.items():
        setting = settings_of(group)[name]
        # Nothing, where there is a default to be given, is what the text said.
        if value is not None or _default(setting) is not None:
            values[name] = setting.read(value) if setting.repeated and setting.read else value
    return values


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _option(name: str, setting: Setting) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    flags = setting.flags or (f"{flag}/--no-{flag[2:]}" if setting.default is True else flag,)
    look: dict[str, Any] = {
        "help": setting.help,
        "metavar": setting.metavar,
        "rich_help_panel": setting.panel,
        "hidden": setting.rare,
        "autocompletion": completion(setting.known) if setting.known != () else None,
    }
    if setting.is_switch:
        switch: Any = bool if setting.default is not None else bool | None
        return _keyword(name, Annotated[switch, typer.Option(*flags, **look)], setting.default)
    kind: Any = list[str] if setting.repeated else str
    # Typer reads each text of several alone, but a setting reads all of them.
    parser = _parser(setting.read) if setting.read and not setting.repeated else None
    option = typer.Option(*flags, parser=parser, **look)
    if setting.default is REQUIRED:
        return _keyword(name, Annotated[kind, option], inspect.Parameter.empty)
    return _keyword(name, Annotated[kind | None, option], _default(setting))


def _default(setting: Setting) -> Any:
    """The default as the command line has it; None where no text says it, such as no names."""
    if setting.default is None or setting.default == ():
        return setting.shown
    if setting.shown is not None:
        return setting.shown
    try:
        return setting.default if setting.read is None else setting.read(setting.default)
    except (TypeError, ValueError):
        return None


def _parser(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser for Typer; it has a name, which click 8.1 asks for."""

    def value(text: Any) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return value


def need_command(context: typer.Context) -> None:
    """Show help as wrong usage where a command is missing; for the callback of an application."""
    if context.invoked_subcommand is None:
        with redirect_stdout(sys.stderr):  # with Rich, the help is printed and not returned
            print(context.get_help(), end="")
        raise typer.Exit(2)


def check_chat(settings: Mapping[str, Any]) -> None:
    """Refuse arguments of a chat template where prompts do not go through one.

    Raises:
        UsageError: there are some.
    """
    if settings["chat_args"] and not settings["chat"]:
        raise UsageError(
            f"--chat-arg {next(iter(settings['chat_args']))} is a switch of a chat template, but "
            "prompts do not go through one: give --chat too."
        )


def check_seed(settings: Mapping[str, Any]) -> None:
    """Refuse a negative seed.

    Raises:
        UsageError: it is one.
    """
    if settings["seed"] < 0:
        raise UsageError(
            f"--seed is {settings['seed']}, but a seed is a whole number of 0 or more."
        )


def check_model(settings: Mapping[str, Any]) -> None:
    """Refuse, before torch is imported, what cannot be loaded as far as that can be seen.

    Args:
        settings: its name, and some of the others of `ModelSettings`.

    Raises:
        UsageError: --modules cannot be read.
        ModelError: there is no such folder, device, dtype or quantisation.
    """
    from crosslatent.model import folder

    _with_paths(settings)
    folder.check_dtype(settings.get("dtype", "auto"))
    folder.check_device(settings.get("device", "auto"))
    if (bits := settings.get("quantization")) is not None:
        folder.check_bits(bits)
    folder.check_place(settings["model"])


def check_layers(model: str, carried: Iterable[TransplantSpec]) -> None:
    """Refuse layers that a model does not have, as far as its folder says how many there are.

    Raises:
        PairError: it does not have one.
    """
    from crosslatent.model.folder import layers_of

    if (depth := layers_of(model)) is not None:
        for one in carried:
            resolve_layer(one.source, depth, "source")
            resolve_layer(one.target, depth, "target")


def check_chooser(file: Path, model: str) -> None:
    """Refuse a chooser that cannot be read or does not fit the model, before that is loaded.

    Raises:
        UsageError: it cannot, or does not as far as the model's folder says.
    """
    need("stats")
    from crosslatent.model.folder import layers_of
    from crosslatent.selectors import saved

    selector = saved.load(file)
    if (depth := layers_of(model)) is not None:
        saved.check_model(selector, depth)


def load_model(settings: Mapping[str, Any]) -> "Model":
    """Load a model without the chatter of the libraries below.

    Args:
        settings: its name, and some of the others of `ModelSettings`; see `model.load`.

    Raises:
        UsageError: --modules cannot be read.
        ModelError: it cannot be loaded.
    """
    check_model(settings)
    given = _with_paths(settings)
    quiet()
    from crosslatent.model import load

    with warnings_in_one_line():
        return load(given.pop("model"), **given)


def source_of(settings: ModelSettings) -> "ModelSource":
    """Where the workers of a sweep load a model from.

    Raises:
        UsageError: --modules cannot be read.
    """
    from crosslatent.distributed import ModelSource

    given = _with_paths(settings)
    return ModelSource.of(given.pop("model"), **given)


def _with_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model with what --modules says as paths by part."""
    text = settings.get("modules")
    return {**settings, "modules": None if text is None else _module_paths(text)}


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Inside, our own warnings look like those of the command line."""
    from crosslatent.model.adapters import AdapterWarning
    from crosslatent.model.tokenizers import TokenizerWarning

    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *more: Any, **names: Any) -> None:
            if issubclass(category, AdapterWarning | TokenizerWarning):
                warn(str(message))
            else:
                others(message, category, *more, **names)

        warnings.showwarning = show
        yield


def quiet() -> None:
    """Prepare for torch and transformers; must come before their first import.

    Silences the log of transformers, since an error is one sentence of ours, and lets threads that
    wait for each other spin but shortly. Small models meet often and briefly: without spinning, two
    threads are no faster than one; with the default spinning, a busy machine makes them many times
    slower.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")

    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
