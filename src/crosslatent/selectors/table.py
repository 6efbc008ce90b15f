"""The rows of a run folder as `Candidates` and `Labels`; the only file here that reads rows.

Also which questions the controls solve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis import bounds
from crosslatent.analysis.data import RunData, solved_by_any, weigh
from crosslatent.analysis.headline import BLIND
from crosslatent.analysis.items import Items
from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import (
    IDENTITY_COMPONENTS,
    STRATA,
    Component,
    TransplantSpec,
    check_component,
)
from crosslatent.selectors.candidates import Candidates, Labels, Mask, Places, Steps
from crosslatent.stats import Floats

_FIRST = ("logprob", "entropy", "margin")

# Options are named by their place; the same place is the same answer in every row of an item. Open
# answers are the same if their texts are when folded, as for the rule `exact`.
_OPEN = """
    WHEN t.folded = '' THEN -1
    ELSE dense_rank() OVER (PARTITION BY r.item ORDER BY t.folded) - 1
"""
_ANSWERS = """
CREATE OR REPLACE TEMP TABLE selectable AS
SELECT p.place, c.number, r.control, r.stratum, {columns}, (CASE
    WHEN i.options IS NOT NULL THEN coalesce(list_position(i.options, r.prediction), 0) - 1
    {open}
END)::INTEGER AS answer
FROM rows r JOIN items i USING (item) JOIN places p USING (item) {texts}
LEFT JOIN candidates c
    ON c.component = r.component AND c.source = r.source AND c.target = r.target
WHERE list_contains($controls::VARCHAR[], r.control)
"""
_CANDIDATES = """
CREATE OR REPLACE TEMP TABLE candidates AS
SELECT *, (row_number() OVER (ORDER BY component, source, target) - 1)::INTEGER AS number
FROM (SELECT DISTINCT component, source, target FROM rows
      WHERE control = 'none' AND list_contains($names::VARCHAR[], component))
