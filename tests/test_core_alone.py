"""The core's functions in an environment that holds nothing but what it declares to need."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

FOLDER = Path(__file__).with_name("core_alone")
ROOT = FOLDER.parents[1]


def needed_by(*names: str) -> set[str]:
    """These distributions and all that they need, without extras that nobody asks for."""
    found: set[str] = set()
    todo = [(name, ("",)) for name in names]
    while todo:
        name, extras = todo.pop()
        for text in distribution(name).requires or ():
            one = Requirement(text)
            wanted = one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)
            if wanted and one.name not in found:
                todo.append((one.name, ("", *one.extras)))
        found.add(name)
    return found


def test_the_core_needs_no_extra(tmp_path):
    (tmp_path / "libraries").mkdir()
    for name in needed_by("crosslatent", "pytest"):
        one = distribution(name)
        for top in {file.parts[0] for file in one.files or () if file.parts[0] != ".."}:
            place = tmp_path / "libraries" / top
            if top != "__pycache__" and not place.exists():
                place.symlink_to(one.locate_file(top))
    path = os.pathsep.join([str(ROOT / "src"), str(tmp_path / "libraries")])
    # Without `site`, only these paths and the standard library are searched.
    command = [sys.executable, "-S", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--confcutdir={FOLDER}", str(FOLDER)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
