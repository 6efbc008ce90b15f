"""Which questions a culture card asks: tasks that are there, and why others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosslatent.analysis.culture.stored_answers import country_of
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.plugins import MEASURES
from crosslatent.core.untrusted import nearest
from crosslatent.studies.culture_settings import CultureSettings, measure_names
from crosslatent.tasks import Item, Task, load_task


@dataclass(frozen=True, slots=True)
class CardQuestions:
    """The questions of a card.

    Attributes:
        tasks: those that are there.
        missing: name of a task -> why it is not there, and how to get it.
    """

    tasks: tuple[Task, ...]
    missing: Mapping[str, str]

    def check(self) -> None:
        """Refuse a card without questions.

        Raises:
            UsageError: no task is there.
        """
        if not self.tasks:
            name, reason = next(iter(self.missing.items()), ("", "no measure was asked for."))
            raise UsageError(
                f"None of {len(self.missing)} tasks is there, such as {name!r}: {reason} "
                "--task demo-culture needs no data."
            )


def questions_of_card(
    given: Iterable[str | Path | Task], asked: CultureSettings, data: str | Path | None
) -> CardQuestions:
    """Load tasks: those that were named, or all that the measures read.

    Args:
        given: names, files or tasks; those of the measures if empty, and what is not there is a
            row with its reason.
        asked: the settings.
        data: folder with the tasks' data; None for the hub.

    Raises:
        TaskError: a task that was named cannot be loaded, or none of its questions is wanted.
        UsageError: an unknown measure or country.
    """
    named = list(given)
    if named:
        loaded = [one if isinstance(one, Task) else _load(one, data) for one in named]
        tasks = tuple(_wanted(task, asked) for task in loaded)
        _check_countries(tasks, loaded, asked)
        return CardQuestions(tasks, {})
    found: dict[str, Task] = {}
    missing: dict[str, str] = {}
    for name in tasks_of(measure_names(asked["measures"] or ())):
        try:
            found[name] = _load(name, data)
        except TaskError as error:
            missing[name] = str(error)
    loaded = list(found.values())
    kept = [task for task in (_wanted(one, asked) for one in loaded) if task.items]
    _check_countries(kept, loaded, asked)
    return CardQuestions(tuple(kept), missing)


def tasks_of(measures: Sequence[str]) -> list[str]:
    """Names of the tasks that some measures read."""
    return list(dict.fromkeys(task for name in measures for task in MEASURES[name].tasks))


def _load(name: str | Path, data: str | Path | None) -> Task:
    """A task; its data is in the folder of its name, where there is one."""
    if data is not None and (Path(data) / str(name)).is_dir():
        data = Path(data) / str(name)
    return load_task(name, data=data, counterparts=False)


def _wanted(task: Task, asked: CultureSettings) -> Task:
    """Questions about the countries that were asked for, so many of each country and split."""
    countries, most = {name.casefold() for name in asked["countries"] or ()}, asked["limit"]
    seen: dict[tuple[str, str, str | None], int] = {}
    kept: list[Item] = []
    for item in task.items:
        country = country_of(item.strata)
        if countries and country.casefold() not in countries:
            continue
        group = country, item.aux_lang, item.split
        seen[group] = seen.get(group, 0) + 1
        if most is None or seen[group] <= most:
            kept.append(item)
    return replace(task, items=tuple(kept))


def _check_countries(kept: Iterable[Task], loaded: Iterable[Task], asked: CultureSettings) -> None:
    """Refuse countries that no question is about.

    Raises:
        UsageError: one.
    """
    there = {country_of(item.strata).casefold() for task in kept for item in task.items}
    known = sorted({country_of(item.strata) for task in loaded for item in task.items} - {""})
    for name in asked["countries"] or ():
        if name.casefold() not in there:
            raise UsageError(
                f"No question is about the country {name!r}{nearest(name, known)}: the questions "
                f"are about {', '.join(known) or 'no country'}."
            )
