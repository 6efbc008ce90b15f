"""``--aux auto``: counterparts by translation, shown to the user and kept for the next run."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from crosslatent.cli.errors import say
from crosslatent.cli.questions import AUTO
from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Setting
from crosslatent.core.specs import AsChat

if TYPE_CHECKING:
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task
    from crosslatent.translate import Translator

SELF = "self"
_SHOWN, _CHARACTERS = 3, 200
"""Translations that are shown, and how much of each."""
_SECONDS = 10.0
"""Between two lines that say how far translating is."""


class CounterpartSettings(TypedDict, total=False):
    """How counterparts that the data lacks are made."""

    aux: Annotated[
        str | None, Setting(help="Translate the counterparts that the data lacks.", metavar="auto")
    ]
    translate_with: Annotated[
        str,
        Setting(
            help="What makes the counterparts of --aux auto: the model itself, or a translation "
            "model.",
            default=SELF,
            metavar="self|MODEL",
        ),
    ]
    translation_cache: Annotated[
        Path | None,
        Setting(
            help="Where translations are kept between runs.",
            metavar="FILE",
            read=Path,
            aside=True,
        ),
    ]
    save_parallel: Annotated[
        Path | None,
        Setting(
            help="Write the questions with their counterparts, for --prompts.",
            metavar="FILE",
            read=Path,
            aside=True,
        ),
    ]


@dataclass(slots=True)
class CounterpartMaker:
    """What makes the counterparts of one command.

    Attributes:
        model: the model under study, which translates if `by` is `SELF`; None if it is elsewhere.
        by: `SELF`, or a translation model's folder or name.
        aux_lang: language of the counterparts whose items do not say; English by default.
        chat: whether, and how, the model is asked through its chat template.
        cache: file of known translations; None for the usual place.
        device, dtype: of a translation model.
    """

    model: "Model | None"
    by: str = SELF
    aux_lang: str | None = None
    chat: AsChat = False
    cache: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    _translator: "Translator | None" = None

    @property
    def translator(self) -> "Translator":
        """The translator, loaded when it is first needed."""
        from crosslatent.translate import OwnTranslator, load_translator

        if self._translator is None:
            self._translator = (
                OwnTranslator(self.model, chat=self.chat)
                if self.by == SELF and self.model is not None
                else load_translator(self.by, device=self.device, dtype=self.dtype)
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
        cache = TranslationCache(self.cache)
        made = add_counterparts(
            items, self.translator, aux_lang=self.aux_lang, cache=cache, progress=_Progress()
        )
        found = {item.id: item for item in made.items}
        done = [found[name] for name in lacking if name in found]
        say(
            f"{len(done)} of {len(lacking)} counterparts translated by {self.translator.name}: "
            f"{made.made} texts anew, {made.cached} from {cache.path}."
        )
        for item in done[:_SHOWN]:
            say(f"  {_short(item.main)} -> {_short(item.aux)}")
        return [found.get(item.id, item) for item in items], dict(made.failures)

    def to_dict(self) -> dict[str, Any]:
        """What made the counterparts, for run.json; empty if nothing had to be made."""
        if self._translator is None:
            return {}
        return {"translator": {"name": self._translator.name, **self._translator.identity}}


class _Progress:
    """Says now and then how many texts are translated."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > _SECONDS:
            self._said = time.monotonic()
            say(f"{done} of {total} texts translated.")


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


def check_aux(value: str | None) -> bool:
    """Whether counterparts are to be translated.

    Raises:
        UsageError: another value than ``auto``.
    """
    if value is None:
        return False
    if value != AUTO:
        raise UsageError(
            f"--aux is {value!r}, but only auto belongs there: counterparts of your own stand in "
            "the task's or prompts' file."
        )
    return True


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


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= _CHARACTERS else f"{flat[:_CHARACTERS]}…")
