"""Methods side by side: every choice on pilot questions, the test questions opened once.

All answers are rows of one run folder. What a sweep would have is stored as a sweep stores it;
everything else is a condition, whose id is a hash of the method, its settings and its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crosslatent.analysis.data import RunData
from crosslatent.analysis.gain_split import parts_of_methods
from crosslatent.analysis.method_rows import MethodRecord, read_methods
from crosslatent.analysis.method_scores import MethodTable, table_of_methods
from crosslatent.core.bars import told
from crosslatent.core.cards import Card, Rows, Sentences, Shown
from crosslatent.core.errors import ITEM_FAULTS, CrosslatentError, RunFolderError, UsageError
from crosslatent.core.languages import ENGLISH, UNKNOWN, same_language
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.settings import complete, documented
from crosslatent.core.shared_settings import (
    COMPARE_MARKER,
    CompareSettings,
    check_ranking,
    method_names,
)
from crosslatent.core.specs import canonical_hash, near_tie_margin
from crosslatent.core.untrusted import one_line, parse_json
from crosslatent.methods.method import (
    Bench,
    Method,
)
from crosslatent.methods.prompting import counterpart
from crosslatent.model import Model, loaded
from crosslatent.report.formatting import first_upper
from crosslatent.report.method_words import HEAD, lines, sentences, without_figures
from crosslatent.report.methods_page import write_methods_page
from crosslatent.runs.files import prepare_folder, write_json
from crosslatent.runs.reader import RunReader
from crosslatent.runs.run_folder import RunFolder
from crosslatent.selectors.division import PILOT, UNSEEN, Division
from crosslatent.studies.method_trials import TWINS, OneMethod, Trials
from crosslatent.studies.questions import answered, division_of
from crosslatent.sweeps import Progress, SweepSpec
from crosslatent.sweeps.plan import plan_sweep
from crosslatent.sweeps.prepared import build_manifest, item_row
from crosslatent.tasks import Item, Task, task_of

if TYPE_CHECKING:
    from crosslatent.translate import Translator

RUN = "run"
"""The run folder, below that of the comparison."""
RESULT = "comparison.json"
PAGE = "comparison.html"


@dataclass(frozen=True, slots=True)
class MethodComparison(Shown):
    """What came of it.

    Attributes:
        table: every method with its figures.
        division: how questions were split, in a sentence.
        report: the page.
        run: the run folder.
    """

    table: MethodTable
    division: str
    report: Path
    run: Path

    @property
    def sentences(self) -> list[str]:
        """What can be said, one sentence a league."""
        return sentences(self.table)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; paths are below the output folder."""
        return {
            **self.table.to_dict(),
            "sentences": self.sentences,
            "division": self.division,
            "report": self.report.name,
            "run": self.run.name,
        }

    def _card(self) -> Card:
        rows = Rows(lines(self.table), HEAD)
        said = Sentences([*self.sentences, *without_figures(self.table), f"Report: {self.report}"])
        return Card("Methods side by side", [rows, said])


@documented(CompareSettings)
def compare(
    model: Model | str | Path,
    items: Task | Sequence[Item | Mapping[str, Any]],
    *,
    out: str | Path,
    translator: Translator | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[str, Progress], None] | bool | None = None,
    failures: Mapping[str, str] | None = None,
    **options: Unpack[CompareSettings],
) -> MethodComparison:
    """Compare methods that repair another language: what each brings, and at what price.

    Every choice (layer, strength, pair, learning rate) is made on pilot questions; the others are
    answered once, at the end. Methods that are given the English counterpart of a question are a
    league of their own.

    Args:
        model: the model, or its folder or name on the hub.
        items: a task, or items, or objects with `main`, `aux`, `answer` and what else
            `tasks.Item` has; 12 or more with gold answers.
        out: a folder for the run folder, the report and the result; the same call resumes, and one
            with more methods adds them.
        translator: what makes English counterparts, for methods that make their own.
        texts: further texts by language, for methods that learn without labels.
        progress: True for bars; or a function, called with the name of what is being done and its
            state.
        failures: item -> why it cannot be asked, as far as that is known already.
        {settings}

    Raises:
        UsageError: an unknown method; too few questions with gold answers, or facts.
        RunFolderError: `out` cannot be written, or holds something else.
    """
    asked = complete(CompareSettings, options)
    check_ranking(asked["ranking"])
    names = method_names(asked["methods"] or ())
    task = answered(items if isinstance(items, Task) else task_of(items), failures or {})
    _check_counterparts(task)
    division = division_of(task, asked["seed"])
    model = loaded(model)
    work = _Work(model, Path(out), asked, task, division, translator, texts or {})
    if asked["methods"]:
        work.check(names)
    with told(progress) as show:
        table = work.done(names, show)
    page = write_methods_page(table, division.sentence, Path(out), PAGE)
    found = MethodComparison(table, division.sentence, page, Path(out) / RUN)
    write_json(Path(out) / RESULT, found.to_dict())
    return found


