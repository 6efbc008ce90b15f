"""The culture card: measures of culture for a model, with and without a transplant, with controls.

Each task has a run folder of its own; the card is computed from their rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crosslatent.analysis.culture.card import CultureResult, CultureTaskResult, MeasureResult
from crosslatent.analysis.culture.culture_answers import TRANSPLANT
from crosslatent.analysis.culture.measuring import claimed, measured
from crosslatent.analysis.culture.stored_answers import (
    COUNTRY,
    StoredAnswers,
    country_of,
    stored_answers,
    with_other_culture,
)
from crosslatent.analysis.data import RunData
from crosslatent.core.bars import told
from crosslatent.core.cards import Card, Rows, Sentences, Shown
from crosslatent.core.errors import CrosslatentError, RunFolderError, UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import TransplantSpec
from crosslatent.core.untrusted import nearest, parse_json
from crosslatent.model import Model, loaded
from crosslatent.report.culture_page import write_culture_page
from crosslatent.report.culture_words import HEAD, lines, sentences, without_figures
from crosslatent.runs.files import prepare_folder, write_json
from crosslatent.runs.reader import RunReader
from crosslatent.studies.culture_rows import CultureTask
from crosslatent.studies.culture_settings import (
    MARKER,
    CultureSettings,
    fixed_pair,
    measure_names,
)
from crosslatent.studies.culture_tasks import CardQuestions, questions_of_card
from crosslatent.sweeps import Progress
from crosslatent.tasks import Item, Task

if TYPE_CHECKING:
    from crosslatent.translate import Translator

PAGE = "culture.html"
RUNS = "runs"
"""Folder of the run folders, one for each task."""


@dataclass(frozen=True, slots=True)
class CultureCard(Shown):
    """What came of it.

    Attributes:
        result: every figure.
        report: the page.
        runs: task -> its run folder.
    """

    result: CultureResult
    report: Path
    runs: Mapping[str, Path]

    @property
    def sentences(self) -> list[str]:
        """What can be said."""
        return sentences(self.result)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; paths are below the output folder."""
        return {
            **self.result.to_dict(),
            "sentences": self.sentences,
            "report": self.report.name,
            "runs": {name: f"{RUNS}/{place.name}" for name, place in self.runs.items()},
        }

    def _card(self) -> Card:
        rows = Rows(lines(self.result), HEAD)
        said = [*self.sentences, *without_figures(self.result), f"Report: {self.report}"]
        return Card("Culture card", [rows, Sentences(said)])


@documented(CultureSettings)
def culture(
    model: Model | str | Path,
    tasks: Iterable[str | Path | Task] | CardQuestions = (),
    *,
    out: str | Path,
    data: str | Path | None = None,
    translator: Translator | None = None,
    progress: Callable[[str, Progress], None] | bool | None = None,
    **options: Unpack[CultureSettings],
) -> CultureCard:
    """Measure culture beyond accuracy: opinions, knowledge, norms, stereotypes, with controls.

    Each measure is computed for the unmodified model and under a transplant from the prompt in the
    country's language, and for controls: donors of other countries, of the same language, of
    another question, noise, and a sentence before the question alone.

    Args:
        model: the model, or its folder or name on the hub.
        tasks: names, files or tasks; by default those of the measures, and a measure whose data is
            not there has a row with the reason.
        out: a folder for run folders and the card; the same call resumes.
        data: folder with the tasks' data, instead of the hub.
        translator: makes prompts in the country's language where the data has none.
        progress: True for bars; or a function, called with the name of what is being done and its
            state.
        {settings}

    Raises:
        UsageError: an unknown measure, country or method, or no task is there.
        TaskError: a task that was named cannot be loaded.
        RunFolderError: `out` cannot be written, or holds something else.
    """
    asked = complete(CultureSettings, options)
    names, pair = measure_names(asked["measures"] or ()), fixed_pair(asked)
    _check_method(asked["method"])
    questions = tasks if isinstance(tasks, CardQuestions) else questions_of_card(tasks, asked, data)
    questions.check()
    model = loaded(model)
    work = _Work(model, Path(out), asked, names, pair, translator)
    with told(progress) as show:
        result = work.done(questions, show)
    page = write_culture_page(result, Path(out), PAGE)
    card = CultureCard(result, page, work.places)
    write_json(Path(out) / MARKER, {**work.marked, **card.to_dict()})
    return card


def _check_method(name: str | None) -> None:
    """Refuse a method that there is not.

    Raises:
        UsageError: so it is.
    """
    if name is not None and name not in METHOD_KINDS:
        known = METHOD_KINDS.names()
        raise UsageError(
            f"Unknown method {name!r}{nearest(name, known)}: use one of {', '.join(known)}."
        )


