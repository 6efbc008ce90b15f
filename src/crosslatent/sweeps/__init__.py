"""Sweeps over layer pairs: planned (`plan`), asked (`questions`), run and stored (`run`)."""

from crosslatent.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from crosslatent.sweeps.progress import Progress
from crosslatent.sweeps.run import SweepOutcome, run_sweep

__all__ = [
    "Progress",
    "SweepOutcome",
    "SweepPlan",
    "SweepSpec",
    "plan_sweep",
    "run_sweep",
]
