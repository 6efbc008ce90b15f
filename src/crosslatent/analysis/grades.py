"""Graded scores, language fidelity, and what the other rules say: one row for each question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import ALL, Mask, groups
from crosslatent.analysis.picked import Pairs, Picked, pairs_of_items
from crosslatent.core.languages import can_identify, same_language
from crosslatent.core.specs import ACCURACY, Component
from crosslatent.stats import Estimate, Floats


@dataclass(frozen=True, slots=True)
class MeanScore:
    """Mean of a graded score (0 to 1) over the questions that have it.

    Attributes:
        metric: as in the rows' `scores`: exact_match, f1, js_similarity.
        name: vanilla or translate_test.
    """

    metric: str
    name: str
    split: str
    lang: str
    score: Estimate


@dataclass(frozen=True, slots=True)
class ScoreAtPair:
    """A graded score at the picked pair against the unmodified run, on the same questions.

    Attributes:
        pooling: ``pooled`` = one pair for all languages; ``per_language`` = one for each.
        in_sample: the split is the one that the pair was picked on, so the gain is optimistic.
    """

    metric: str
    component: Component
    pooling: str
    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How often the unmodified model answers in another language than the question's.

    Attributes:
        off_target: share of such outputs among those whose language could be identified (its n).
        outputs: all outputs to questions whose language is known.
    """

    split: str
    lang: str
    off_target: Estimate
    outputs: int


@dataclass(frozen=True, slots=True)
class FidelityAtPair:
    """The same at the picked pair, on questions whose two outputs both have a language.

    Attributes:
        vanilla, transplant: off-target rates; `difference` transplant minus vanilla.
        outputs: questions with both outputs, whether or not their languages could be identified.
        vanilla_identified, transplant_identified: outputs whose language could be identified.
    """

    component: Component
    pooling: str
    split: str
    lang: str
    in_sample: bool
    vanilla: Estimate
    transplant: Estimate
    difference: Estimate
    outputs: int
    vanilla_identified: int
    transplant_identified: int


@dataclass(frozen=True, slots=True)
class RuleAccuracy:
    """Share of the unmodified outputs that are right under one rule, all languages together."""

    rule: str
    split: str
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Outputs:
    """One row of each question, in the order of `Items`.

    Attributes:
        there: which questions have the row.
        scores: graded scores, by metric.
        by_rule: right or wrong, by rule.
        lang: the output's language, None if it could not be identified.
    """

    there: Mask
    scores: list[Mapping[str, float]]
    by_rule: list[Mapping[str, bool]]
    lang: list[str | None]

    def score(self, metric: str) -> Floats:
        """One metric, shape (items,); NaN where it is undefined."""
        return np.array([scores.get(metric, np.nan) for scores in self.scores], dtype=np.float64)

    def correct(self, rule: str) -> Floats:
        """Right (1) or wrong (0) under one rule, shape (items,); NaN where it does not fit."""
        return np.array([rules.get(rule, np.nan) for rules in self.by_rule], dtype=np.float64)

    def off_target(self, expected: Sequence[str]) -> Floats:
        """1 = in another language than expected, 0 = in that one, NaN = not known."""
        pairs = list(zip(self.lang, expected, strict=True))
        known = {pair: _off_target(*pair) for pair in set(pairs)}
        return np.array([known[pair] for pair in pairs], dtype=np.float64)


