"""Sweeps over layer pairs: planned (`plan`), asked (`work`), run and stored (`sweep_run`).

Names are imported when first used: the settings (`spec`) need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.sweeps.bookkeeping import Progress
    from crosslatent.sweeps.plan import SweepPlan, plan_sweep
    from crosslatent.sweeps.spec import SweepSpec
    from crosslatent.sweeps.sweep_run import SweepOutcome, run_sweep

_HOMES = {
    "Progress": "bookkeeping",
    "SweepOutcome": "sweep_run",
    "SweepPlan": "plan",
    "SweepSpec": "spec",
    "plan_sweep": "plan",
    "run_sweep": "sweep_run",
}
__all__ = ["Progress", "SweepOutcome", "SweepPlan", "SweepSpec", "plan_sweep", "run_sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
