"""The questions of a command: a task or prompts, shots before them, and their counterparts.

With ``--aux auto`` the counterparts that the data lacks are translated, shown to the user, and kept
for the next run.
"""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.cli import command_options as options
from crosslatent.cli.terminal import say, warn
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import More, Panel, Setting, count, path, several, whole
from crosslatent.core.specs import AsChat

if TYPE_CHECKING:
    from crosslatent.model import Model
    from crosslatent.model.chat import Prompt
    from crosslatent.tasks import Item, Task
    from crosslatent.translate import Translator

AUTO, SELF = "auto", "self"
_SHOWN, _CHARACTERS = 3, 200
"""Translations that are shown, and how much of each."""
_SECONDS = 10.0
"""Between two lines that say how far translating is."""

Translate = Callable[["Sequence[Item]"], "tuple[Sequence[Item], dict[str, str]]"]
"""Items without counterparts -> the same items with them, and the failures by item."""


def only_auto(text: str) -> str:
    """The value of --aux where counterparts are translated.

    Raises:
        UsageError: it is another than ``auto``.
    """
    if text != AUTO:
        raise UsageError(
            f"--aux is {text!r}, but only auto belongs there: counterparts of your own stand in "
            "the task's or prompts' file."
        )
    return text


def task_names() -> list[str]:
    """The tasks that come with the package; no file of them is read."""
    from crosslatent.tasks.task_loading import shipped_files

    return list(shipped_files())


class _Sources(TypedDict, total=False):
    task: Annotated[
        str | None,
        Setting(
            "A task; see 'crosslatent tasks ls'.",
            "NAME|FILE",
            panel=Panel.QUESTIONS,
            known=task_names,
        ),
    ]
    prompts: Annotated[
        Path | None,
        path(
            "Instead of a task: JSON Lines, JSON, CSV or TSV with main, aux, maybe answer.",
            "FILE",
            panel=Panel.QUESTIONS,
        ),
    ]


