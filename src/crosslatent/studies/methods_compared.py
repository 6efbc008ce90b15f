"""Methods side by side: every choice on pilot questions, the test questions opened once.

All answers are rows of one run folder. What a sweep would have is stored as a sweep stores it;
everything else is a condition, whose id is a hash of the method, its settings and its seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.method_scores import MethodTable, score_methods
from crosslatent.core.bars import told
from crosslatent.core.cards import Card, Rows, Sentences, Shown
from crosslatent.core.errors import ITEM_FAULTS, CrosslatentError, RunFolderError, UsageError
from crosslatent.core.settings import complete, documented
from crosslatent.core.shared_settings import COMPARE_MARKER, CompareSettings
from crosslatent.core.specs import TransplantSpec, canonical_hash
from crosslatent.core.untrusted import nearest, one_line, parse_json
from crosslatent.methods.method import (
    METHODS,
    Bench,
    Method,
    MethodAnswer,
    Settings,
    Way,
    answer_together,
)
from crosslatent.methods.prompting import counterpart
from crosslatent.methods.transplants import TransplantWay
from crosslatent.model import Model, loaded
from crosslatent.report.methods_page import write_methods_page
from crosslatent.runs.files import prepare_folder, write_json
from crosslatent.runs.reader import RunReader
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.schema import RowKey
from crosslatent.selectors.division import PILOT, UNSEEN, Division, deal
from crosslatent.studies.questions import answered, division_of
from crosslatent.sweeps import Progress, SweepSpec
from crosslatent.sweeps.bookkeeping import Tracker
from crosslatent.sweeps.plan import plan_sweep
from crosslatent.sweeps.prepared import build_manifest, item_row
from crosslatent.tasks import Item, Task, task_of

if TYPE_CHECKING:
    from crosslatent.translate import Translator

RUN = "run"
"""The run folder, below that of the comparison."""
RESULT = "comparison.json"
PAGE = "comparison.html"
ENGLISH = "english"
"""Split of the English counterparts that methods without a counterpart are asked, too."""
_LEARNT, _JUDGED = 2 / 3, 1 / 3
"""Of the pilot questions: shares that settings are learnt and judged on, of what learns."""
_ALWAYS = ("vanilla", "oracle-en")
"""Answered on the pilot questions too: choices among rows read them."""


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

    def to_dict(self) -> dict[str, Any]:
        """Plain data; paths are below the output folder."""
        return {
            **self.table.to_dict(),
            "division": self.division,
            "report": self.report.name,
            "run": self.run.name,
        }

    def _card(self) -> Card:
        rows = Rows(self.table.lines(), self.table.head)
        said = Sentences([*self.table.sentences(), f"Report: {self.report}"])
        return Card("Methods side by side", [rows, said])


def chosen_methods(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods, groups of them by what their names begin with; all if none is given.

    Raises:
        UsageError: there is no such method or group.
    """
    known, found = METHODS.names(), dict[str, None]()
    asked = list(names) or known
    for name in asked:
        members = [one for one in known if one == name or one.startswith(f"{name}-")]
        if not members:
            raise UsageError(
                f"Unknown method {name!r}{nearest(name, known)}: use one of {', '.join(known)}."
            )
        found |= dict.fromkeys(members)
    first = [name for name in known if name in ("vanilla", *found)]
    return tuple(sorted(first, key=lambda name: (name not in _ALWAYS, "transplant" not in name)))


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
    if asked["ranking"] != "leagues":
        raise UsageError(
            f"One ranking of both leagues is asked for (ranking {asked['ranking']!r}), but methods "
            "that are given the English prompt know more: leave 'ranking' out."
        )
    names = chosen_methods(asked["methods"])
    task = answered(items if isinstance(items, Task) else task_of(items), failures or {})
    division = division_of(task, asked["seed"])
    model = loaded(model)
    work = _Work(model, Path(out), asked, task, division, translator, texts or {})
    with told(progress) as show:
        table = work.done(names, show)
    page = write_methods_page(table, division.sentence, Path(out), PAGE)
    found = MethodComparison(table, division.sentence, page, Path(out) / RUN)
    write_json(Path(out) / RESULT, found.to_dict())
    return found


