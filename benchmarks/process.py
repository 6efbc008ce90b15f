"""A contender's worker process, seen from the driver."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.task import Task
from benchmarks.venvs import ROOT, VenvError, python_for

DIED = "the process ended without an answer (out of memory?)"


class Worker:
    """Starts at once and loads in the background; `ready` waits for it."""

    def __init__(self, contender: Contender, folder: Path, venvs: Path, threads: int) -> None:
        """Start the process.

        Args:
            contender: what it runs.
            folder: of the model.
            venvs: where the peers' environments are.
            threads: of torch.
        """
        self.error: str | None = None
        self.versions: dict[str, str] = {}
        self.resident = 0
        self._warm: set[Task] = set()
        self._process: subprocess.Popen[str] | None = None
        try:
            python = python_for(contender, venvs)
        except VenvError as error:
            self.error = str(error)
            return
        module = f"benchmarks.contenders.{contender.module}"
        self._process = subprocess.Popen(  # noqa: S603
            [python, "-m", "benchmarks.worker", module, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=_environment(contender, threads),
        )

    def ready(self) -> None:
        """Wait until the model is loaded, or until it is clear that it will not be."""
        if self._process is not None:
            hello = self._read()
            self.error = hello.get("error")
            self.versions = hello.get("versions", {})
            self.resident = hello.get("resident", 0)

    def measure(self, task: Task, *, answers: bool) -> dict[str, Any]:
        """Run a task once, warmed up the first time; `answers` asks for the ids too."""
        if self.error is not None or self._process is None:
            return {"error": self.error}
        assert self._process.stdin is not None
        warm = task not in self._warm
        self._warm.add(task)
        request = {"task": task.to_json(), "answers": answers, "warm": warm}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"error": DIED}
        return self._read()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": DIED}
        return answer


def _environment(contender: Contender, threads: int) -> dict[str, str]:
    """Offline, as many threads as asked for; peers see this folder, not this package's sources."""
    paths = [str(ROOT)] if contender.packages else [str(ROOT), str(ROOT / "src")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