class Graded:
    """The rows of a run that are looked at one by one: unmodified ones, and those at a pair."""

    def __init__(self, data: RunData) -> None:
        """Look up the metrics of the run."""
        self._data = data
        self._vanilla = self._unmodified("vanilla")
        self._translate_test = self._unmodified("translate_test")
        self.metric = str(data.manifest.get("task", {}).get("metric") or ACCURACY)
        """The figure that counts in the run's task."""
        self.metrics = _first(self.metric, self._names("scores"))
        """Metrics that some row has a score of, the task's own first."""
        self._expected = self._main_languages()
        self._known = np.array([can_identify(lang) for lang in self._expected], dtype=np.bool_)

    def scores(self) -> list[MeanScore]:
        """Mean scores of the unmodified run and translate-test, by split and language."""
        items = self._data.items
        ways = {"vanilla": self._vanilla, "translate_test": self._translate_test}
        found = [
            MeanScore(metric, name, split, lang, self._data.mean(outputs.score(metric), mask))
            for metric in self.metrics
            for split, lang, mask in groups(items)
            for name, outputs in ways.items()
        ]
        return [score for score in found if score.score.n]

    def scores_at_pairs(self, picks: Sequence[Picked]) -> list[ScoreAtPair]:
        """Scores at each picked pair, on every split, pooled over languages and in each."""
        data, found = self._data, []
        for pick, outputs in self._at(picks):
            for metric in self.metrics:
                before, after = self._vanilla.score(metric), outputs.score(metric)
                for head, mask in self._groups_of(pick, ~np.isnan(before) & ~np.isnan(after)):
                    means = data.mean(before, mask), data.mean(after, mask)
                    gain = data.difference(after, before, mask)
                    found.append(ScoreAtPair(metric, *head, *means, gain))
        return found

    def fidelity(self) -> list[Fidelity]:
        """Off-target rates of the unmodified run; empty without a language to be expected."""
        there = self._vanilla.there & self._known
        off = self._vanilla.off_target(self._expected)
        return [
            Fidelity(split, lang, self._data.mean(off, mask & there), int((mask & there).sum()))
            for split, lang, mask in groups(self._data.items)
            if (mask & there).any()
        ]

    def fidelity_at_pairs(self, picks: Sequence[Picked]) -> list[FidelityAtPair]:
        """Off-target rates at each picked pair beside the unmodified run's."""
        data, found = self._data, []
        before = self._vanilla.off_target(self._expected)
        for pick, outputs in self._at(picks):
            after = outputs.off_target(self._expected)
            identified = ~np.isnan(before), ~np.isnan(after)
            there = self._vanilla.there & outputs.there & self._known
            for head, mask in self._groups_of(pick, there):
                both = mask & identified[0] & identified[1]
                if both.any():
                    means = data.mean(before, both), data.mean(after, both)
                    counts = (int((mask & known).sum()) for known in (there, *identified))
                    gap = data.difference(after, before, both)
                    found.append(FidelityAtPair(*head, *means, gap, *counts))
        return found

    def rules(self) -> list[RuleAccuracy]:
        """Accuracy of the unmodified run under every rule that was tried, the task's own first."""
        own = str(self._data.manifest.get("task", {}).get("rule") or "")
        found = [
            RuleAccuracy(rule, split, self._data.mean(self._vanilla.correct(rule), mask))
            for rule in _first(own, self._names("correct_by_rule"))
            for split, lang, mask in groups(self._data.items)
            if lang == ALL
        ]
        return [rule for rule in found if rule.accuracy.n]

    def _at(self, picks: Sequence[Picked]) -> Iterator[tuple[Picked, Outputs]]:
        for pick in picks:
            yield pick, self._rows_at(pick.component, pairs_of_items(self._data, pick.choices))

    def _groups_of(
        self, pick: Picked, there: Mask
    ) -> Iterator[tuple[tuple[Component, str, str, str, bool], Mask]]:
        """What a pick is looked at in: the first five fields of its figures, and the questions."""
        tuned_on = {choice.split for choice in pick.choices.values()}
        several = len(self._data.items.languages) > 1
        for split, lang, mask in groups(self._data.items):
            if split != ALL and (several or lang == ALL) and (mask & there).any():
                head = pick.component, pick.pooling, split, lang, split in tuned_on
                yield head, mask & there

    def _names(self, column: str) -> list[str]:
        query = f"SELECT DISTINCT unnest(map_keys({column})) AS name FROM rows ORDER BY name"
        return [name for (name,) in self._data.con.execute(query).fetchall()]

    def _main_languages(self) -> list[str]:
        query = "SELECT item, lang FROM items"
        languages = dict(self._data.con.execute(query).fetchall())
        return [languages[item] for item in self._data.items.ids]

    def _unmodified(self, control: str) -> Outputs:
        return self._outputs("FROM rows r WHERE r.control = $control", {"control": control})

    def _rows_at(self, component: Component, pairs: Pairs) -> Outputs:
        source = """
            FROM rows r JOIN (
                SELECT unnest($items) AS item, unnest($sources) AS source,
                       unnest($targets) AS target
            ) p ON r.item = p.item AND r.source = p.source AND r.target = p.target
            WHERE r.control = 'none' AND r.component = $component
        """
        values = {
            "items": self._data.items.ids,
            "sources": pairs[:, 0].tolist(),
            "targets": pairs[:, 1].tolist(),
            "component": component,
        }
        return self._outputs(source, values)

    def _outputs(self, source: str, values: Mapping[str, Any]) -> Outputs:
        query = f"SELECT r.item, r.scores, r.correct_by_rule, r.output_lang {source}"
        rows = {row[0]: row[1:] for row in self._data.con.execute(query, values).fetchall()}
        ids = self._data.items.ids
        found = [rows.get(item, (None, None, None)) for item in ids]
        return Outputs(
            there=np.array([item in rows for item in ids], dtype=np.bool_),
            scores=[scores or {} for scores, _, _ in found],
            by_rule=[rules or {} for _, rules, _ in found],
            lang=[lang for _, _, lang in found],
        )


def _off_target(found: str | None, expected: str) -> float:
    if found is None or not can_identify(expected):
        return np.nan
    return float(not same_language(found, expected))


def _first(name: str, names: Sequence[str]) -> list[str]:
    """The names with one of them, if it is there, moved to the front."""
    return sorted(names, key=lambda other: other != name)