@dataclass
class MethodRecord:
    """What is kept of a method: plain data, in the marker of the comparison and in run.json.

    Attributes:
        reason: why it has no figures; empty if it has.
        tried: configurations tried on pilot questions.
        chosen: by language (all of them together where it is fitted once) the settings, and their
            accuracy on the pilot questions that they were judged on.
        rows: which rows are its answers to test questions: seed, part, languages, key.
        fit_seconds: to learn once, with the chosen settings; mean.
        tokens: through the model for an answer; mean.
        left_out: questions that could not be asked, and why not the first.
    """

    name: str
    title: str
    league: str
    about: str
    source: str
    reason: str = ""
    tried: int = 0
    chosen: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    fit_seconds: float | None = None
    tokens: float | None = None
    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = False


_Known = dict[RowKey, dict[str, tuple[bool | None, float | None]]]
"""Key of rows -> item -> right or wrong, and log-probability of the gold answer."""


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
            item.id: replace(counterpart(item), id=f"{item.id}@en", split=ENGLISH)
            for item in self.items
            if item.aux
        }
        self.langs = tuple(dict.fromkeys(item.lang for item in self.items))
        self.records: dict[str, MethodRecord] = {}
        self.known: _Known = {}
        self.number = 0
        self.show: Callable[[str, Progress], None] | None = None

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
        self.show = show
        self._begin()
        with RunFolder.open(self.out / RUN, build_manifest(self.plan)) as self.folder:
            self._open_rows()
            for name in names:
                self._method(name)
            self.folder.write_status(
                {
                    **self.folder.totals(0.0),
                    "items": len(self.items),
                    "failures": 0,
                    "respelled": 0,
                    "methods": [vars(self.records[name]) for name in names],
                    "parts": [sorted(test) for _, test in self.division.parts],
                }
            )
        return score_methods(RunReader(self.out / RUN), seed=self.seed)

    def _begin(self) -> None:
        """Mark the folder as that of this job, or see that it is.

        Raises:
            RunFolderError: it is of another one, or of something else.
        """
        marker = self.out / COMPARE_MARKER
        questions = canonical_hash([self.task.rule, *(one.to_dict() for one in self.task.items)])
        known = {n: v for n, v in self.model.identity.items() if n.endswith("_hash")}
        settings = {name: value for name, value in self.asked.items() if name != "methods"}
        arguments = {"questions": questions, "model": known, "settings": settings}
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

    def _open_rows(self) -> None:
        """Write the questions, and take stock of the rows that are there."""
        ends, spelled = self.plan.tokens.ends, self.plan.tokens.answers
        rows = [
            {
                **item_row(self.model, item, ends.get(item.id)),
                "respelled": spelled[item.id].respelled if item.id in spelled else None,
            }
            for item in self.items
        ]
        twins = [{**item_row(self.model, one, None), "respelled": None} for one in self._english()]
        self.folder.write_items([*rows, *twins])
        columns = ["item", *RowKey._fields, "correct", "gold_logprob"]
        for row in self.folder.rows.read(columns).to_pylist():
            key = RowKey(*(row[name] for name in RowKey._fields))
            self.known.setdefault(key, {})[row["item"]] = row["correct"], row["gold_logprob"]

    def _english(self) -> list[Item]:
        tested = self.division.tested_on
        return [twin for name, twin in self.twins.items() if name in tested]

    def _method(self, name: str) -> None:
        """One method, or the reason why it cannot be run."""
        if name in self.records and self.records[name].complete:
            return
        method = METHODS[name]()
        record = MethodRecord(name, method.title, method.league, method.about, method.source)
        self.records[name] = record
        try:
            record.reason = self._lacks(method) or method.refusal(self.bench)
            if not record.reason:
                _OneMethod(self, method, record).run()
        except CrosslatentError as error:
            record.reason = str(error)
        except ITEM_FAULTS as error:
            record.reason = f"It failed with {type(error).__name__}: {one_line(error)}"
        record.complete = True
        self._mark()

    def _lacks(self, method: Method) -> str:
        without = sum(not item.aux for item in self.items)
        if method.league == "given" and without:
            return (
                f"{without} of {len(self.items)} questions have no English counterpart (aux), and "
                "this method is given it."
            )
        return ""

    def answered(
        self, ways: Mapping[RowKey, Way], items: Sequence[Item], record: MethodRecord, label: str
    ) -> list[float]:
        """Answer what is missing of some ways; the tokens that went through the model for each."""
        lacking = {
            key: [item for item in items if item.id not in self.known.get(key, {})] for key in ways
        }
        total = sum(map(len, lacking.values()))
        tracker = Tracker(self._shown(label), 0, len(items), total)
        rows: list[dict[str, Any]] = []
        tokens: list[float] = []
        for key, item, answer in self._answers(ways, lacking, tracker):
            if answer.failure:
                record.left_out.setdefault(item.id, answer.failure)
                continue
            rows.append(self._row(key, item, answer))
            tokens.append(answer.tokens)
        if rows:
            self.folder.rows.write(self.folder.part_name(self.number), rows)
            self.number += 1
        return tokens

    def _answers(
        self,
        ways: Mapping[RowKey, Way],
        lacking: Mapping[RowKey, list[Item]],
        tracker: Tracker,
    ) -> Iterator[tuple[RowKey, Item, MethodAnswer]]:
        """Together where ways only edit and lack the same; else one after the other."""
        groups: dict[tuple[str, ...], list[RowKey]] = {}
        for key, way in ways.items():
            if lacking[key]:
                own = ("" if way.edits_only else str(key), *(item.id for item in lacking[key]))
                groups.setdefault(own, []).append(key)
        done = 0.0
        for keys in groups.values():
            items = lacking[keys[0]]
            advance = _beyond(done, tracker)
            if ways[keys[0]].edits_only:
                several = answer_together(self.bench, [ways[key] for key in keys], items, advance)
                for item, found in zip(items, several, strict=True):
                    yield from ((key, item, one) for key, one in zip(keys, found, strict=True))
            else:
                alone = ways[keys[0]].answers(self.bench, items, advance)
                yield from ((keys[0], item, one) for item, one in zip(items, alone, strict=True))
            done += len(items) * len(keys)

    def _row(self, key: RowKey, item: Item, answer: MethodAnswer) -> dict[str, Any]:
        record = answer.record
        self.known.setdefault(key, {})[item.id] = record["correct"], record["gold_logprob"]
        head = {"item": item.id, "lang": item.lang, "donor": None, **key._asdict()}
        return {**head, **record}

    def _shown(self, label: str) -> Callable[[Progress], None]:
        return lambda state: None if self.show is None else self.show(label, state)

    def copied(self, source: Mapping[str, RowKey], to: RowKey) -> None:
        """Rows of a choice among rows: each a copy of the chosen one, under another key."""
        table = self.folder.rows.read().to_pylist()
        wanted = {
            (item, key): item for item, key in source.items() if item not in self.known.get(to, {})
        }
        rows = []
        for row in table:
            key = RowKey(*(row[name] for name in RowKey._fields))
            if (row["item"], key) in wanted:
                rows.append({**row, **to._asdict(), "donor": None})
                known = self.known.setdefault(to, {})
                known[row["item"]] = row["correct"], row["gold_logprob"]
        if rows:
            self.folder.rows.write(self.folder.part_name(self.number), rows)
            self.number += 1


