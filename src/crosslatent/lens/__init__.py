"""Lens (arXiv 2410.04407): language subspaces, training that uses them, steering, evaluation.

    space = xl.lens.probe(model, {"en": texts, "sw": texts})
    tuned = xl.lens.train(model, space, parallel, central="en")

Names are imported when first used: reading a space takes no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.core.subspace import Subspace, fit_means, fit_subspaces
    from crosslatent.lens.evaluation.evaluated_conditions import (
        Combined,
        Steered,
        Transplanted,
        Tuned,
        Unmodified,
    )
    from crosslatent.lens.evaluation.evaluating import evaluate
    from crosslatent.lens.evaluation.evaluation_record import Evaluation
    from crosslatent.lens.probing import probe
    from crosslatent.lens.space import Space, load_space
    from crosslatent.lens.steering import Steering, steered
    from crosslatent.lens.training.answer_objective import train_answers
    from crosslatent.lens.training.execution import Trained
    from crosslatent.lens.training.lens_objective import train
    from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec

__all__ = [
    "Combined", "Evaluation", "LoraSpec", "Space", "Steered", "Steering", "Subspace", "TrainSpec",
    "Trained", "Transplanted", "Tuned", "Unmodified", "evaluate", "fit_means", "fit_subspaces",
    "load_space", "probe", "steered", "train", "train_answers",
]  # fmt: skip

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".core.subspace": ("Subspace", "fit_means", "fit_subspaces"),
        "evaluation.evaluated_conditions": (
            "Combined", "Steered", "Transplanted", "Tuned", "Unmodified",
        ),
        "evaluation.evaluating": ("evaluate",),
        "evaluation.evaluation_record": ("Evaluation",),
        "probing": ("probe",),
        "space": ("Space", "load_space"),
        "steering": ("Steering", "steered"),
        "training.answer_objective": ("train_answers",),
        "training.execution": ("Trained",),
        "training.lens_objective": ("train",),
        "training.train_spec": ("LoraSpec", "TrainSpec"),
    },
)  # fmt: skip
