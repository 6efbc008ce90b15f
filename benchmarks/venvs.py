"""Virtual environments of the peers: they conflict with each other, so each has its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import Contender

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""


class VenvError(Exception):
    """An environment could not be made; the message says why."""


def python_for(contender: Contender, folder: Path) -> str:
    """The interpreter that runs a contender, made if needed.

    Args:
        contender: whose environment.
        folder: holds one environment per set of packages.

    Raises:
        VenvError: pip could not install what the contender needs.
    """
    if not contender.packages:
        return sys.executable
    home = folder / contender.packages[0].replace("==", "-")
    stamp, python = home / "packages.txt", home / "bin" / "python"
    wanted = "\n".join(contender.packages)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return str(python)
    _run([sys.executable, "-m", "venv", str(home)])
    # torch comes first and by itself: it is the large download, and the constraints say which.
    for packages in (("torch",), contender.packages):
        constraints = str(ROOT / "constraints.txt")
        _run([str(python), "-m", "pip", "install", "--quiet", "-c", constraints, *packages])
    stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise VenvError((errors or ["the environment could not be made"])[-1][:300])
