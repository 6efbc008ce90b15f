"""One contender in a process of its own: a task per line in, a result per line out, as JSON.

    python -m benchmarks.worker MODULE FOLDER THREADS

The first line out says that the model is loaded (or why it cannot be). What libraries print goes
to standard error, so that standard output carries nothing but results.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from benchmarks import memory
from benchmarks.task import Answers, Run, Task

PACKAGES = (
    "torch", "transformers", "crosslatent", "nnsight", "pyvene", "transformer-lens", "numpy"
)  # fmt: skip


def main() -> None:
    """Load, say so, then answer every line of standard input until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, folder, threads = sys.argv[1:4]
    try:
        run = _prepared(module, Path(folder), int(threads))
    except Exception as error:  # noqa: BLE001  whatever a peer raises is a row of the table
        _say(out, {"error": _reason(error)})
        return
    _say(out, {"versions": _versions(), "resident": memory.resident()})
    for line in sys.stdin:
        _say(out, measured(run, json.loads(line)))


def _prepared(module: str, folder: Path, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    run: Run = importlib.import_module(module).prepare(folder)
    _touch_tensors()
    return run


def _touch_tensors() -> None:
    """Read all that is loaded once: weights mapped from a file are resident only then."""
    import torch

    gc.collect()
    for thing in gc.get_objects():
        if type(thing) is torch.nn.Parameter:
            float(thing.detach().sum())


def measured(run: Run, request: dict[str, Any]) -> dict[str, Any]:
    """Do what one line asks: a task, whether to warm up first, whether to tell the answers."""
    task = Task.from_json(request["task"])
    try:
        if request.get("warm"):
            run(replace(task.sample(min(2, len(task.pairs))), new_tokens=min(task.new_tokens, 2)))
        gc.collect()
        fresh = memory.reset_peak()
        started = time.perf_counter()
        answers = run(task)
        seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001  likewise
        return {"error": _reason(error)}
    found = _times(answers, seconds) | {"peak": memory.peak(), "peak_reset": fresh}
    return found | (_content(answers) if request.get("answers") else {})


def _times(answers: Answers, seconds: float) -> dict[str, Any]:
    if answers.estimate is not None:
        return {"seconds": answers.estimate, "once": answers.estimate}
    return {"seconds": seconds, "once": answers.once}


def _content(answers: Answers) -> dict[str, Any]:
    return {
        "ids": [list(row) for row in answers.ids],
        "watched": [list(row) for row in answers.watched],
    }


def _reason(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"[:300]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _say(out: IO[str], message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