"""

_READ = ("vanilla", "translate_test", "none", "shuffled")
CONTROLS = tuple(name.partition("/")[0] for name in BLIND)
"""Controls that know nothing of the answer; of the shuffled one, all strata together."""


@dataclass(frozen=True, slots=True)
class SelectorTable:
    """A run as selectors see it, with what is right beside it.

    Attributes:
        seen: all items that have rows; true transplants.
        labels: what is right of them.
        shuffled: by stratum, the same items with the shuffled control's rows in place of the true
            ones: features, and what is right. Empty if the control was not run.
        donor_shares: by stratum, its share of the donors that an item may have, (items,).
        items: the same items with their gold answers, for the baselines.
        controls: by control, which items any of its pairs solves (`solved_by_controls`).
        others: as `shuffled`, of each other control, by its name; only where they were asked for.
    """

    seen: Candidates
    labels: Labels
    shuffled: Mapping[str, tuple[Candidates, Labels]]
    donor_shares: Mapping[str, Floats]
    items: Items
    controls: Mapping[str, Floats] = field(default_factory=dict)
    others: Mapping[str, tuple[Candidates, Labels]] = field(default_factory=dict)

    def blind(self, by_stratum: Mapping[str, Floats]) -> Floats | None:
        """What a donor drawn without a look at its answer gives, shape (items,).

        The strata, weighted by their share of the donors that an item may have (docs/methods.md
        1.3); None if none was run. A stratum without donors needs no rows: open questions seldom
        share an answer. `by_stratum`: right or wrong of each item with a donor of the stratum.
        """
        return weigh(self.donor_shares, by_stratum) if by_stratum else None

    @property
    def usable(self) -> Mask:
        """Questions with gold answers and rows, shape (items,)."""
        judged: Mask = ~np.isnan(self.labels.vanilla) & (~np.isnan(self.labels.correct)).any(axis=1)
        return judged


@dataclass(frozen=True, slots=True)
class TableSplit:
    """The part of a table that is fitted or tested on: questions with gold answers and rows."""

    table: SelectorTable
    mask: Mask

    @property
    def clusters(self) -> list[str]:
        """Of its questions."""
        names: list[str] = self.table.seen.cluster[self.mask].tolist()
        return names

    def __len__(self) -> int:
        return int(self.mask.sum())


def read_table(
    data: RunData, components: Sequence[Component] | None = None, *, others: bool = False
) -> SelectorTable:
    """Everything that selectors need of a run folder.

    Args:
        data: the run folder, opened.
        components: candidates carry one of these; None = every component of the run.
        others: read the rows of the other controls, too.

    Raises:
        RunFolderError: the run has no true transplants of them, or its scores cannot be read.
    """
    wanted = tuple(data.components if components is None else components)
    more = CONTROLS[1:] if others else ()
    reader = _Rows(data, wanted, (*_READ, *more))
    if not reader.pairs:
        of = f" of {', '.join(wanted)}" if wanted else ""
        raise RunFolderError(
            f"{data.reader.path} has no transplants{of}: sweep some layer pairs first."
        )
    seen, labels = reader.true()
    return SelectorTable(
        seen=seen,
        labels=labels,
        shuffled={one: reader.control(seen, "shuffled", one) for one in reader.strata},
        donor_shares=data.donor_shares,
        items=data.items,
        controls=solved_by_controls(data, wanted),
        others={
            one: reader.control(seen, one) for one in more if one in data.spec.get("controls", ())
        },
    )


def prompts_of(data: RunData) -> list[tuple[str, str]]:
    """Main and aux of every item that has rows, in the order of a table."""
    return data.con.execute(
        "SELECT main, aux FROM items WHERE item IN (SELECT item FROM places) ORDER BY item"
    ).fetchall()


class _Rows:
    """Rows of some components as arrays, by item and candidate."""

    def __init__(
        self, data: RunData, components: tuple[Component, ...], controls: Sequence[str]
    ) -> None:
        self.data = data
        self.con: duckdb.DuckDBPyConnection = data.con
        self.counts = np.array(
            self.con.execute(
                "SELECT coalesce(len(options), 0) FROM items "
                "WHERE item IN (SELECT item FROM places) ORDER BY item"
            ).fetchall(),
            dtype=np.int64,
        ).reshape(-1)
        """Options of each item, 0 for open questions, shape (items,)."""
        self.options = int(self.counts.max(initial=0))
        self.con.execute(_CANDIDATES, {"names": list(components)})
        rows = self.con.execute(
            "SELECT component, source, target FROM candidates ORDER BY number"
        ).fetchall()
        self.pairs = tuple(TransplantSpec(check_component(c), s, t) for c, s, t in rows)
        self.columns = self._columns()
        chosen = [f"{value} AS {name}" for name, value in self.columns.items()]
        # To sort texts takes long, and where all questions have options there is no need.
        of_texts, texts = "", ""
        if (self.counts == 0).any():
            data.fold_outputs()
            of_texts, texts = _OPEN, "LEFT JOIN texts t ON t.output = r.output"
        query = _ANSWERS.format(columns=", ".join(chosen), open=of_texts, texts=texts)
        self.con.execute(query, {"controls": list(controls)})

    @property
    def strata(self) -> list[str]:
        """Strata of the shuffled control that the candidates have rows of."""
        rows = self.con.execute(
            "SELECT DISTINCT stratum FROM selectable WHERE control = 'shuffled'"
        ).fetchall()
        return [name for name in STRATA if (name,) in rows]

    def true(self) -> tuple[Candidates, Labels]:
        """All items with their true transplants."""
        items = self.data.items
        shape = (len(items.ids), len(self.pairs))
        steps, ran, labels = self._block("control = 'none'", shape)
        seen = Candidates(
            ids=tuple(items.ids),
            lang=items.lang,
            cluster=items.cluster,
            split=items.split,
            pairs=self.pairs,
            n_layers=self.data.n_layers,
            vanilla=self._block("control = 'vanilla'", shape[:1])[0],
            steps=steps,
            aux=self._block("control = 'translate_test'", shape[:1])[0],
            ran=ran,
            attribution=self._attribution(shape),
        )
        return seen, self._beside(labels)

    def control(
        self, seen: Candidates, name: str, stratum: str | None = None
    ) -> tuple[Candidates, Labels]:
        """The same items with the vectors of a control, or of one stratum's donors."""
        where = f"control = '{name}' AND stratum IS NOT DISTINCT FROM "
        where += "NULL" if stratum is None else f"'{stratum}'"
        steps, ran, labels = self._block(where, seen.ran.shape)
        if name == "self":
            ran = ran | self._identities(seen, steps, labels)
        return replace(seen, steps=steps, ran=ran), self._beside(labels)

    def _identities(self, seen: Candidates, steps: Steps, labels: Labels) -> Mask:
        """Give pairs at which the prompt's own vector changes nothing the unmodified answer."""
        same = [p.source == p.target and p.component in IDENTITY_COMPONENTS for p in seen.pairs]
        there = np.asarray(np.array(same, dtype=np.bool_) & seen.ran)
        place = np.nonzero(there)
        for values, plain in zip(steps, seen.vanilla, strict=True):
            values[place] = plain[place[0]]
        labels.correct[place] = self.data.items.vanilla[place[0]]
        return there

    def _beside(self, labels: Labels) -> Labels:
        """The same with what is right of the answers without a transplant."""
        items = self.data.items
        return replace(labels, vanilla=items.vanilla, aux=items.translate_test)

    def _columns(self) -> dict[str, str]:
        """Numbers that are kept of each row; runs of older versions lack some of them."""
        kept = {"correct": "r.correct::FLOAT", "gold_logprob": "r.gold_logprob"}
        kept |= {name: f"r.first_{name}" for name in _FIRST if f"first_{name}" in self.data.columns}
        # Of the whole option, where it was scored.
        scored = "option_scores" in self.data.columns
        values = "coalesce(r.option_scores, r.option_logprobs)" if scored else "r.option_logprobs"
        return kept | {f"option_{k}": f"{values}[{k + 1}]" for k in range(self.options)}

    def _block(self, where: str, shape: tuple[int, ...]) -> tuple[Steps, Mask, Labels]:
        """Rows of one kind, put in their places in arrays of the given leading shape."""
        rows = self.con.execute(
            f"SELECT place, number, answer, {', '.join(self.columns)} FROM selectable WHERE {where}"
        ).fetchnumpy()
        at, kept = self._at(rows, shape)

        def put(name: str) -> Floats:
            values = np.full(shape, np.nan)
            if name in rows:
                values[at] = _plain(rows[name])[kept]
            return values

        answer = np.full(shape, -1, dtype=np.int64)
        answer[at] = _plain(rows["answer"])[kept].astype(np.int64)
        ran = np.zeros(shape, dtype=np.bool_)
        ran[at] = True
        logits = np.empty((*shape, self.options))
        for k in range(self.options):
            logits[..., k] = put(f"option_{k}")
        steps = Steps(
            options=shares(logits, self.counts),
            logprob=put("logprob"),
            entropy=put("entropy"),
            margin=put("margin"),
            answer=answer,
        )
        return steps, ran, Labels(put("correct"), np.empty(0), put("gold_logprob"), np.empty(0))

    def _at(
        self, rows: Mapping[str, Any], shape: tuple[int, ...]
    ) -> tuple[tuple[NDArray[Any], ...], Mask]:
        """Where each row goes, and which rows belong to a candidate at all."""
        places = np.asarray(rows["place"])
        if len(shape) == 1:
            return (places,), np.ones(len(places), dtype=np.bool_)
        columns: Places = np.ma.filled(rows["number"], -1).astype(np.int64)
        kept = columns >= 0
        return (places[kept], columns[kept]), kept

    def _attribution(self, shape: tuple[int, ...]) -> Floats | None:
        table = self.data.reader.attribution()
        if table is None:
            return None
        self.con.register("attribution_scores", table)
        rows = self.con.execute(
            "SELECT p.place, c.number, a.score FROM attribution_scores a "
            "JOIN places p USING (item) JOIN candidates c "
            "ON c.component = a.component AND c.source = a.source AND c.target = a.target"
        ).fetchnumpy()
        at, kept = self._at(rows, shape)
        scores = np.full(shape, np.nan)
        scores[at] = _plain(rows["score"])[kept]
        return scores