class _OneMethod:
    """A method at work: choose on the pilot, learn again, answer the test questions."""

    def __init__(self, work: _Work, method: Method, record: MethodRecord) -> None:
        self.work, self.method, self.record = work, method, record
        self.tokens: list[float] = []
        self.seconds: list[float] = []

    def run(self) -> None:
        """All parts of the division.

        Raises:
            CrosslatentError: it cannot be learnt from these questions.
        """
        by_id = {item.id: item for item in self.work.items}
        for part, (tune, test) in enumerate(self.work.division.parts):
            pilot = [by_id[one] for one in by_id if one in tune]
            asked = [by_id[one] for one in by_id if one in test]
            if not self._by_rows(part, asked):
                for langs in self._groups():
                    self._group(part, langs, pilot, asked)
        record = self.record
        record.fit_seconds = float(np.mean(self.seconds)) if self.seconds else None
        record.tokens = float(np.mean(self.tokens)) if self.tokens else None
        if not any(self.work.known.get(_key(row)) for row in record.rows):
            first = next(iter(record.left_out.values()), "no question could be asked.")
            record.reason = f"No question could be answered; the first: {first}"

    def _groups(self) -> list[tuple[str, ...]]:
        langs = self.work.langs
        return [(lang,) for lang in langs] if self.method.for_each else [langs]

    def _group(
        self, part: int, langs: tuple[str, ...], pilot: Sequence[Item], test: Sequence[Item]
    ) -> None:
        """Some languages: settings from the pilot, then every seed on the test questions."""
        settings = self._chosen(part, langs, pilot)
        bench = self.work.bench.learning_from(pilot)
        asked = [item for item in test if item.lang in langs]
        english = [self.work.twins[one.id] for one in asked if one.id in self.work.twins]
        every = [*asked, *english] if self.method.english else asked
        for seed in range(self.work.asked["seeds"] if self._seeded else 1):
            condition = RowKey("condition", condition=self._id("test", seed=seed))
            if self._is_complete(condition, every):
                key = condition
            else:
                started = time.monotonic()
                way = self.method.fit(bench, langs, settings, self.work.seed + seed)
                self.seconds.append(time.monotonic() - started)
                key = way.key or condition
                label = self.method.title
                self.tokens += self.work.answered({key: way}, every, self.record, label)
                self._note(way)
            row = {"seed": seed, "part": part, "langs": list(langs), "key": list(key)}
            self.record.rows.append(row)

    @property
    def _seeded(self) -> bool:
        return self.method.seeded and not self.work.asked["quick"]

    def _is_complete(self, key: RowKey, items: Sequence[Item]) -> bool:
        there = self.work.known.get(key, {})
        return bool(there) and all(item.id in there for item in items)

    def _note(self, way: Way) -> None:
        record = self.record
        record.trained = max(record.trained, way.trained)
        record.labelled = max(record.labelled, way.labelled)
        record.unlabelled = max(record.unlabelled, way.unlabelled)
        record.notes += [note for note in way.notes if note not in record.notes]

    def _id(self, phase: str, **more: Any) -> str:
        return canonical_hash([self.record.name, phase, more])

    def _chosen(self, part: int, langs: tuple[str, ...], pilot: Sequence[Item]) -> Settings:
        """The best settings on pilot questions that they were not learnt on."""
        learn, judge = self._divided(pilot)
        judge = [item for item in judge if item.lang in langs]
        bench = self.work.bench.learning_from(learn)
        settings = self.method.settings(bench)
        self.record.tried = len(settings)
        if len(settings) == 1 and self.record.name not in _ALWAYS:
            self.record.chosen.append({"langs": list(langs), "settings": dict(settings[0])})
            return settings[0]
        keys = self._tried(part, langs, settings, bench, judge)
        scores = [self._score(key, judge) for key in keys]
        best = max(range(len(settings)), key=lambda place: scores[place])
        self.record.chosen.append(
            {
                "langs": list(langs),
                "settings": dict(settings[best]),
                "pilot": scores[best][0],
                "n": len(judge),
            }
        )
        return settings[best]

    def _divided(self, pilot: Sequence[Item]) -> tuple[list[Item], list[Item]]:
        """Questions to learn from and to judge settings on: the same for what does not learn."""
        if not self.method.fits:
            return list(pilot), list(pilot)
        parts = deal([item.cluster for item in pilot], (_LEARNT, _JUDGED), self.work.seed)
        both = zip(pilot, parts.tolist(), strict=True)
        split: tuple[list[Item], list[Item]] = ([], [])
        for item, place in both:
            split[place].append(item)
        return split

    def _tried(
        self,
        part: int,
        langs: tuple[str, ...],
        settings: Sequence[Settings],
        bench: Bench,
        judge: Sequence[Item],
    ) -> list[RowKey | None]:
        """Answers of every configuration to pilot questions; None for one that cannot be had."""
        found: dict[RowKey, Way] = {}
        keys: list[RowKey | None] = []
        fault: CrosslatentError | None = None
        for one in settings:
            more = {"settings": dict(one), "part": part if len(self.work.division.parts) > 1 else 0}
            key = RowKey("condition", condition=self._id("pilot", langs=list(langs), **more))
            if self._is_complete(key, judge):
                keys.append(key)
                continue
            try:
                way = self.method.fit(bench, langs, one, self.work.seed)
            except CrosslatentError as error:
                fault = error
                keys.append(None)
                continue
            found[way.key or key] = way
            keys.append(way.key or key)
            if not way.edits_only:  # it may hold much: one at a time
                self._ask_pilot(found, judge)
                found = {}
        self._ask_pilot(found, judge)
        if fault is not None and not any(keys):
            raise fault
        return keys

    def _ask_pilot(self, ways: Mapping[RowKey, Way], judge: Sequence[Item]) -> None:
        label = f"{self.method.title}: {self.record.tried} settings"
        self.work.answered(ways, judge, self.record, label)

    def _score(self, key: RowKey | None, judge: Sequence[Item]) -> tuple[float, float]:
        """Share of right answers, then mean log-probability of the gold answer."""
        there = self.work.known.get(key, {}) if key is not None else {}
        pairs = [there[item.id] for item in judge if item.id in there]
        if not pairs:
            return -1.0, -np.inf
        right = float(np.mean([bool(right) for right, _ in pairs]))
        known = [gold for _, gold in pairs if gold is not None and np.isfinite(gold)]
        return right, float(np.mean(known)) if known else -np.inf

    def _by_rows(self, part: int, asked: Sequence[Item]) -> bool:
        """A choice among rows that are there: False for a method that answers itself.

        Raises:
            UsageError: the rows of all pairs are not there.
        """
        if type(self.method).by_rows is Method.by_rows:
            return False
        if not self.work.known.keys() & {key for key in self.work.known if key.control == "none"}:
            raise UsageError(
                f"The method {self.record.name!r} chooses among the rows of transplant-pilot: name "
                "that one, too."
            )
        work = self.work
        division = replace(work.division, parts=(work.division.parts[part],))
        choice = self.method.by_rows(RunData(RunReader(work.folder.location)), division, work.seed)
        assert choice is not None
        self._run_pairs(choice.pairs, asked)
        picked = choice.choose(RunData(RunReader(work.folder.location)))
        key = RowKey("condition", condition=self._id("test", seed=0))
        wanted = {item.id for item in asked}
        work.copied({one: row for one, row in picked.items() if one in wanted}, key)
        lengths = [work.plan.tokens.ends[item.id].main_length for item in asked]
        self.tokens += [choice.cost * length for length in lengths]
        row = {"seed": 0, "part": part, "langs": list(work.langs), "key": list(key)}
        self.record.rows.append(row)
        self.record.tried = len(choice.pairs)
        return True

    def _run_pairs(self, pairs: Sequence[TransplantSpec], asked: Sequence[Item]) -> None:
        vectors = self.work.bench.vectors(self.work.items)
        ways = [TransplantWay(self.work.bench, vectors, pair) for pair in pairs]
        by_key = {way.key: way for way in ways if way.key is not None}
        self.work.answered(by_key, asked, self.record, self.method.title)


def _key(row: Mapping[str, Any]) -> RowKey:
    return RowKey(*row["key"])


def _beyond(before: float, tracker: Tracker) -> Callable[[float], None]:
    return lambda rows: tracker.answered(before + rows)
