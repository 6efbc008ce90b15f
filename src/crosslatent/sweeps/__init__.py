"""Sweeps over layer pairs: planned (`plan`), asked (`work`), run and stored (`sweep_run`).

Names are imported when first used: the settings (`spec`) need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.sweeps.bookkeeping import Progress
    from crosslatent.sweeps.plan import SweepPlan, plan_sweep
    from crosslatent.sweeps.spec import SweepSpec
    from crosslatent.sweeps.sweep_run import SweepOutcome, run_sweep

__all__ = ["Progress", "SweepOutcome", "SweepPlan", "SweepSpec", "plan_sweep", "run_sweep"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "bookkeeping": ("Progress",),
        "plan": ("SweepPlan", "plan_sweep"),
        "spec": ("SweepSpec",),
        "sweep_run": ("SweepOutcome", "run_sweep"),
    },
)
