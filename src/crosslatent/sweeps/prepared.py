"""A resolved sweep without its model: run.json, and what the process writing its folder needs."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from crosslatent.core import __version__
from crosslatent.core.errors import SweepError
from crosslatent.core.normal import repeat_notes
from crosslatent.core.specs import Chat, near_tie_margin
from crosslatent.model import Model
from crosslatent.runs.run_folder import RunFolder
from crosslatent.runs.schema import Failure
from crosslatent.sweeps.bookkeeping import Faults, Tally
from crosslatent.sweeps.plan import SweepPlan
from crosslatent.sweeps.tokens import Ends
from crosslatent.sweeps.work_units import Kind, RowRange, SweepGrid, missing_items, missing_rows
from crosslatent.tasks import Item


@dataclass(frozen=True)
class Prepared:
    """A sweep that was resolved and checked with its model; data alone, so that it can travel.

    Attributes:
        grid: the rows of the items that can be run.
        manifest: what run.json says of it.
        items: the rows of items.parquet.
        failures: items that the model cannot be asked.
        extras: the tables that are wanted beside the rows.
        notes: what a user should know before rows are answered.
    """

    grid: SweepGrid
    manifest: dict[str, Any]
    items: tuple[dict[str, Any], ...]
    failures: tuple[Failure, ...]
    extras: tuple[Kind, ...]
    notes: tuple[str, ...] = ()

    def missing(self, folder: RunFolder) -> list[RowRange]:
        """The rows that a run folder lacks."""
        return missing_rows(self.grid, folder.inventory)

    def missing_extra(
        self, folder: RunFolder, kind: Kind, failed: Container[str]
    ) -> list[RowRange]:
        """The items that a table beside the rows lacks; without those that have failed."""
        there = folder.extras[kind].items()
        return [
            row_range
            for row_range in missing_items(self.grid, there)
            if row_range.item not in failed
        ]

    @contextmanager
    def recording(self, folder: RunFolder, tally: Tally) -> Iterator[None]:
        """Around the work: what failed is written also when that stops the sweep."""
        try:
            yield
        except SweepError:
            folder.write_failures((*self.failures, *tally.failed.values()))
            raise

    def finish(
        self, folder: RunFolder, failed: tuple[Failure, ...]
    ) -> tuple[Faults, dict[str, Any]]:
        """Write failures and the run's status, once all missing rows have been tried.

        Args:
            folder: its folder.
            failed: items that could not be run by this call.

        Returns:
            What went wrong, and the status that run.json has now.
        """
        failures = (*self.failures, *failed)
        folder.write_failures(failures)
        folder.settle()
        totals = folder.totals(near_tie_margin(self.manifest["model"]["dtype"]))
        status = {
            **totals,
            "items": len(self.grid.items) - len(failed),
            "failures": len(failures),
            "respelled": sum(bool(item["respelled"]) for item in self.items),
        }
        folder.write_status(status)
        return Faults(failures, totals["not_finite"], tuple(folder.set_aside)), status


def prepare(
    plan: SweepPlan, requested: dict[str, Any] | None = None, headline: dict[str, Any] | None = None
) -> Prepared:
    """What is known of a sweep before anything is run.

    Args:
        plan: the sweep.
        requested: the arguments as the user gave them, kept in run.json.
        headline: a comparison declared before any row exists, kept in run.json.
    """
    ends, answers = plan.tokens.ends, plan.tokens.answers
    extras: dict[Kind, Any] = {
        "attribution": plan.spec["attribution"],
        "samples": plan.spec["samples"],
        "vectors": plan.spec["keep_vectors"],
    }
    return Prepared(
        grid=plan.grid,
        manifest=build_manifest(plan, requested, headline),
        items=tuple(
            {
                **item_row(plan.model, item, ends.get(item.id)),
                "respelled": answers[item.id].respelled if item.id in answers else None,
            }
            for item in plan.task.items
        ),
        failures=tuple(Failure(item, "prompt", why) for item, why in plan.failures.items()),
        extras=tuple(kind for kind, asked in extras.items() if asked),
        notes=plan.notes,
    )


def item_row(model: Model, item: Item, ends: Ends | None) -> dict[str, Any]:
    """An item as the table of items has it (`runs.schema.ITEMS`).

    Args:
        model: whose tokens they are.
        item: the item.
        ends: of its prompts; None if it cannot be asked.
    """
    data = item.to_dict()
    data["item"] = data.pop("id")
    # One text a column: further gold answers have columns of their own.
    for name in ("answer", "other_answers", "aux_answer", "other_aux_answers"):
        data[name] = getattr(item, name)
    data["strata"] = dict(item.strata)
    return {
        **data,
        "main_token": model.token_text(ends.main_token) if ends else "",
        "aux_token": model.token_text(ends.aux_token) if ends else "",
        "main_length": ends.main_length if ends else 0,
        "aux_length": ends.aux_length if ends else 0,
    }


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
    plan: SweepPlan, requested: dict[str, Any] | None = None, headline: dict[str, Any] | None = None
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
            "repeats": repeat_notes(task.items),
        },
        "spec": plan.to_dict(),
        "planned": plan.rows,
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
    """What this process was called with, for a shell; without the folder of the program."""
    program = sys.argv[0].rsplit("/", 1)[-1]
    return shlex.join(["crosslatent" if program == "__main__.py" else program, *sys.argv[1:]])
