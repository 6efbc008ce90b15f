"""The transplant study of a trained model, with the package itself.

On the splits `pilot` and `unseen`; `final` is not opened here: the recipe was tuned on what this
module prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslatent.analysis.items import ALL
from crosslatent.analysis.picked import PairTest
from crosslatent.analysis.run_summary import RunSummary, summarise_run
from crosslatent.core.specs import CONTROLS, Component
from crosslatent.demo import SPEC
from crosslatent.model import load
from crosslatent.runs.reader import RunReader
from crosslatent.selectors.base import ALL as EVERY_SELECTOR
from crosslatent.selectors.base import selectors_of
from crosslatent.selectors.evaluating import evaluate_run
from crosslatent.selectors.selector_results import SelectorEvaluation
from crosslatent.stats import Estimate
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Task
from recipes.demo_model.tasks import OPTION_TOKENS

TUNE, TEST = "pilot", "unseen"
COMPONENTS: tuple[Component, ...] = ("attn", "ffn", "block")


def transplant_study(folder: Path, task: Task, runs: Path) -> dict[str, Any]:
    """Sweep `task` into `runs`, pick a pair on pilot, test it, controls and selectors on unseen.

    Names as answers go without controls: they take seven times the tokens.
    """
    model = load(str(folder), device="cpu", dtype="float32")
    spec: SweepSpec = {
        **SPEC,
        "attribution": True,
        "samples": 9,
        "component": COMPONENTS,
        "controls": CONTROLS if task.max_new_tokens == OPTION_TOKENS else (),
        "control_splits": (TEST,),
    }
    outcome = run_sweep(model, task.select(splits=(TUNE, TEST)), spec, runs / task.name)
    return digest(RunReader(outcome.path))


def digest(run: RunReader, test: str = TEST) -> dict[str, Any]:
    """The figures that the recipe's README reports."""
    summary = summarise_run(run, tune=TUNE)
    selectors = selectors_of(EVERY_SELECTOR)
    found: dict[str, Any] = {
        "items": summary.coverage.items_by_split,
        "accuracy": {
            f"{row.name} {row.split} {row.lang}": _estimate(row.accuracy)
            for row in summary.accuracy
        },
    }
    for pick in summary.picked:
        if pick.pooling != "pooled":
            continue
        choice, component = pick.choices[ALL], pick.component
        evaluation, _ = evaluate_run(run, selectors, tune=TUNE, test=test, components=(component,))
        found[component] = {
            "pair": f"{choice.source}->{choice.target}",
            test: {t.lang: _test(t) for t in pick.tests if t.split == test},
            "upper bound": _bounds(summary, component),
            **_choosing(evaluation),
        }
    return found


def _bounds(summary: RunSummary, component: Component) -> dict[str, Any]:
    bounds = {
        f"{bound.control} {bound.stratum or ''}".strip(): {
            "true": _estimate(bound.overall.true),
            "control": _estimate(bound.overall.control),
            "difference": _estimate(bound.overall.difference),
        }
        for bound in summary.bounds_versus
        if bound.component == component
    }
    over = [one for one in summary.over_controls if one.component == component]
    strongest = {one.strongest.control: _estimate(one.strongest.difference) for one in over}
    return {**bounds, "over the strongest": strongest}


def _choosing(evaluation: SelectorEvaluation) -> dict[str, Any]:
    return {
        "ways": {
            way.name: {
                "accuracy": _estimate(way.accuracy),
                "gain": _estimate(way.gain),
                "strict room": way.strict_room and _estimate(way.strict_room),
            }
            for way in evaluation.baselines
        },
        "selectors": {
            one.name: {
                "accuracy": _estimate(one.accuracy),
                "gain": _estimate(one.gain),
                "over the pair": one.versus_pilot and _estimate(one.versus_pilot),
                "p, corrected": one.p_holm,
                "strict room": one.strict_room and _estimate(one.strict_room),
                "left alone": _estimate(one.abstained),
                "cost": one.cost,
            }
            for one in evaluation.selectors
        },
    }


def _test(test: PairTest) -> dict[str, Any]:
    """The picked pair on one language of the tested split."""
    return {
        "vanilla": _estimate(test.vanilla),
        "transplant": _estimate(test.transplant),
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
            f"{stratum.name} {stratum.value}": {
                "vanilla": _estimate(stratum.vanilla),
                "gain": _estimate(stratum.gain),
            }
            for stratum in test.strata
        },
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """Value, 95 % interval (clustered by fact) and n, rounded to a tenth of a point."""
    rounded = [
        None if x is None else round(x, 3) for x in (estimate.value, estimate.low, estimate.high)
    ]
    return {"value": rounded[0], "interval": rounded[1:], "n": estimate.n}
