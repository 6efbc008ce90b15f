"""The machine that numbers come from: what a reader needs to judge them, and nothing private."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, threads used, interpreter and torch."""
    import torch

    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20),
        "threads": threads,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(name))
    return next(found, None)
