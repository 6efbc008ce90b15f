"""What a choice is worth on questions that it was not made on, beside controls and plain methods.

The controls at the same choice know nothing of the answer: the same pair, or the same way to
choose, with vectors of other questions (drawn blindly), noise, the mean, the question's own.
The plain methods transplant nothing: answering the counterpart, and keeping the surer answer of
both. Neither is chosen: what is found is the choice alone, and each plain method is corrected for
their number (Holm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.inference import LEVEL
from crosslatent.core.errors import UsageError
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.candidates import Candidates, Labels
from crosslatent.selectors.crossfit import DividedChoice, choose
from crosslatent.selectors.division import PILOT, Division, among, divide
from crosslatent.selectors.kinds.pilot import REFERENCE
from crosslatent.selectors.selector_results import Used
from crosslatent.selectors.selector_scores import covered
from crosslatent.selectors.table import SelectorTable, read_table
from crosslatent.stats import Estimate, Floats, clustered_mean, holm, paired_difference, paired_test

SHUFFLED = "shuffled"
COVERED = 0.9
"""Of the tested questions, the share that a control or plain method must be known of."""


def _is_shown(p_value: float | None) -> bool:
    return p_value is not None and p_value < LEVEL


Verdict = Literal["lifts", "luck", "unproven", "plain", "harms", "nothing"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to answer the same questions.

    Attributes:
        name: a control (``shuffled``, ``noise``, ``mean``, ``self``) or a plain method
            (``translate_test``, ``surer``).
        accuracy: share of right answers; `gain`: minus that of the unmodified model.
        over: the choice minus it.
        p_value: of a plain method's gain, corrected for all of them; None of a control.
    """

    name: str
    accuracy: Estimate
    gain: Estimate
    over: Estimate
    p_value: float | None = None

    @property
    def is_better(self) -> bool:
        """A plain method that is shown to be better than the unmodified model."""
        return _is_shown(self.p_value) and self.gain.above_zero


@dataclass(frozen=True, slots=True)
class Finding:
    """A choice on the questions that it was tested on.

    Attributes:
        kind: how questions were divided, see `Division`.
        names: of the questions chosen on, and tested on.
        chosen_on: how many the choice was made on.
        rule: name of the selector that was taken; `about`: what it does.
        fixed: one pair for all questions, in every fold; `mixed`: in some folds.
        pair: of the chooser that is kept: its pair, or the first of those that it looks at.
        kept: how many pairs that chooser looks at; 1 = the same for all questions.
        pairs: how many pairs the tested choice looks at for a question, at most.
        used: pairs by how many of the tested questions got them, most first.
        aux_lang: the language of aux, where all questions have one.
        vanilla, accuracy: right unmodified, and by the choice; `gain`: their difference.
        p_value: of the gain (`stats.paired_test`); None if no answer changed.
        repaired, broken: wrong -> right and right -> wrong.
        controls, plain: the other ways.
        uncovered: controls that were not run at this choice, or not for nearly all questions.
    """

    kind: Literal["given", "dealt", "folds"]
    names: tuple[str, str]
    chosen_on: int
    rule: str
    about: str
    fixed: bool
    mixed: bool
    pair: Used
    kept: int
    pairs: int
    used: list[Used]
    aux_lang: str | None
    vanilla: Estimate
    accuracy: Estimate
    gain: Estimate
    p_value: float | None
    repaired: int
    broken: int
    controls: list[Alternative]
    plain: list[Alternative]
    uncovered: list[str]

    @property
    def changes(self) -> bool:
        """The gain is shown: by its interval, and by its test."""
        return _is_shown(self.p_value) and self.gain.above_zero

    @property
    def lucky(self) -> list[Alternative]:
        """Controls that the choice is not shown to be better than."""
        return [one for one in self.controls if not one.over.above_zero]

    @property
    def best_plain(self) -> Alternative | None:
        """The most accurate of the plain methods that are better than the unmodified model."""
        better = [one for one in self.plain if one.is_better]
        return max(better, key=lambda one: one.accuracy.value or 0.0, default=None)

    @property
    def verdict(self) -> Verdict:
        """What can be said: the choice lifts; luck may; a plain method does; nothing does."""
        if self.changes and self.lucky:
            return "luck"
        if self.changes:
            return "unproven" if self.uncovered else "lifts"
        if self.best_plain is not None:
            return "plain"
        return "harms" if _is_shown(self.p_value) and self.gain.below_zero else "nothing"

    @property
    def recommended(self) -> str | None:
        """``choice``, the name of a plain method, or None to leave answers as they are."""
        plain = self.best_plain
        if self.verdict in ("lifts", "unproven") and (
            plain is None or (plain.accuracy.value or 0.0) <= (self.accuracy.value or 0.0)
        ):
            return "choice"
        return None if plain is None else plain.name


def division_of(
    table: SelectorTable, *, tune: str = PILOT, test: str | None = None, seed: int = 0
) -> Division:
    """How a run's questions with gold answers are divided; arguments and errors: `divide`."""
    seen = table.seen.take(table.usable)
    ids, clusters, splits = list(seen.ids), seen.cluster.tolist(), seen.split.tolist()
    return divide(ids, clusters, splits, tune=tune, test=test, seed=seed)


def find(
    data: RunData, *, tune: str = PILOT, test: str | None = None, seed: int = 0
) -> tuple[Finding | None, str]:
    """What the best pair of a run is worth on questions that it was not picked on.

    Returns:
        The finding and how questions were divided; or None and why there is none.
    """
    if not data.components:
        return None, "The run has no pairs of layers."
    table = read_table(data, others=True)
    try:
        division = division_of(table, tune=tune, test=test, seed=seed)
        choice = choose(table, division, (REFERENCE,), seed=seed)
        found = judge(choice, table, aux_lang=aux_language(data), seed=seed)
    except UsageError as error:
        return None, str(error)
    return found, division.sentence


