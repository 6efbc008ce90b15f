"""One method of a comparison at work: choose on pilot questions, learn again, answer the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.method_rows import MethodRecord
from crosslatent.core.errors import CrosslatentError, UsageError
from crosslatent.core.specs import TransplantSpec, canonical_hash
from crosslatent.interventions.patched import everywhere
from crosslatent.lens.evaluation.retention import divergences, held_out_of
from crosslatent.methods.method import (
    Bench,
    Method,
    MethodAnswer,
    Settings,
    Way,
    answer_together,
)
from crosslatent.methods.pair_ways import TransplantWay
from crosslatent.runs.reader import RunReader
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.schema import RowKey
from crosslatent.selectors.division import Division, deal
from crosslatent.studies.answering_ways import peak_growth
from crosslatent.sweeps import Progress
from crosslatent.sweeps.bookkeeping import Tracker
from crosslatent.tasks import Item

_Found = TypeVar("_Found")
TWINS = "english"
"""Split of the English counterparts that methods without a counterpart are asked, too."""
MOST_TEXTS = 64
"""Of the divergence."""
_LEARNT, _JUDGED = 2 / 3, 1 / 3
"""Of the pilot questions: shares that settings are learnt and judged on, of what learns."""
ALWAYS = ("vanilla", "oracle-en")
"""Answered on the pilot questions too: choices among rows read them."""

Known = dict[RowKey, dict[str, tuple[bool | None, float | None]]]
"""Key of rows -> item -> right or wrong, and log-probability of the gold answer."""


@dataclass
class Trials:
    """The rows of a comparison: what is there, and what answers more.

    Attributes:
        bench: how questions are asked.
        items: all of them; `twins`: by id, their English counterparts as questions.
        langs: their languages.
        division: which questions are chosen on, and tested on.
        lengths: tokens of each question's prompt.
        seed: of the first of `seeds` fits.
        folder: the run folder; `show`: gets progress.
        known: what is known of the rows that are there.
    """

    bench: Bench
    items: tuple[Item, ...]
    twins: Mapping[str, Item]
    langs: tuple[str, ...]
    division: Division
    lengths: Mapping[str, int]
    seed: int
    seeds: int
    folder: RunFolder
    show: Callable[[str, Progress], None] | None = None
    known: Known = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        """Take stock of the rows that are there."""
        columns = ["item", *RowKey._fields, "correct", "gold_logprob"]
        for row in self.folder.rows.read(columns).to_pylist():
            key = RowKey(*(row[name] for name in RowKey._fields))
            self.known.setdefault(key, {})[row["item"]] = row["correct"], row["gold_logprob"]

    def data(self) -> RunData:
        """The run folder as it is now."""
        return RunData(RunReader(self.folder.location))

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
        self._write(rows)
        return tokens

    def _answers(
        self,
        ways: Mapping[RowKey, Way],
        lacking: Mapping[RowKey, list[Item]],
        tracker: Tracker,
    ) -> Iterator[tuple[RowKey, Item, MethodAnswer]]:
        """Together where ways only edit and lack the same; else one after the other."""
        done = 0.0
        for keys in _together(ways, lacking):
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

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self.folder.rows.write(self.folder.part_name(self._number), rows)
            self._number += 1

    def _shown(self, label: str) -> Callable[[Progress], None]:
        return lambda state: None if self.show is None else self.show(label, state)

    def copied(self, source: Mapping[str, RowKey], to: RowKey) -> None:
        """Rows of a choice among rows: each a copy of the chosen one, under another key."""
        there = self.known.get(to, {})
        table = self.folder.rows.read()
        keys = zip(*(table[name].to_pylist() for name in ("item", *RowKey._fields)), strict=True)
        places = [
            place
            for place, (item, *key) in enumerate(keys)
            if item not in there and source.get(item) == tuple(key)
        ]
        rows = [{**row, **to._asdict(), "donor": None} for row in table.take(places).to_pylist()]
        for row in rows:
            self.known.setdefault(to, {})[row["item"]] = row["correct"], row["gold_logprob"]
        self._write(rows)


class OneMethod:
    """A method at work: choose on the pilot, learn again, answer the test questions."""

    def __init__(self, work: Trials, method: Method, record: MethodRecord) -> None:
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
        for seed in range(self.work.seeds if self._seeded else 1):
            condition = RowKey("condition", condition=self._id("test", seed=seed))
            key = condition
            if not self._is_complete(condition, every):
                way = self._fitted(bench, langs, settings, seed)
                key = way.key or condition
                self._answer(key, way, every, pilot)
            row = {"seed": seed, "part": part, "langs": list(langs), "key": list(key)}
            self.record.rows.append(row)

    def _fitted(self, bench: Bench, langs: tuple[str, ...], settings: Settings, seed: int) -> Way:
        started = time.monotonic()
        way = self._measured(lambda: self.method.fit(bench, langs, settings, self.work.seed + seed))
        self.seconds.append(time.monotonic() - started)
        return way

    def _measured(self, run: Callable[[], _Found]) -> _Found:
        """What a call returns; the most memory that it took is kept."""
        found: list[_Found] = []
        grown = peak_growth(lambda: found.append(run()), self.work.bench.model)
        if grown is not None:
            self.record.peak_bytes = max(self.record.peak_bytes or 0, grown)
        return found[0]

    def _answer(self, key: RowKey, way: Way, items: Sequence[Item], pilot: Sequence[Item]) -> None:
        """Test questions, and what is to be known of the method besides."""
        label = self.method.title
        tokens = self._measured(lambda: self.work.answered({key: way}, items, self.record, label))
        self.tokens += tokens
        self._note(way)
        own = [item for item in items if item.split != TWINS]
        self.work.answered(way.beside(), own, self.record, f"{label}: controls")
        if self.record.kl is None and self.method.english:
            self.record.kl = self._divergence(way, pilot)

    def _divergence(self, way: Way, pilot: Sequence[Item]) -> float | None:
        """KL on English pilot prompts of what acts on any text; None of anything else."""
        model, row = self.work.bench.model, way.edits(pilot[0]) if pilot else ()
        around: Callable[[], AbstractContextManager[None]] = way.installed
        if row and all(each.tokens.everywhere for each in row):
            around = partial(everywhere, model, row)
        elif type(way).installed is Way.installed or type(way).answers is not Way.answers:
            return None  # nothing acts on texts that are no questions
        texts = list(dict.fromkeys(item.aux for item in pilot if item.aux))[:MOST_TEXTS]
        held_out = held_out_of(model, texts, chat=self.work.bench.chat)
        return divergences(model, model, held_out, around=around).estimate().value

    @property
    def _seeded(self) -> bool:
        return self.method.seeded

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
        if len(settings) == 1 and self.record.name not in ALWAYS:
            self.record.chosen.append({"langs": list(langs), "settings": dict(settings[0])})
            return settings[0]
        keys = self._tried(part, langs, settings, bench, judge)
        listed = [None if key is None else list(key) for key in keys]
        self.record.trials.append({"langs": list(langs), "part": part, "keys": listed})
        scores = [self._score(key, judge) for key in keys]
        best = max(range(len(settings)), key=lambda place: scores[place])
        found = {"settings": dict(settings[best]), "pilot": scores[best][0], "n": len(judge)}
        self.record.chosen.append({"langs": list(langs), **found})
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
        choice = self.method.by_rows(work.data(), division, work.seed)
        assert choice is not None
        self._run_pairs(choice.pairs, asked)
        picked = choice.choose(work.data())
        key = RowKey("condition", condition=self._id("test", seed=0))
        wanted = {item.id for item in asked}
        work.copied({one: row for one, row in picked.items() if one in wanted}, key)
        lengths = [work.lengths[item.id] for item in asked]
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


def _together(
    ways: Mapping[RowKey, Way], lacking: Mapping[RowKey, Sequence[Item]]
) -> Iterable[list[RowKey]]:
    """Keys of ways that are answered together."""
    groups: dict[tuple[str, ...], list[RowKey]] = {}
    for key, way in ways.items():
        if lacking[key]:
            own = ("" if way.edits_only else str(key), *(item.id for item in lacking[key]))
            groups.setdefault(own, []).append(key)
    return groups.values()


def _key(row: Mapping[str, Any]) -> RowKey:
    return RowKey(*row["key"])


def _beyond(before: float, tracker: Tracker) -> Callable[[float], None]:
    return lambda rows: tracker.answered(before + rows)
