"""Which questions a command is about: a task or prompts, some languages, shots before them."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, cast

from crosslatent.core.errors import UsageError
from crosslatent.core.settings import Setting, names, positive, whole

if TYPE_CHECKING:
    from crosslatent.tasks import Item, Task

AUTO = "auto"

Translate = Callable[["Sequence[Item]"], "tuple[Sequence[Item], dict[str, str]]"]
"""Items without counterparts -> the same items with them, and the failures by item."""


class PlainQuestionSettings(TypedDict, total=False):
    """Which questions."""

    task: Annotated[
        str | None, Setting(help="A task; see 'crosslatent tasks ls'.", metavar="NAME|FILE")
    ]
    prompts: Annotated[
        Path | None,
        Setting(
            help="Instead of a task: JSON Lines with id, main, aux, maybe answer.",
            metavar="FILE",
            read=Path,
        ),
    ]
    data: Annotated[
        Path | None,
        Setting(help="Folder with the task's data, instead of the hub.", metavar="DIR", read=Path),
    ]
    lang: Annotated[
        tuple[str, ...],
        Setting(
            help="Languages that the task is about; all by default.",
            default=(),
            metavar="L,L",
            read=names,
        ),
    ]
    aux_lang: Annotated[
        tuple[str, ...],
        Setting(
            help="Languages of aux; English, or the local one for culture tasks, by default.",
            default=(),
            metavar="L,L",
            read=names,
        ),
    ]
    limit: Annotated[
        int | None,
        Setting(help="The first N items per language and split.", metavar="N", read=positive),
    ]


class QuestionSettings(PlainQuestionSettings, total=False):
    """Which questions."""

    shots: Annotated[
        int,
        Setting(help="Solved pilot questions before each one.", default=0, metavar="K", read=whole),
    ]


@dataclass(frozen=True, slots=True)
class Questions:
    """What was asked for on the command line.

    Attributes:
        settings: which questions.
        seed: of the draw of shots.
        auto: whether counterparts that the data lacks are translated.
    """

    settings: PlainQuestionSettings | QuestionSettings
    seed: int = 0
    auto: bool = False

    def load(self) -> "Task":
        """The task with everything that the limit keeps, and what shots may be drawn from.

        Raises:
            UsageError: not exactly one of task and prompts is given.
            TaskError: see `crosslatent.tasks.load_task`.
        """
        from crosslatent.tasks import load_prompts, load_task

        asked = self.settings
        task, prompts = asked["task"], asked["prompts"]
        languages, aux_languages = asked["lang"] or None, asked["aux_lang"] or None
        if task is not None and prompts is None:
            return load_task(
                task,
                data=asked["data"],
                languages=languages,
                aux_languages=aux_languages,
                counterparts=not self.auto,
            )
        if prompts is not None and task is None:
            loaded = load_prompts(prompts, counterparts=not self.auto)
            # Prompts without a counterpart are in whatever language theirs will be.
            return loaded.about(languages, None if self.auto else aux_languages)
        given = "both are given" if task else "neither is given"
        raise UsageError(f"Questions come from --task or --prompts, and {given}: give one of them.")

    def prepare(self, task: "Task", translate: Translate | None) -> tuple["Task", dict[str, str]]:
        """The questions to run: translated if need be, with shots before them, limited.

        Returns:
            The task, and item -> reason for those that could not be translated; they are still in
            the task, without a counterpart.

        Raises:
            TaskError: a limit below 1, or too few pilot questions for the shots.
        """
        from crosslatent.tasks import with_shots
        from crosslatent.tasks.task import PILOT

        chosen = {item.id for item in task.select(limit=self.settings["limit"]).items}
        shots = cast("int", self.settings.get("shots", 0))
        pool = {item.id for item in task.items if shots and item.split == PILOT}
        needed = [item for item in task.items if item.id in chosen | pool]
        failures: dict[str, str] = {}
        if translate is not None:
            translated, failures = translate(needed)
            needed = list(translated)
        usable = tuple(item for item in needed if item.id not in failures)
        left = tuple(item for item in needed if item.id in failures and item.id in chosen)
        solved = with_shots(replace(task, items=usable), shots, seed=self.seed)
        kept = {item.id: item for item in (*solved.items, *left) if item.id in chosen}
        ordered = tuple(kept[item.id] for item in needed if item.id in kept)
        return replace(task, items=ordered), {
            name: reason for name, reason in failures.items() if name in chosen
        }
