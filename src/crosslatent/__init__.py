"""crosslatent: carry activations across languages inside a language model, and measure the effect.

    import crosslatent as xl

    model = xl.load("path-or-hub-name")
    one = xl.transplant(model, main=..., aux=..., component="ffn", source=0, target=0)

Names are imported when first used, so that ``import crosslatent`` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosslatent.core import __version__
from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent import lens
    from crosslatent.analysis.comparison import Comparison
    from crosslatent.analysis.culture.measure import Measure, register_measure
    from crosslatent.api import Run, compare_runs, sweep
    from crosslatent.api.choosers import Chooser, load_chooser
    from crosslatent.api.transplants import TransplantResult, transplant
    from crosslatent.contracts import Outcome, check
    from crosslatent.core.errors import CrosslatentError
    from crosslatent.interventions.activations import capture
    from crosslatent.interventions.intervention import (
        ALL,
        LAST,
        PROMPT,
        Intervention,
        Tokens,
        register_intervention,
    )
    from crosslatent.interventions.kinds.ablate import Ablate
    from crosslatent.interventions.kinds.steer import Steer
    from crosslatent.interventions.kinds.transplant import Transplant
    from crosslatent.interventions.patched import intervened, patched
    from crosslatent.model import Model, load, shipped_model, wrap
    from crosslatent.report.figure import register_figure
    from crosslatent.selectors import Selector, register_selector
    from crosslatent.studies import (
        CultureCard,
        Improvement,
        MethodComparison,
        Overhead,
        compare,
        culture,
        improve,
        overhead,
    )
    from crosslatent.sweeps.control import Control, register_control
    from crosslatent.tasks import Item, Task, Verdict, load_prompts, load_task
    from crosslatent.tasks.metrics import register_metric
    from crosslatent.tasks.rules import register_rule

__all__ = [
    "ALL", "LAST", "PROMPT", "Ablate", "Chooser", "Comparison", "Control", "CrosslatentError",
    "CultureCard", "Improvement", "Intervention", "Item", "Measure", "MethodComparison", "Model",
    "Outcome", "Overhead", "Run", "Selector", "Steer", "Task", "Tokens", "Transplant",
    "TransplantResult", "Verdict", "__version__", "capture", "check", "compare", "compare_runs",
    "culture", "improve", "intervened", "lens", "load", "load_chooser", "load_prompts",
    "load_task", "overhead", "patched", "register_control", "register_figure",
    "register_intervention", "register_measure", "register_metric", "register_rule",
    "register_selector", "shipped_model", "sweep", "transplant", "wrap",
]  # fmt: skip

_get, __dir__ = lazily(
    __name__,
    {
        "analysis.comparison": ("Comparison",),
        "analysis.culture.measure": ("Measure", "register_measure"),
        "api": ("Run", "compare_runs", "sweep"),
        "api.choosers": ("Chooser", "load_chooser"),
        "api.transplants": ("TransplantResult", "transplant"),
        "contracts": ("Outcome", "check"),
        "core.errors": ("CrosslatentError",),
        "interventions.activations": ("capture",),
        "interventions.intervention": (
            "ALL",
            "LAST",
            "PROMPT",
            "Intervention",
            "Tokens",
            "register_intervention",
        ),
        "interventions.kinds.ablate": ("Ablate",),
        "interventions.kinds.steer": ("Steer",),
        "interventions.kinds.transplant": ("Transplant",),
        "interventions.patched": ("intervened", "patched"),
        "model": ("Model", "load", "shipped_model", "wrap"),
        "report.figure": ("register_figure",),
        "selectors": ("Selector", "register_selector"),
        "studies": (
            "CultureCard",
            "Improvement",
            "MethodComparison",
            "Overhead",
            "compare",
            "culture",
            "improve",
            "overhead",
        ),
        "sweeps.control": ("Control", "register_control"),
        "tasks": ("Item", "Task", "Verdict", "load_prompts", "load_task"),
        "tasks.metrics": ("register_metric",),
        "tasks.rules": ("register_rule",),
    },
)


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.lens") if name == "lens" else _get(name)
