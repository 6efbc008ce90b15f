"""Lens (arXiv 2410.04407): language subspaces, training that uses them, steering, evaluation.

    space = xl.lens.probe(model, {"en": texts, "sw": texts})
    tuned = xl.lens.train(model, space, parallel, central="en")

Names are imported when first used: reading a space takes no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.core.subspace import Subspace, fit_means, fit_subspaces
    from crosslatent.lens.evaluation.conditions import (
        Combined,
        Steered,
        Transplanted,
        Tuned,
        Unmodified,
    )
    from crosslatent.lens.evaluation.results import Evaluation
    from crosslatent.lens.evaluation.run import evaluate
    from crosslatent.lens.probing.run import probe
    from crosslatent.lens.space import Space, load_space
    from crosslatent.lens.steer import Steering, steered
    from crosslatent.lens.training.run import Trained, train, train_answers
    from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec

__all__ = [
    "Combined",
    "Evaluation",
    "LoraSpec",
    "Space",
    "Steered",
    "Steering",
    "Subspace",
    "TrainSpec",
    "Trained",
    "Transplanted",
    "Tuned",
    "Unmodified",
    "evaluate",
    "fit_means",
    "fit_subspaces",
    "load_space",
    "probe",
    "steered",
    "train",
    "train_answers",
]

_HOMES = {
    "Combined": "lens.evaluation.conditions",
    "Evaluation": "lens.evaluation.results",
    "LoraSpec": "lens.training.train_spec",
    "Space": "lens.space",
    "Steered": "lens.evaluation.conditions",
    "Steering": "lens.steer",
    "Subspace": "core.subspace",
    "TrainSpec": "lens.training.train_spec",
    "Trained": "lens.training.run",
    "Transplanted": "lens.evaluation.conditions",
    "Tuned": "lens.evaluation.conditions",
    "Unmodified": "lens.evaluation.conditions",
    "evaluate": "lens.evaluation.run",
    "fit_means": "core.subspace",
    "fit_subspaces": "core.subspace",
    "load_space": "lens.space",
    "probe": "lens.probing.run",
    "steered": "lens.steer",
    "train": "lens.training.run",
    "train_answers": "lens.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"crosslatent.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
