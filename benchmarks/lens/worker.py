"""One scheme in a process of its own, once: a request as an argument, a result as JSON.

    python -m benchmarks.lens.worker REQUEST

The result is the last line of standard output.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.lens.cases import Case
from benchmarks.lens.schemes import SCHEMES
from benchmarks.lens.task import Prepared, Trained


def main() -> None:
    """Do what the request says."""
    request = json.loads(sys.argv[1])
    print(json.dumps(measured(request)))


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Load, train for every target language, and say what it took.

    Args:
        request: "scheme", "folder" (of `data.save`), "case", "threads", "order" (rows of every
            step), and "weights", a file for the trained weights of the first target (or None).
    """
    import torch

    torch.set_num_threads(request["threads"])
    case, folder = Case.from_json(request["case"]), Path(request["folder"])
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    started = time.perf_counter()
    prepared = _prepare(request["scheme"], folder)
    loading = time.perf_counter() - started
    resident, loaded = memory.resident(), memory.peak()
    fresh = memory.reset_peak()
    trainings = []
    for number, target in enumerate(case.targets):
        if number:
            prepared.reset()
        started, busy = time.perf_counter(), time.process_time()
        trained = prepared.train(target, case.epochs, rows, request["order"])
        seconds = time.perf_counter() - started
        processor = time.process_time() - busy
        trainings.append(_told(target, trained) | {"seconds": seconds, "processor": processor})
        if request["weights"] and not number:
            _keep(trained, Path(request["weights"]))
    peak = memory.peak()
    return {
        "loading": loading,
        "trainings": trainings,
        "resident": resident,
        "peak_training": peak if fresh else None,
        "peak": max(loaded, peak),
        "unread": _unread(prepared.models),
    }


def _prepare(name: str, folder: Path) -> Prepared:
    scheme = SCHEMES[name]
    module = importlib.import_module(f"benchmarks.lens.{scheme.module}")
    prepared: Prepared = module.prepare(folder, **scheme.options)
    return prepared


def _unread(models: Sequence[Any]) -> int:
    """Bytes of weights that are mapped from a file and were never read."""
    before = memory.resident()
    for model in models:
        for weight in model.parameters():
            float(weight.detach().sum())
    return max(memory.resident() - before, 0)


def _told(target: str, trained: Trained) -> dict[str, Any]:
    return {
        "target": target,
        "steps": len(trained.losses),
        "first": trained.losses[0],
        "last": trained.losses[-1],
        "trunk": trained.trunk,
    }


def _keep(trained: Trained, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: weight.contiguous() for name, weight in trained.weights.items()}, path)


if __name__ == "__main__":
    main()
