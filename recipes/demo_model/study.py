"""The transplant study of a trained model, with the package itself: pilot and unseen splits only.

The final split is not opened here: the recipe was tuned on what this module prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import PairTest
from crosslatent.analysis.run_summary import RunSummary, summarise_run
from crosslatent.core.specs import CONTROLS
from crosslatent.model import load
from crosslatent.runs.reader import RunReader
from crosslatent.stats import Estimate
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Task

TUNE, TEST = "pilot", "unseen"
COMPONENTS = ("ffn", "attn")


def transplant_study(folder: Path, task: Task, runs: Path) -> dict[str, Any]:
    """Sweep `task` into `runs`, pick a pair on pilot, test it and every control on unseen.

    Open answers go without controls: they take seven times the tokens and gain little.
    """
    model = load(str(folder), device="cpu", dtype="float32")
    controls = CONTROLS if task.rule == "option" else ()
    spec = SweepSpec(component=COMPONENTS, controls=controls, control_splits=(TEST,))
    outcome = run_sweep(model, task.select(splits=(TUNE, TEST)), spec, runs / task.name)
    return digest(summarise_run(RunReader(outcome.path), tune=TUNE))


def digest(summary: RunSummary) -> dict[str, Any]:
    """The figures that the recipe's README reports."""
    found: dict[str, Any] = {
        "items": summary.coverage.items_by_split,
        "accuracy": {
            f"{row.name} {row.split} {row.lang}": _estimate(row.accuracy)
            for row in summary.accuracy
        },
        "upper bound": {
            f"{bound.component} {bound.control} {bound.stratum or ''}".strip(): {
                "true": _estimate(bound.overall.true),
                "control": _estimate(bound.overall.control),
                "difference": _estimate(bound.overall.difference),
            }
            for bound in summary.bounds_versus
        },
        "follows a donor with another answer": {
            f"{follow.component} {follow.pair}": _estimate(follow.share)
            for follow in summary.follow
            if follow.pair is not None
        },
    }
    for pick in summary.picked:
        if pick.pooling == "pooled":
            choice = pick.choices[ALL]
            found[pick.component] = {
                "pair": f"{choice.source}->{choice.target}",
                "unseen": {t.lang: _test(t) for t in pick.tests if t.split == TEST},
            }
    return found


def _test(test: PairTest) -> dict[str, Any]:
    """The picked pair on one language of the unseen split."""
    return {
        "vanilla": _estimate(test.vanilla),
        "gain": _estimate(test.gain),
        "repaired": test.repaired,
        "broken": test.broken,
        "controls": {
            f"{control.control} {control.stratum or ''}".strip(): {
                "gain": _estimate(control.gain),
                "true minus control": _estimate(control.difference),
            }
            for control in test.controls
        },
        "strata": {
            f"{stratum.name} {stratum.value}": _estimate(stratum.gain) for stratum in test.strata
        },
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """Value, 95 % interval (clustered by fact) and n, rounded to a tenth of a point."""
    rounded = [
        None if x is None else round(x, 3) for x in (estimate.value, estimate.low, estimate.high)
    ]
    return {"value": rounded[0], "interval": rounded[1:], "n": estimate.n}