def aux_language(data: RunData) -> str | None:
    """The language of aux, where all questions of a run have one."""
    names = data.con.execute("SELECT DISTINCT aux_lang FROM items").fetchall()
    return str(names[0][0]) if len(names) == 1 else None


def judge(
    choice: DividedChoice,
    table: SelectorTable,
    *,
    aux_lang: str | None = None,
    seed: int = 0,
) -> Finding:
    """Test a choice on its division's questions.

    Args:
        choice: what was chosen.
        table: rows of the questions to test on, with the controls' (`read_table` with `others`).
        aux_lang: the language of aux, for sentences.
        seed: of the intervals.

    Raises:
        UsageError: none of these questions has rows of the pairs that were chosen.
    """
    return _Judge(choice, table, seed).finding(aux_lang)


def _is_covered(right: Floats) -> bool:
    return bool((~np.isnan(right)).mean() >= COVERED)


class _Judge:
    """A choice, the questions to test it on, and what their answers are by each way."""

    def __init__(self, choice: DividedChoice, table: SelectorTable, seed: int) -> None:
        self.choice, self.table, self.seed = choice, table, seed
        asked = table.usable & among(table.seen.ids, choice.division.tested_on)
        right = choice.tested.choose(table.seen).outcome(table.labels)
        self.mask = asked & ~np.isnan(right)
        if not self.mask.any():
            raise UsageError(
                f"None of the {int(asked.sum())} questions to test on has rows of the pairs that "
                "were chosen: sweep these pairs on them."
            )
        self.seen = table.seen.take(self.mask)
        self.clusters: list[str] = self.seen.cluster.tolist()
        self.right, self.vanilla = right[self.mask], table.labels.vanilla[self.mask]

    def finding(self, aux_lang: str | None) -> Finding:
        """Everything."""
        tested, division = self.choice.tested, self.choice.division
        kept = self.choice.kept
        chosen = tested.choose(self.seen).choice
        controls = self._controls()
        known = {name: right for name, right in controls.items() if _is_covered(right)}
        first, fixed = kept.fitted.pairs[0], [isinstance(o, FixedPairs) for o in tested.fitted]
        n = sum(used.n for used in self._used(chosen))
        return Finding(
            kind=division.kind,
            names=division.names,
            chosen_on=len(division.chosen_on),
            rule=kept.selector.name,
            about=kept.selector.about,
            fixed=all(fixed),
            mixed=any(fixed) and not all(fixed),
            pair=Used(first.component, first.source, first.target, n),
            kept=len(kept.fitted.pairs),
            pairs=max(len(one.pairs) for one in tested.fitted),
            used=self._used(chosen),
            aux_lang=aux_lang,
            vanilla=self._mean(self.vanilla),
            accuracy=self._mean(self.right),
            gain=self._difference(self.right, self.vanilla),
            p_value=self._p(self.right),
            repaired=int((self.right > self.vanilla).sum()),
            broken=int((self.right < self.vanilla).sum()),
            controls=[self._compared(name, right) for name, right in known.items()],
            plain=self._plain(),
            uncovered=[name for name in controls if name not in known],
        )

    def _used(self, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Used]:
        places, counts = np.unique(chosen[chosen >= 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        pairs = [(self.seen.pairs[int(places[k])], int(counts[k])) for k in order]
        return [Used(one.component, one.source, one.target, n) for one, n in pairs]

    def _controls(self) -> dict[str, Floats]:
        """Right or wrong of the same choice with each control's vectors, shape (tested,)."""
        strata = {name: self._with(*rows) for name, rows in self.table.shuffled.items()}
        blind = self.table.blind(strata)
        nothing = np.full(len(self.mask), np.nan)
        every = {SHUFFLED: nothing if blind is None else blind}
        # The mean counts where it was run; the others must be.
        every |= dict.fromkeys(("noise", "self"), nothing)
        every |= {name: self._with(*rows) for name, rows in self.table.others.items()}
        return {name: right[self.mask] for name, right in every.items()}

    def _with(self, other: Candidates, labels: Labels) -> Floats:
        tested = self.choice.tested
        right = tested.choose(other).outcome(labels)
        return np.where(covered(tested, self.table.seen, other), right, np.nan)

    def _plain(self) -> list[Alternative]:
        labels = self.table.labels.take(self.mask)
        known = {
            name: tested.choose(self.seen).outcome(labels)
            for name, (_, tested) in self.choice.plain.items()
        }
        # What is known of some questions only is not compared: it would be on other questions.
        known = {name: right for name, right in known.items() if _is_covered(right)}
        values = [self._p(right) for right in known.values()]
        corrected = holm(values).adjusted
        return [
            self._compared(name, right, p if p is not None else 1.0)
            for (name, right), p in zip(known.items(), corrected, strict=True)
        ]

    def _compared(self, name: str, right: Floats, p: float | None = None) -> Alternative:
        gain, over = self._difference(right, self.vanilla), self._difference(self.right, right)
        return Alternative(name, self._mean(right), gain, over, p)

    def _p(self, right: Floats) -> float | None:
        one_language = len(set(self.seen.lang.tolist())) == 1
        test = paired_test(
            right, self.vanilla, self.clusters, seed=self.seed, one_language=one_language
        )
        return test.p_value

    def _mean(self, values: Floats) -> Estimate:
        return clustered_mean(values, self.clusters, seed=self.seed)

    def _difference(self, new: Floats, old: Floats) -> Estimate:
        return paired_difference(new, old, self.clusters, seed=self.seed)