def _check_counterparts(task: Task) -> None:
    """Refuse counterparts in another language than English: all methods here go by English.

    Raises:
        UsageError: a question has one.
    """
    others = [
        item
        for item in task.items
        if item.aux and item.aux_lang != UNKNOWN and not same_language(item.aux_lang, ENGLISH)
    ]
    if others:
        raise UsageError(
            f"{len(others)} of {len(task.items)} questions have a counterpart in "
            f"{others[0].aux_lang!r}, but methods are compared with English counterparts: give "
            "those, or leave the field 'aux' out."
        )


class _Work:
    """One call at work."""

    def __init__(
        self,
        model: Model,
        out: Path,
        asked: CompareSettings,
        task: Task,
        division: Division,
        translator: Translator | None,
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        self.model, self.out, self.asked = model, out, asked
        self.task, self.division, self.seed = task, division, asked["seed"]
        spec: SweepSpec = {
            "component": ("attn", "ffn"),
            "pairs": "all",
            "seed": asked["seed"],
            "max_new_tokens": asked["max_new_tokens"],
            "chat": asked["chat"],
            "chat_args": asked["chat_args"],
        }
        wanted = division.chosen_on | division.tested_on
        split_of = self._splits()
        self.items = tuple(
            replace(item, split=split_of[item.id]) for item in task.items if item.id in wanted
        )
        both = tuple(item if item.aux else replace(item, aux=item.main) for item in self.items)
        self.plan = plan_sweep(model, replace(task, items=both), spec)
        self.items = tuple(item for item in self.items if item.id in self.plan.tokens)
        self.bench = Bench(
            model=model,
            task=task,
            learn=(),
            new_tokens=self.plan.max_new_tokens,
            chat=self.plan.chat,
            texts=texts,
            items=self.items,
            translator=translator,
            quick=asked["quick"],
            batch_rows=asked["batch_rows"],
        )
        self.twins = {
            item.id: replace(counterpart(item), id=f"{item.id}@en", split=TWINS)
            for item in self.items
            if item.aux
        }
        self.langs = tuple(dict.fromkeys(item.lang for item in self.items))
        self.records: dict[str, MethodRecord] = {}

    def check(self, names: Sequence[str]) -> None:
        """Refuse methods that were named, and need more than there is.

        Raises:
            UsageError: one does.
        """
        for name in names:
            if lacking := self._lacks(METHOD_KINDS[name]()):
                raise UsageError(f"The method {name!r} cannot be run here. {lacking}")

    def _splits(self) -> dict[str, str | None]:
        """The split of each question, as the run folder has it; None where each is in both."""
        if len(self.division.parts) > 1:
            return dict.fromkeys(self.division.tested_on)
        tune, test = self.division.names if self.division.kind == "given" else (PILOT, UNSEEN)
        return {
            **dict.fromkeys(self.division.tested_on, test),
            **dict.fromkeys(self.division.chosen_on, tune),
        }

    def done(
        self, names: Sequence[str], show: Callable[[str, Progress], None] | None
    ) -> MethodTable:
        """All methods; then the figures."""
        self._begin()
        # How many rows there will be is not known beforehand.
        manifest = {**build_manifest(self.plan), "planned": None}
        with RunFolder.open(self.out / RUN, manifest) as folder:
            folder.write_items(self._item_rows())
            trials = self._trials(folder, show)
            for name in names:
                self._method(trials, name)
            folder.write_status(self._status(folder, names))
        reader = RunReader(self.out / RUN)
        table = table_of_methods(read_methods(reader), reader.manifest, self.seed)
        return replace(table, parts=parts_of_methods(RunData(reader, self.seed), self.records))

    def _status(self, folder: RunFolder, names: Sequence[str]) -> dict[str, Any]:
        return {
            **folder.totals(near_tie_margin(str(self.model.dtype).removeprefix("torch."))),
            "items": len(self.items),
            "failures": 0,
            "respelled": 0,
            "methods": [vars(self.records[name]) for name in names],
            "parts": [sorted(test) for _, test in self.division.parts],
        }

    def _trials(self, folder: RunFolder, show: Callable[[str, Progress], None] | None) -> Trials:
        ends = self.plan.tokens.ends
        return Trials(
            bench=self.bench,
            items=self.items,
            twins=self.twins,
            langs=self.langs,
            division=self.division,
            lengths={item.id: ends[item.id].main_length for item in self.items},
            seed=self.seed,
            seeds=1 if self.asked["quick"] else self.asked["seeds"],
            folder=folder,
            show=show,
        )

    def _begin(self) -> None:
        """Mark the folder as that of this job, or see that it is.

        Raises:
            RunFolderError: it is of another one, or of something else.
        """
        marker = self.out / COMPARE_MARKER
        questions = canonical_hash([self.task.rule, *(one.to_dict() for one in self.task.items)])
        known = {n: v for n, v in self.model.identity.items() if n.endswith("_hash")}
        settings = {name: value for name, value in self.asked.items() if name != "methods"}
        given = {
            "translator": self.bench.translator.name if self.bench.translator else None,
            "texts": canonical_hash({lang: list(some) for lang, some in self.bench.texts.items()}),
        }
        arguments = {"questions": questions, "model": known, "settings": settings, **given}
        if prepare_folder(self.out, COMPARE_MARKER):
            there = parse_json(marker.read_text(encoding="utf-8"))
            differs = [name for name in arguments if there.get(name) != arguments[name]]
            if differs:
                raise RunFolderError(
                    f"{str(self.out)!r} holds a comparison of other {' and '.join(differs)}: give "
                    "another folder, or the same arguments to go on."
                )
            for record in there.get("methods", ()):
                self.records[record["name"]] = MethodRecord(**record)
        self._marked = arguments
        self._mark()

    def _mark(self) -> None:
        kept = [vars(record) for record in self.records.values()]
        write_json(self.out / COMPARE_MARKER, {**self._marked, "methods": kept})

    def _item_rows(self) -> list[dict[str, Any]]:
        """The questions, and the English ones, as the table of items has them."""
        ends, spelled = self.plan.tokens.ends, self.plan.tokens.answers
        rows = [
            {
                **item_row(self.model, item, ends.get(item.id)),
                "respelled": spelled[item.id].respelled if item.id in spelled else None,
            }
            for item in self.items
        ]
        twins = [{**item_row(self.model, one, None), "respelled": None} for one in self._english()]
        return [*rows, *twins]

    def _english(self) -> list[Item]:
        tested = self.division.tested_on
        return [twin for name, twin in self.twins.items() if name in tested]

    def _method(self, trials: Trials, name: str) -> None:
        """One method, or the reason why it cannot be run."""
        if name in self.records and self.records[name].complete:
            return
        method = METHOD_KINDS[name]()
        title = first_upper(method.title)
        said = (method.league, method.about, method.source, method.control)
        record = MethodRecord(name, title, *said)
        self.records[name] = record
        try:
            record.reason = self._lacks(method) or method.refusal(self._pilot())
            if not record.reason:
                OneMethod(trials, method, record).run()
        except CrosslatentError as error:
            record.reason = str(error)
        except ITEM_FAULTS as error:
            record.reason = f"It failed with {type(error).__name__}: {one_line(error)}"
        record.complete = not record.reason
        self._mark()

    def _lacks(self, method: Method) -> str:
        without = sum(not item.aux for item in self.items)
        if method.league == "given" and without:
            return (
                f"{without} of {len(self.items)} questions have no English counterpart (aux), and "
                "this method is given it."
            )
        return method.lacks(self._pilot(), self.langs)

    def _pilot(self) -> Bench:
        """With the fewest questions to learn from that any part of the division has."""
        tune = min((tune for tune, _ in self.division.parts), key=len)
        return self.bench.learning_from([item for item in self.items if item.id in tune])
