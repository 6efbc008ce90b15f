"""What `improve` would decide on stored rows: `python -m scripts.replay_improve RUN [--help]`.

Some of a run's questions are drawn, divided, chosen on and tested on, once for each seed. The run
needs every pair and the controls shuffled, noise and self on all questions, so that no model is
asked anything. On a run in which nothing is to be found, this counts false findings.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from crosslatent.analysis.data import RunData
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.crossfit import choose
from crosslatent.selectors.division import divide
from crosslatent.selectors.findings import Finding, judge
from crosslatent.selectors.table import SelectorTable, read_table


def decided(table: SelectorTable, places: np.ndarray, seed: int) -> Finding:
    """The finding of some of a run's questions, as if they had come without splits.

    Args:
        table: of the run, with all controls.
        places: of the questions.
        seed: of the division and of intervals.
    """
    ids = [table.seen.ids[place] for place in places]
    clusters = [str(table.seen.cluster[place]) for place in places]
    division = divide(ids, clusters, [""] * len(ids), seed=seed)
    return judge(choose(table, division, seed=seed), table, seed=seed)


def main() -> None:
    """Count verdicts and recommendations."""
    parser = argparse.ArgumentParser(prog="python -m scripts.replay_improve", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--questions", default="30,60,90", help="how many are drawn")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--stratum", help="NAME=VALUE: draw from these alone")
    args = parser.parse_args()
    data = RunData(RunReader(args.run))
    table = read_table(data, others=True)
    usable = table.usable
    if args.stratum:
        name, _, value = args.stratum.partition("=")
        usable = usable & np.array([one.get(name) == value for one in data.items.strata])
    known = np.flatnonzero(usable)
    shares = (np.nanmean(side[known]) for side in (table.labels.vanilla, table.labels.aux))
    print(len(known), "questions; right unmodified and as aux:", *(f"{s:.3f}" for s in shares))
    for number in map(int, args.questions.split(",")):
        verdicts, recommended = Counter[str](), Counter[str]()
        for seed in range(args.seeds):
            drawn = np.random.default_rng(1000 + seed)
            places = np.sort(drawn.choice(known, size=min(number, len(known)), replace=False))
            found = decided(table, places, seed)
            verdicts[found.verdict] += 1
            recommended[found.recommended or "nothing"] += 1
        print(number, dict(verdicts.most_common()), dict(recommended.most_common()), flush=True)


if __name__ == "__main__":
    main()
