"""Resident memory of this process, in bytes, from /proc (zeros where there is none)."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def resident() -> int:
    """Resident bytes now."""
    return _field("VmRSS")


def reset_peak() -> bool:
    """Let the peak start again from now; False where the system does not allow it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak() -> int:
    """Most resident bytes since `reset_peak`, or since the process began."""
    return _field("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available() -> int:
    """Bytes that new work on this machine can take without swapping."""
    return _field("MemAvailable", Path("/proc/meminfo"))


def _field(name: str, path: Path = _STATUS) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    values = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(next(values, "0")) * 1024
