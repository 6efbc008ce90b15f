"""The content of run.json: what a run was made from, so that it can be repeated and resumed."""

from __future__ import annotations

import datetime as dt
import platform
import sys
from importlib.metadata import version
from typing import Any

from crosslatent import __version__
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.tasks import repeats

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
        "model": {
            "name": model.name,
            **model.identity,
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
        "spec": plan.spec(),
        "requested": requested or {},
        "headline": headline,
    }


def command_line() -> str:
    """What this process was called with; without the folder of the program."""
    program = sys.argv[0].rsplit("/", 1)[-1]
    return " ".join(["crosslatent" if program == "__main__.py" else program, *sys.argv[1:]])
