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
    from crosslatent.interventions.patched import patched
    from crosslatent.model import Model, load, wrap
    from crosslatent.tasks import Item, Task, load_prompts, load_task

__all__ = [
    "CrosslatentError",
    "Item",
    "Model",
    "Outcome",
    "Run",
    "Task",
    "TransplantResult",
    "__version__",
    "capture",
    "check",
    "lens",
    "load",
    "load_prompts",
    "load_task",
    "patched",
    "sweep",
    "transplant",
    "wrap",
]

_HOMES = {
    "CrosslatentError": "core.errors",
    "Item": "tasks",
    "Model": "model",
    "Outcome": "contracts",
    "Run": "api",
    "Task": "tasks",
    "TransplantResult": "api",
    "capture": "interventions.activations",
    "check": "contracts",
    "load": "model",
    "load_prompts": "tasks",
    "load_task": "tasks",
    "patched": "interventions.patched",
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
