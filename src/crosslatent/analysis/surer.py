"""The surer of both prompts: no transplant, but main and aux both answered, and one answer kept.

Kept is the answer to which the model gives the higher probability: of the option that it names,
among the options; of an open answer, of its first token, which is all that a run folder knows of it
(docs/methods.md 1.4). Where a fact is known in at least one of the two languages, this alone can be
right nearly always, so a claim has to be seen beside it.
"""

from __future__ import annotations

import numpy as np

from crosslatent.analysis.data import Mask, RunData
from crosslatent.stats import Floats


def certainties(data: RunData) -> tuple[Floats, Floats]:
    """Of the answers to main and to aux, how likely each was, from 0 to 1, shape (items,) each.

    An output that names no option has 0, and what is not known is NaN.
    """
    there = {name for name, *_ in data.con.execute("DESCRIBE rows").fetchall()}
    scored = [name for name in ("option_scores", "option_logprobs") if name in there]
    first = "r.first_logprob" if "first_logprob" in there else "NULL"
    rows = data.con.execute(
        f"""
        SELECT p.place, r.control, len(i.options),
               coalesce(list_position(i.options, r.prediction), 0) - 1,
               coalesce({", ".join(f"r.{name}" for name in scored) or "NULL"}), {first}
        FROM rows r JOIN items i USING (item) JOIN places p USING (item)
        WHERE r.control IN ('vanilla', 'translate_test')
        """
    ).fetchall()
    found = {name: np.full(len(data.items.ids), np.nan) for name in ("vanilla", "translate_test")}
    for place, control, options, named, logprobs, start in rows:
        found[control][place] = _certainty(options, named, logprobs, start)
    return found["vanilla"], found["translate_test"]


def _certainty(
    options: int | None, named: int, logprobs: list[float | None] | None, start: float | None
) -> float:
    if options is None:
        return np.nan if start is None else float(np.exp(start))
    values = np.array(logprobs if logprobs else [np.nan], dtype=np.float64)
    if np.isnan(values).any() or not np.isfinite(values.max()):
        return np.nan
    weights = np.exp(values - values.max())
    return float(weights[named] / weights.sum()) if named >= 0 else 0.0


def surer(data: RunData, least: float = 0.0) -> Floats:
    """Right or wrong of keeping the surer answer, shape (items,); NaN where one is not known.

    Args:
        data: the run.
        least: the answer to aux is kept if it is the surer one by more than this.
    """
    main, aux = certainties(data)
    items = data.items
    right = np.where(aux - main > least, items.translate_test, items.vanilla)
    return np.where(np.isnan(main + aux + items.translate_test + items.vanilla), np.nan, right)


def best_margin(data: RunData, mask: Mask) -> float | None:
    """The `least` of `surer` that is right most often on the questions in `mask`.

    Of those that are right equally often, the one next to 0. None if no question has both answers.
    """
    main, aux = certainties(data)
    mask = mask & ~np.isnan(surer(data))
    if not mask.any():
        return None
    gaps = np.unique((aux - main)[mask])
    # Between two neighbours, and beyond both ends: certainties differ by 1 at most.
    margins = [-2.0, *((gaps[1:] + gaps[:-1]) / 2).tolist(), 2.0, 0.0]
    best: float = max(margins, key=lambda one: (float(surer(data, one)[mask].mean()), -abs(one)))
    return best
