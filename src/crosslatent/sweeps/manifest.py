"""The content of run.json: what a run was made from, so that it can be repeated and resumed."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from crosslatent.core import __version__, repeats
from crosslatent.core.specs import Chat
from crosslatent.model import Model
from crosslatent.sweeps.plan import SweepPlan

_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Environment variables that decide how products of matrices round."""

_SOFTWARE = ("torch", "transformers", "tokenizers", "pyarrow")


def build_manifest(
    plan: SweepPlan,
    requested: dict[str, Any] | None = None,
    headline: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Plain data for run.json.

    Args:
        plan: the sweep; its model, task and resolved arguments must be equal for a run to be
            resumed.
        requested: the arguments as the user gave them.
        headline: a comparison declared before any row exists.
    """
    model, task = plan.model, plan.task
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "versions": {
            "crosslatent": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _SOFTWARE},
        },
        "environment": environment_of(model),
        "model": {
            "name": model.name,
            **model.identity_now,
            "n_layers": model.n_layers,
            "d_model": model.d_model,
        },
        "task": {
            "name": task.name,
            "title": task.title,
            "description": task.description,
            "direction": task.direction,
            "type": task.type,
            "rule": plan.rule,
            "metric": task.metric,
            "hash": task.hash,
            "repeats": repeats.notes(task.items),
        },
        "spec": plan.to_dict(),
        "inputs": {
            "prompts": plan.tokens.hash,
            "ends": sorted(model.eos_ids),
            "modules": dict(model.modules or {}),
            "clock": plan.chat.now if isinstance(plan.chat, Chat) else None,
        },
        "requested": requested or {},
        "headline": headline,
    }


def environment_of(model: Model) -> dict[str, str]:
    """Where a model runs and how its sums round, which may decide a near-tie."""
    return {
        "device": ", ".join(sorted({device.type for device in model.devices})),
        "attention": str(getattr(model.hf.config, "_attn_implementation", None)),
        "matmul_precision": torch.get_float32_matmul_precision(),
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def command_line() -> str:
    """What this process was called with; without the folder of the program."""
    program = sys.argv[0].rsplit("/", 1)[-1]
    return " ".join(["crosslatent" if program == "__main__.py" else program, *sys.argv[1:]])
