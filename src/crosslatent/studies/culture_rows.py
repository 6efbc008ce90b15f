"""One task of a culture card: its pair, its conditions, and their answers in one run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslatent.analysis.culture.card import Matched
from crosslatent.analysis.culture.culture_answers import PLAIN, TRANSPLANT, VANILLA
from crosslatent.analysis.method_rows import MethodRecord
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.specs import TransplantSpec, near_tie_margin
from crosslatent.methods.method import Bench, Way
from crosslatent.methods.pair_ways import TransplantWay, every_pair, spec_of
from crosslatent.methods.prompting import counterpart
from crosslatent.model import Model
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.schema import RowKey
from crosslatent.selectors.division import PILOT, UNSEEN
from crosslatent.studies.culture_conditions import (
    AskedCondition,
    ConditionMaker,
    CultureWay,
    matched,
)
from crosslatent.studies.culture_settings import CultureSettings
from crosslatent.studies.method_trials import OneMethod, Trials
from crosslatent.studies.questions import division_of
from crosslatent.sweeps import Progress, SweepSpec
from crosslatent.sweeps.plan import plan_sweep
from crosslatent.sweeps.prepared import build_manifest, item_row
from crosslatent.tasks import Item, Task
from crosslatent.tasks.other_forms import framed

if TYPE_CHECKING:
    from crosslatent.translate import Translator

AUX_ANSWERED = "translate_test"
"""Rows of the unmodified model on the counterparts themselves."""


@dataclass
class ChosenPair:
    """The pair of one part of a division.

    Attributes:
        component, source, target: of the transplant; layers from 0.
        how: "pilot", "preset" or "given".
        pilot: mean score on the pilot questions; None if it was not chosen.
        n: pilot questions.
        tried: pairs that were tried.
    """

    component: str
    source: int
    target: int
    how: str
    pilot: float | None = None
    n: int = 0
    tried: int = 1

    @property
    def spec(self) -> TransplantSpec:
        """As a pair."""
        return spec_of(asdict(self))


@dataclass
class CultureRecord:
    """What is kept of one task, in run.json of its run folder: plain data.

    Attributes:
        task: its name.
        pairs: of each part of the division.
        conditions: of each its name, form, key and the number of questions.
        matched: of each donor language the matched other one.
        division: how questions were split, in a sentence.
        left_out: why a question could not be asked, by id.
        without: why a condition is missing, by its name.
    """

    task: str
    pairs: list[ChosenPair] = field(default_factory=list)
    conditions: list[dict[str, Any]] = field(default_factory=list)
    matched: dict[str, Matched] = field(default_factory=dict)
    division: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)


class CultureTask:
    """One task at work."""

    def __init__(
        self,
        model: Model,
        task: Task,
        asked: CultureSettings,
        pair: TransplantSpec | None,
        translator: Translator | None,
    ) -> None:
        """Check the questions, and divide them.

        Args:
            model: the model.
            task: the questions, with counterparts as far as there are any.
            asked: the settings.
            pair: that was given; None for one that is chosen.
            translator: what made counterparts.

        Raises:
            TaskError: no question is left, or too few to choose a pair and test it.
        """
        self.model, self.asked, self.pair = model, asked, pair
        seed = asked["seed"]
        items = tuple(
            item if item.paraphrase else replace(item, paraphrase=framed(item, 1).main)
            for item in task.items
            if item.aux and item.answer is not None
        )
        if len({item.split for item in items}) == 1:  # it is split here
            items = tuple(replace(item, split=None) for item in items)
        if not items:
            raise TaskError(
                f"No question of {task.name!r} has a gold answer and a counterpart in its "
                "country's language: give a translation model (--translate-with), or data with "
                "counterparts."
            )
        spec: SweepSpec = {
            "component": ("attn", "ffn"),
            "pairs": "all",
            "seed": seed,
            "max_new_tokens": asked["max_new_tokens"],
            "chat": asked["chat"],
            "chat_args": asked["chat_args"],
            "score_options": all(item.options is not None for item in items),
        }
        self.division = division_of(replace(task, items=items), seed)
        self.plan = plan_sweep(model, replace(task, items=self._split(items)), spec)
        self.items = tuple(item for item in self.plan.task.items if item.id in self.plan.tokens)
        self.record = CultureRecord(task.name, division=self.division.sentence)
        self.bench = Bench(
            model=model,
            task=self.plan.task,
            learn=(),
            new_tokens=self.plan.max_new_tokens,
            chat=self.plan.chat,
            items=self.items,
            translator=translator,
            quick=asked["quick"],
            batch_rows=asked["batch_rows"],
            whole=bool(spec["score_options"]),
        )
        self.opinions = all(item.shares is not None for item in self.items)

    def _split(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """Questions with the names of the splits that are used; in folds, without."""
        if len(self.division.parts) > 1:
            return tuple(replace(item, split=None) for item in items)
        tested = self.division.tested_on
        names = self.division.names if self.division.kind == "given" else (PILOT, UNSEEN)
        wanted = self.division.chosen_on | tested
        return tuple(
            replace(item, split=names[item.id in tested]) for item in items if item.id in wanted
        )

    def run(self, location: Path, show: Callable[[str, Progress], None] | None) -> None:
        """Answer whatever is missing in a run folder.

        Args:
            location: the run folder, made if it is not there.
            show: gets what is being done, and its state.
        """
        manifest = {**build_manifest(self.plan), "planned": None}
        with RunFolder.open(location, manifest) as folder:
            folder.write_items(self._item_rows())
            self._work = Trials(
                bench=self.bench,
                items=self.items,
                twins={},
                langs=tuple(dict.fromkeys(item.lang for item in self.items)),
                division=self.division,
                lengths={},
                seed=self.asked["seed"],
                seeds=1,
                folder=folder,
                show=show,
            )
            self._all()
            folder.write_status(
                {
                    **folder.totals(near_tie_margin(str(self.model.dtype).removeprefix("torch."))),
                    "items": len(self.items),
                    "failures": 0,
                    "respelled": 0,
                    "culture": asdict(self.record),
                }
            )

    def _item_rows(self) -> list[dict[str, Any]]:
        ends, spelled = self.plan.tokens.ends, self.plan.tokens.answers
        return [
            {
                **item_row(self.model, item, ends.get(item.id)),
                "respelled": spelled[item.id].respelled if item.id in spelled else None,
            }
            for item in self.items
        ]

    def _all(self) -> None:
        """Unmodified answers, the pair, the matched donors, then every condition."""
        vanilla = CultureWay({item.id: item for item in self.items})
        self._answer([AskedCondition(VANILLA, PLAIN, RowKey("vanilla"), [*self.items], vanilla)])
        twins = {item.id: counterpart(item) for item in self.items}
        aux = CultureWay(twins, plain=False)
        self._answer(
            [AskedCondition(AUX_ANSWERED, PLAIN, RowKey(AUX_ANSWERED), [*self.items], aux)]
        )
        langs = tuple(dict.fromkeys(item.aux_lang for item in self.items))
        self.record.matched = matched(self._accuracy_by_donor(), langs)
        if self.asked["method"] is not None:
            self._method(self.asked["method"])
            return
        for tune, test in self.division.parts:
            pair = self._pair([item for item in self.items if item.id in tune])
            self.record.pairs.append(pair)
            maker = ConditionMaker(self.bench, self.asked, pair.spec, beside=self.pair is None)
            self._answer(maker.every([item for item in self.items if item.id in test]))

    def _method(self, name: str) -> None:
        """A method of `compare` in the place of the transplant, chosen on the pilot questions.

        Raises:
            UsageError: it cannot be run on these questions.
        """
        method = METHOD_KINDS[name]()
        langs = tuple(dict.fromkeys(item.lang for item in self.items))
        tune = min((tune for tune, _ in self.division.parts), key=len)
        pilot = self.bench.learning_from([item for item in self.items if item.id in tune])
        if lacking := method.lacks(pilot, langs) or method.refusal(pilot):
            raise UsageError(f"The method {name!r} cannot be run on {self.record.task}. {lacking}")
        record = MethodRecord(name, method.title, method.league, method.about, method.source)
        OneMethod(self._work, method, record).run()
        self.record.left_out |= record.left_out
        tested = [sorted(test) for _, test in self.division.parts]
        self.record.conditions += [
            {"name": TRANSPLANT, "form": PLAIN, "key": row["key"], "only": tested[row["part"]]}
            for row in record.rows
        ]

    def _answer(self, conditions: Sequence[AskedCondition]) -> None:
        """Answer what is missing; conditions that edit the same questions share their reading."""
        record = MethodRecord("culture", "", "", "", "")
        for title, some in _grouped(conditions):
            ways = {one.key: one.way for one in some}
            self._work.answered(ways, some[0].items, record, f"{self.plan.task.name}: {title}")
        self.record.left_out |= record.left_out
        folds = len(self.division.parts) > 1
        for one in conditions:
            kept: dict[str, Any] = {"name": one.name, "form": one.form, "key": list(one.key)}
            if folds:
                kept["only"] = [item.id for item in one.items]
            self.record.conditions.append({**kept, "items": len(one.items)})

    def _accuracy_by_donor(self) -> dict[str, float]:
        """Of the unmodified model on the counterparts, by their language."""
        there = self._work.known.get(RowKey(AUX_ANSWERED), {})
        right: dict[str, list[bool]] = {}
        for item in self.items:
            correct = there.get(item.id, (None, None))[0]
            if correct is not None:
                right.setdefault(item.aux_lang, []).append(correct)
        return {lang: float(np.mean(some)) for lang, some in right.items()}

    def _pair(self, pilot: Sequence[Item]) -> ChosenPair:
        """The pair that was given, or the best of all on the pilot questions."""
        if self.pair is not None:
            spec = TransplantWay(self.bench, self.bench.vectors(self.items), self.pair).spec
            how = "preset" if self.asked["preset"] else "given"
            return ChosenPair(spec.component, spec.source, spec.target, how)
        vectors = self.bench.vectors(self.items)
        specs = [spec_of(one) for one in every_pair(self.bench)]
        ways = [TransplantWay(self.bench, vectors, spec) for spec in specs]
        name = f"{self.plan.task.name}: {len(ways)} pairs on pilot questions"
        keyed: dict[RowKey, Way] = {way.key: way for way in ways if way.key is not None}
        self._work.answered(keyed, pilot, MethodRecord("culture", "", "", "", ""), name)
        scores = self._scores(list(keyed), pilot)
        best = max(range(len(ways)), key=lambda place: scores[place])
        spec = ways[best].spec
        found = ChosenPair(spec.component, spec.source, spec.target, "pilot")
        return replace(found, pilot=scores[best][0], n=len(pilot), tried=len(ways))

    def _scores(self, keys: Sequence[RowKey], pilot: Sequence[Item]) -> list[tuple[float, float]]:
        """Mean closeness to the own country, or share of right answers; then the gold answer's."""
        wanted = {item.id for item in pilot}
        sums: dict[RowKey, list[tuple[float, float]]] = {key: [] for key in keys}
        for row in self.rows(["correct", "gold_logprob", "scores"]):
            key = RowKey(*(row[name] for name in RowKey._fields))
            if key in sums and row["item"] in wanted:
                scores = {one["key"]: one["value"] for one in row["scores"] or ()}
                right = float(bool(row["correct"]))
                main = scores.get("js_similarity", np.nan) if self.opinions else right
                gold = row["gold_logprob"]
                sums[key].append((main, np.nan if gold is None else gold))
        return [_means(some) for some in sums.values()]

    def rows(self, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Stored rows, with their keys."""
        found = self._work.folder.rows.read(["item", *RowKey._fields, *columns])
        yield from found.to_pylist()


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Means of two columns, each over what is known; far below any score where nothing is."""
    columns = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else ()
    known = [column[~np.isnan(column)] for column in columns]
    first, second = [float(some.mean()) if len(some) else -1e9 for some in known] or (-1e9, -1e9)
    return first, second


def _grouped(conditions: Sequence[AskedCondition]) -> Iterator[tuple[str, list[AskedCondition]]]:
    """Conditions that edit the same questions together; others each by itself."""
    groups: dict[Any, list[AskedCondition]] = {}
    for place, one in enumerate(conditions):
        same = tuple(item.id for item in one.items)
        groups.setdefault(same if one.way.edits_only else place, []).append(one)
    for some in groups.values():
        yield (
            (f"{len(some)} conditions" if len(some) > 1 else f"{some[0].name} ({some[0].form})"),
            some,
        )