class LanguageSettings(TypedDict, total=False):
    """Which questions."""

    data: Annotated[
        Path | None,
        path(
            "Folder with the task's data, instead of the hub.",
            "DIR",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]
    lang: Annotated[
        tuple[str, ...],
        several("Languages that the task is about; all by default.", "L,L", panel=Panel.QUESTIONS),
    ]
    aux_lang: Annotated[
        tuple[str, ...],
        several(
            "Languages of aux; English, or the local one for culture tasks, by default.",
            "L,L",
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]


class ShotSettings(TypedDict, total=False):
    """What comes before a question."""

    shots: Annotated[
        int,
        Setting(
            "Solved pilot questions before each one.",
            "K",
            default=0,
            read=whole,
            panel=Panel.QUESTIONS,
            rare=True,
        ),
    ]


class PlainQuestionSettings(_Sources, LanguageSettings, total=False):
    """Which questions."""

    limit: Annotated[
        int | None, count("The first N items per language and split.", "N", panel=Panel.QUESTIONS)
    ]


class QuestionSettings(PlainQuestionSettings, ShotSettings, total=False):
    """Which questions."""


_RARE: More = {"panel": Panel.COUNTERPARTS, "rare": True}


class TranslationSettings(TypedDict, total=False):
    """How counterparts are translated."""

    translate_with: Annotated[
        str,
        Setting(
            "What makes the counterparts of --aux auto: the model itself, or a translation model.",
            "self|MODEL",
            default=SELF,
            **_RARE,
        ),
    ]
    translation_cache: Annotated[
        Path | None,
        path("Where translations are kept between runs.", "FILE", aside=True, **_RARE),
    ]
    save_parallel: Annotated[
        Path | None,
        path(
            "Write the questions with their counterparts, for --prompts.",
            "FILE",
            aside=True,
            **_RARE,
        ),
    ]


class CounterpartSettings(TranslationSettings, total=False):
    """How counterparts that the data lacks are made."""

    aux: Annotated[
        str | None,
        Setting(
            "Translate the counterparts that the data lacks.",
            "auto",
            read=only_auto,
            panel=Panel.QUESTIONS,
        ),
    ]


def load_questions(asked: PlainQuestionSettings, *, auto: bool = False) -> "Task":
    """The task with everything that the limit keeps, and what shots may be drawn from.

    Args:
        asked: which questions.
        auto: whether counterparts that the data lacks are translated.

    Raises:
        UsageError: not exactly one of task and prompts is given.
        TaskError: see `crosslatent.tasks.load_task`.
    """
    from crosslatent.tasks import load_prompts, load_task

    task, prompts = asked["task"], asked["prompts"]
    languages, aux_languages = asked["lang"] or None, asked["aux_lang"] or None
    if task is not None and prompts is None:
        return load_task(
            task,
            data=asked["data"],
            languages=languages,
            aux_languages=aux_languages,
            counterparts=not auto,
        )
    if prompts is not None and task is None:
        loaded = load_prompts(prompts, counterparts=not auto)
        # Prompts without a counterpart are in whatever language theirs will be.
        return loaded.about(languages, None if auto else aux_languages)
    given = "both are given" if task else "neither is given"
    raise UsageError(f"Questions come from --task or --prompts, and {given}: give one of them.")


def prepare_questions(
    task: "Task",
    translate: Translate | None = None,
    *,
    limit: int | None = None,
    shots: int = 0,
    shots_seed: int = 0,
) -> tuple["Task", dict[str, str]]:
    """The questions to run: translated if need be, with shots before them, limited.

    Args:
        task: the task, as loaded.
        translate: makes counterparts; None if none are made.
        limit: items per language and split; None for all.
        shots: solved questions before each one.
        shots_seed: of the draw of shots.

    Returns:
        The task, and item -> reason for those that could not be translated; they are still in
        the task, without a counterpart.

    Raises:
        TaskError: a limit below 1, or too few pilot questions for the shots.
    """
    from crosslatent.tasks import with_shots
    from crosslatent.tasks.task import PILOT

    chosen = {item.id for item in task.select(limit=limit).items}
    pool = {item.id for item in task.items if shots and item.split == PILOT}
    needed: Sequence[Item] = [item for item in task.items if item.id in chosen | pool]
    failures: dict[str, str] = {}
    if translate is not None:
        needed, failures = translate(needed)
    usable = tuple(item for item in needed if item.id not in failures)
    left = tuple(item for item in needed if item.id in failures and item.id in chosen)
    solved = with_shots(replace(task, items=usable), shots, seed=shots_seed)
    kept = {item.id: item for item in (*solved.items, *left) if item.id in chosen}
    ordered = tuple(kept[item.id] for item in needed if item.id in kept)
    return replace(task, items=ordered), {
        name: reason for name, reason in failures.items() if name in chosen
    }


@dataclass(slots=True)
class CounterpartMaker:
    """What makes the counterparts of one command.

    Attributes:
        model: the model under study, which may translate; None if it is elsewhere.
        settings: how counterparts are translated.
        loading: how a translation model is loaded.
        aux_lang: language of the counterparts whose items do not say; English by default.
        chat: whether, and how, the model is asked through its chat template.
    """

    model: "Model | None"
    settings: TranslationSettings
    loading: options.LoadingSettings
    aux_lang: str | None = None
    chat: AsChat = False
    _translator: "Translator | None" = None

    @property
    def translator(self) -> "Translator":
        """The translator, loaded when it is first needed."""
        from crosslatent.translate import OwnTranslator, load_translator

        if self._translator is None:
            by, where = self.settings["translate_with"], self.loading
            self._translator = (
                OwnTranslator(self.model, chat=self.chat)
                if by == SELF and self.model is not None
                else load_translator(by, device=where["device"], dtype=where["dtype"])
            )
        return self._translator

    def __call__(self, items: "Sequence[Item]") -> tuple[list["Item"], dict[str, str]]:
        """The items with counterparts, in their order, and why some have none.

        Raises:
            UsageError: the translator cannot be loaded, or the cache cannot be used.
        """
        from crosslatent.translate import TranslationCache, add_counterparts

        lacking = [item.id for item in items if not item.aux]
        if not lacking:
            say("Every question has its counterpart already: nothing to translate.")
            return list(items), {}
        cache = TranslationCache(self.settings["translation_cache"])
        made = add_counterparts(
            items, self.translator, aux_lang=self.aux_lang, cache=cache, progress=_now_and_then()
        )
        by_id = {item.id: item for item in made.items}
        done = [by_id[name] for name in lacking if name in by_id]
        say(
            f"{len(done)} of {len(lacking)} counterparts translated by {self.translator.name}: "
            f"{made.made} texts anew, {made.cached} from {cache.path}."
        )
        for item in done[:_SHOWN]:
            say(f"  {_short(item.main)} -> {_short(item.aux)}")
        return [by_id.get(item.id, item) for item in items], dict(made.failures)

    def to_dict(self) -> dict[str, Any]:
        """What made the counterparts, for run.json; empty if nothing had to be made."""
        if self._translator is None:
            return {}
        return {"translator": {"name": self._translator.name, **self._translator.identity}}


def _now_and_then() -> Callable[[int, int], None]:
    """Says now and then how many texts are translated."""
    said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SECONDS:
            said = time.monotonic()
            say(f"{done} of {total} texts translated.")

    return tell


def check_parallel(path: Path | None, auto: bool, prompts: Path | None) -> None:
    """Refuse a file for the translated questions that cannot be written, or is in use.

    Raises:
        UsageError: nothing is translated, it is the file that they come from, or its folder is not
            there.
    """
    if path is None:
        return
    if not auto:
        raise UsageError("--save-parallel keeps what --aux auto translates: give both, or neither.")
    if prompts is not None and path.absolute() == prompts.absolute():
        raise UsageError(f"--save-parallel would write over the questions in {path}: name another.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(
            f"--save-parallel is {str(path)!r}, but a file in a folder that exists belongs there."
        )


def save_parallel(questions: "Task", path: Path) -> None:
    """Write the questions that have counterparts, and a task's file beside them.

    Raises:
        RunFolderError: a file cannot be written.
    """
    from crosslatent.translate import write_parallel, write_task

    translated = [item for item in questions.items if item.aux]
    if not translated:
        return
    write_parallel(translated, path)
    task = write_task(questions, path)
    say(f"{len(translated)} questions with their counterparts are in {path}, for --task {task}.")


def stand_in(items: "Sequence[Item]") -> tuple[list["Item"], dict[str, str]]:
    """For an estimate: main in the place of the counterparts, so that nothing is translated."""
    say("Counterparts that are still to be translated are counted as long as their questions.")
    return [item if item.aux else replace(item, aux=item.main) for item in items], {}


def target_language(names: Sequence[str], prompts: Path | None) -> str | None:
    """The language of counterparts whose questions do not name one; None for the usual one.

    Raises:
        UsageError: several are given for prompts, which get one counterpart each.
    """
    if len(names) > 1 and prompts is not None:
        raise UsageError(
            f"--aux-lang names {', '.join(names)}, but prompts are translated into one language: "
            "give one."
        )
    return names[0] if len(names) == 1 else None


def warn_of_thought(model: "Model", main: "Prompt", chat: AsChat, new_tokens: int) -> None:
    """Print a warning if main ends inside a thought, which answers would go on with."""
    from crosslatent.model.chat import thought_note

    note = thought_note(model, main, chat=chat, role="main", new_tokens=new_tokens)
    if note is not None:
        warn(note)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= _CHARACTERS else f"{flat[:_CHARACTERS]}…")
