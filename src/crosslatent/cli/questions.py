"""Which questions a command is about: a task or prompts, some languages, shots before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from crosslatent.core.errors import UsageError

if TYPE_CHECKING:
    from crosslatent.tasks import Item, Task

AUTO = "auto"

Translate = Callable[["Sequence[Item]"], "tuple[Sequence[Item], dict[str, str]]"]
"""Items without counterparts -> the same items with them, and the failures by item."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What was asked for on the command line.

    Attributes:
        task: name or file of a task.
        prompts: instead of it, a JSON Lines file.
        data: folder with the task's data.
        languages, aux_languages: empty for all.
        limit: most items of each pair of languages and split.
        shots: solved pilot questions before each question.
        seed: of the draw of shots.
        auto: whether counterparts that the data lacks are translated.
    """

    task: str | None
    prompts: Path | None
    data: Path | None = None
    languages: tuple[str, ...] = ()
    aux_languages: tuple[str, ...] = ()
    limit: int | None = None
    shots: int = 0
    seed: int = 0
    auto: bool = False

    def load(self) -> Task:
        """The task with everything that the limit keeps, and what shots may be drawn from.

        Raises:
            UsageError: not exactly one of task and prompts is given.
            TaskError: see `crosslatent.tasks.load_task`.
        """
        from crosslatent.tasks import load_prompts, load_task

        languages = self.languages or None
        aux_languages = self.aux_languages or None
        if self.task is not None and self.prompts is None:
            return load_task(
                self.task,
                data=self.data,
                languages=languages,
                aux_languages=aux_languages,
                counterparts=not self.auto,
            )
        if self.prompts is not None and self.task is None:
            loaded = load_prompts(self.prompts, counterparts=not self.auto)
            # Prompts without a counterpart are in whatever language theirs will be.
            return loaded.about(languages, None if self.auto else aux_languages)
        given = "both are given" if self.task else "neither is given"
        raise UsageError(f"Questions come from --task or --prompts, and {given}: give one of them.")

    def prepare(self, task: Task, translate: Translate | None) -> tuple[Task, dict[str, str]]:
        """The questions to run: translated if need be, with shots before them, limited.

        Returns:
            The task, and item -> reason for those that could not be translated; they are still in
            the task, without a counterpart.

        Raises:
            TaskError: a limit below 1, or too few pilot questions for the shots.
        """
        from crosslatent.tasks import with_shots
        from crosslatent.tasks.shots import PILOT

        chosen = {item.id for item in task.select(limit=self.limit).items}
        pool = {item.id for item in task.items if self.shots and item.split == PILOT}
        needed = [item for item in task.items if item.id in chosen | pool]
        failures: dict[str, str] = {}
        if translate is not None:
            translated, failures = translate(needed)
            needed = list(translated)
        usable = tuple(item for item in needed if item.id not in failures)
        left = tuple(item for item in needed if item.id in failures and item.id in chosen)
        solved = with_shots(replace(task, items=usable), self.shots, seed=self.seed)
        kept = {item.id: item for item in (*solved.items, *left) if item.id in chosen}
        ordered = tuple(kept[item.id] for item in needed if item.id in kept)
        return replace(task, items=ordered), {
            name: reason for name, reason in failures.items() if name in chosen
        }
