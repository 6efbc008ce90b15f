"""The baseline of the same cost: sample the model several times and take the majority.

Reads ``samples/`` of a run folder: item, number, output, prediction, correct.
"""

from __future__ import annotations

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.analysis.items import keep_folded
from crosslatent.stats import Floats

# An answer is the option it names, or its text; ties go to the answer that was sampled first.
_MAJORITY = """
WITH drawn AS (
    SELECT s.item, s.correct,
           CASE WHEN i.options IS NULL THEN t.folded ELSE s.prediction END AS answer,
           row_number() OVER (PARTITION BY s.item ORDER BY s.number) AS place
    FROM sampled s JOIN items i USING (item) LEFT JOIN drawn_texts t ON t.output = s.output
), tallied AS (
    SELECT item, answer, count(answer) AS votes, min(place) AS first,
           arg_min(correct, place)::DOUBLE AS correct
    FROM drawn WHERE place <= {most} GROUP BY item, answer
)
SELECT item, arg_min(correct, -votes * 1000000 + first) FROM tallied GROUP BY item
"""


def sampled_majorities(data: RunData, *, within: int) -> dict[int, Floats]:
    """Majority votes of samples, by how many: as many as there are, and `within` of them.

    Args:
        data: the run folder.
        within: the number of samples that has the cost to compare with.

    Returns:
        Number of samples -> right or wrong of each item, shape (items,), NaN = no samples. Empty if
        the run has none.

    Raises:
        RunFolderError: they cannot be read.
    """
    table = data.reader.samples()
    if table is None:
        return {}
    data.con.register("sampled", table)
    keep_folded(data.con, "drawn_texts", "sampled")
    found = data.con.execute(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM sampled GROUP BY item)"
    ).fetchone()
    most = int(found[0] or 0) if found else 0
    return {number: _majority(data, number) for number in sorted({min(within, most), most} - {0})}


def _majority(data: RunData, most: int) -> Floats:
    rows = data.con.execute(_MAJORITY.format(most=most)).fetchall()
    right = {item: correct for item, correct in rows if correct is not None}
    return np.array([right.get(item, np.nan) for item in data.items.ids])
