"""The content of run.json: what a run was made from, so that it can be repeated and resumed."""

from __future__ import annotations

import datetime as dt
import platform
import sys
from importlib.metadata import version
from typing import Any

from crosslatent import __version__
from crosslatent.model import Model
from crosslatent.tasks import Task

_SOFTWARE = ("torch", "transformers", "tokenizers", "pyarrow")


def build_manifest(
    model: Model,
    task: Task,
    spec: dict[str, Any],
    requested: dict[str, Any] | None = None,
    headline: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Plain data for run.json.

    Args:
        model: the model; its identity must be equal for a run to be resumed.
        task: the task; likewise.
        spec: the resolved arguments; likewise.
        requested: the arguments as the user gave them.
        headline: a comparison declared before any row exists.
    """
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": sys.argv[0].rsplit("/", 1)[-1] + " " + " ".join(sys.argv[1:]),
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
            "rule": task.rule,
            "hash": task.hash,
        },
        "spec": spec,
        "requested": requested or {},
        "headline": headline,
    }