class _Work:
    """One call at work."""

    def __init__(
        self,
        model: Model,
        out: Path,
        asked: CultureSettings,
        names: Sequence[str],
        pair: TransplantSpec | None,
        translator: Translator | None,
    ) -> None:
        self.model, self.out, self.asked, self.names = model, out, asked, names
        self.pair, self.translator = pair, translator
        self.places: dict[str, Path] = {}
        self.marked: dict[str, Any] = {}
        self.stored: dict[str, StoredAnswers] = {}

    def done(
        self, questions: CardQuestions, show: Callable[[str, Progress], None] | None
    ) -> CultureResult:
        """Answers of every task, then every measure."""
        self._begin()
        missing = dict(questions.missing)
        tasks: list[CultureTaskResult] = []
        for task in questions.tasks:
            try:
                tasks.append(self._task(task, show))
            except CrosslatentError as error:
                if len(questions.tasks) == 1:
                    raise
                missing[task.name] = str(error)
        return CultureResult(
            model=self.model.name,
            condition=self.asked["method"] or TRANSPLANT,
            measures=tuple(self._measures(missing)),
            tasks=tuple(tasks),
            missing=missing,
            seed=self.asked["seed"],
        )

    def _measures(self, missing: Mapping[str, str]) -> Iterator[MeasureResult]:
        """Every measure; of those that were not named, without data, only what would be missed."""
        stored = list(self.stored.values())
        for name in self.names:
            found = measured(name, stored, missing, self.asked["seed"])
            if not found.reason or self.asked["measures"] or set(found.tasks) & set(missing):
                yield found

    def _begin(self) -> None:
        """Mark the folder as that of this job, or see that it is.

        Raises:
            RunFolderError: it is of another one, or of something else.
        """
        known = {n: v for n, v in self.model.identity.items() if n.endswith("_hash")}
        free = ("measures", "batch_rows")
        settings = {name: value for name, value in self.asked.items() if name not in free}
        by = self.translator.name if self.translator else None
        arguments = {"model_identity": known, "settings": _plain(settings), "translator": by}
        if prepare_folder(self.out, MARKER):
            there = parse_json((self.out / MARKER).read_text(encoding="utf-8"))
            differs = [name for name in arguments if there.get(name) != arguments[name]]
            if differs:
                raise RunFolderError(
                    f"{str(self.out)!r} holds a culture card of other {' and '.join(differs)}: "
                    "give another folder, or the same arguments to go on."
                )
        self.marked = arguments
        write_json(self.out / MARKER, arguments)

    def _task(self, task: Task, show: Callable[[str, Progress], None] | None) -> CultureTaskResult:
        """One task: its answers, and what may be said of each country."""
        task = self._with_counterparts(task)
        work = CultureTask(self.model, task, self.asked, self.pair, self.translator)
        place = self.out / RUNS / task.name.replace("/", "-")
        work.run(place, show)
        self.places[task.name] = place
        record, tested = work.record, work.division.tested_on
        read = stored_answers(RunData(RunReader(place)), record.conditions, tested)
        others = {lang: one.other for lang, one in record.matched.items() if one.other}
        stored = self.stored[task.name] = with_other_culture(read, others)
        claims, differences, reason = claimed(stored, self.asked["seed"])
        countries = dict.fromkeys(one.country for one in stored.questions if one.country)
        return CultureTaskResult(
            task=task.name,
            design="named" if _names_countries(work.items) else "unnamed",
            division=record.division,
            pairs=tuple(vars(pair) for pair in record.pairs),
            matched=record.matched,
            questions=len(stored.questions),
            countries=tuple(countries),
            claims=claims,
            no_claims=reason,
            differences=differences,
            left_out=len(record.left_out) + len(work.plan.failures),
        )

    def _with_counterparts(self, task: Task) -> Task:
        """Questions with prompts in the country's language, translated where there are none."""
        if self.translator is None or all(item.aux for item in task.items):
            return task
        from crosslatent.translate import add_counterparts

        made = add_counterparts(task.items, self.translator)
        return replace(task, items=tuple(made.items))


def _plain(settings: Mapping[str, Any]) -> Any:
    """Settings as JSON has them."""
    return parse_json(json.dumps(settings, sort_keys=True, default=list))


def _names_countries(items: Sequence[Item]) -> bool:
    """Whether prompts name the country that they are about: most of them do, or none."""
    about = [(item, country_of(item.strata)) for item in items]
    named = [
        country in item.main or item.strata[COUNTRY] in item.main
        for item, country in about
        if country
    ]
    return sum(named) > len(named) / 2
