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

if TYPE_CHECKING:
    from crosslatent import lens
    from crosslatent.api import Run, TransplantResult, sweep, transplant
    from crosslatent.contracts import Outcome, check
    from crosslatent.core.errors import CrosslatentError
    from crosslatent.interventions.activations import capture
    from crosslatent.interventions.intervention import ALL, LAST, PROMPT, Intervention, Tokens
    from crosslatent.interventions.kinds import Ablate, Steer, Transplant, register_intervention
    from crosslatent.interventions.patched import intervened, patched
    from crosslatent.model import Model, load, wrap
    from crosslatent.selectors import Selector, register_selector
    from crosslatent.sweeps.control import Control, register_control
    from crosslatent.tasks import Item, Task, Verdict, load_prompts, load_task
    from crosslatent.tasks.metrics import register_metric
    from crosslatent.tasks.rules import register_rule

__all__ = [
    "ALL",
    "LAST",
    "PROMPT",
    "Ablate",
    "Control",
    "CrosslatentError",
    "Intervention",
    "Item",
    "Model",
    "Outcome",
    "Run",
    "Selector",
    "Steer",
    "Task",
    "Tokens",
    "Transplant",
    "TransplantResult",
    "Verdict",
    "__version__",
    "capture",
    "check",
    "intervened",
    "lens",
    "load",
    "load_prompts",
    "load_task",
    "patched",
    "register_control",
    "register_intervention",
    "register_metric",
    "register_rule",
    "register_selector",
    "sweep",
    "transplant",
    "wrap",
]

_HOMES = {
    "ALL": "interventions.intervention",
    "Ablate": "interventions.kinds",
    "Control": "sweeps.control",
    "CrosslatentError": "core.errors",
    "Intervention": "interventions.intervention",
    "Item": "tasks",
    "LAST": "interventions.intervention",
    "Model": "model",
    "Outcome": "contracts",
    "PROMPT": "interventions.intervention",
    "Run": "api",
    "Selector": "selectors",
    "Steer": "interventions.kinds",
    "Task": "tasks",
    "Tokens": "interventions.intervention",
    "Transplant": "interventions.kinds",
    "TransplantResult": "api",
    "Verdict": "tasks",
    "capture": "interventions.activations",
    "check": "contracts",
    "intervened": "interventions.patched",
    "load": "model",
    "load_prompts": "tasks",
    "load_task": "tasks",
    "patched": "interventions.patched",
    "register_control": "sweeps.control",
    "register_intervention": "interventions.kinds",
    "register_metric": "tasks.metrics",
    "register_rule": "tasks.rules",
    "register_selector": "selectors",
    "sweep": "api",
    "transplant": "api",
    "wrap": "model",
}


def __getattr__(name: str) -> Any:
    if name == "lens":
        return import_module(f"{__name__}.lens")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
