"""Sweeps over layer pairs: planned (`plan`), described (`manifest`), run and stored (`run`)."""

from crosslatent.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from crosslatent.sweeps.run import EngineName, Progress, SweepOutcome, run_sweep

__all__ = [
    "EngineName",
    "Progress",
    "SweepOutcome",
    "SweepPlan",
    "SweepSpec",
    "plan_sweep",
    "run_sweep",
]