def solved_by_controls(data: RunData, components: Sequence[Component]) -> dict[str, Floats]:
    """Which questions each control solves with any pair, out of those run as true transplants.

    Args:
        data: the run.
        components: what is transplanted.

    Returns:
        By control, shape (items,): 1 or 0; NaN where not all of the pairs were run. Controls that
        cover no question are left out.
    """
    by_control = {}
    for control in CONTROLS:
        solved, covered = np.zeros(len(data.items.ids), bool), np.ones(len(data.items.ids), bool)
        for component in components:
            wanted = ~np.isnan(data.true_cube(component))
            # Whatever the stratum: arrays of shape (items, N, N).
            hit, ran = np.zeros_like(wanted), np.zeros_like(wanted)
            for arm in data.controls_of(component):
                if arm.control == control:
                    cube = bounds.with_identities(data, arm)
                    hit |= cube == 1
                    ran |= ~np.isnan(cube)
            solved |= solved_by_any(np.where(wanted, hit, np.nan), (1, 2)) == 1
            covered &= (ran | ~wanted).all(axis=(1, 2))
        if covered.any():
            by_control[control] = np.where(covered, solved.astype(np.float64), np.nan)
    return by_control


def shares(logprobs: Floats, counts: NDArray[Any]) -> Floats:
    """Log-probabilities of options as shares that add up to 1.

    Args:
        logprobs: shape (items, ..., M); NaN = not known, or past the item's last option.
        counts: options of each item, shape (items,); 0 = an open question.

    Returns:
        The same shape; NaN wherever the log-probability of one of the item's options is not known.
    """
    if not logprobs.shape[-1]:
        return logprobs
    known = ~np.isnan(logprobs) & (logprobs < np.inf)
    all_of_them = counts.reshape(-1, *[1] * (logprobs.ndim - 1))
    usable = (known.sum(axis=-1, keepdims=True) == all_of_them) & (all_of_them > 0)
    filled = np.where(known, logprobs, -np.inf)
    top = filled.max(axis=-1, keepdims=True)
    weight = np.exp(filled - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=-1, keepdims=True)
    usable &= total > 0
    found: Floats = np.where(usable & known, weight / np.where(total > 0, total, 1.0), np.nan)
    return found


def _plain(values: Any) -> NDArray[Any]:
    """A column without its mask; what is missing is NaN."""
    if isinstance(values, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    return np.asarray(values)
