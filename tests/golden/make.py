"""Writes the golden files: `PYTHONPATH=tests python -m golden.make RUNS-OF-THE-DEMO`.

Made once; a change that has to write them anew has changed a figure, and says so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from crosslatent.report import build_report, drawing
from golden import figures
from golden.cases import DATA, DEMO, RUNS, evaluation

SUMS = DATA / "SHA256SUMS"


def report_of(runs: list[Path]) -> figures.Figures:
    """The figures of a report of run folders."""
    # Figures are drawn and thrown away: no number is read off them.
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(drawing, "FORMATS", ()):
        build_report(runs, Path(folder))
        return figures.of_report(Path(folder))


def files() -> list[Path]:
    """All golden files but the list of their hashes."""
    return sorted(file for file in DATA.rglob("*") if file.is_file() and file != SUMS)


def digest(file: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main(demo_runs: Path) -> None:
    """Write all golden files; the runs of the demo are taken from a folder that the demo wrote."""
    shutil.rmtree(DATA, ignore_errors=True)
    for name, make in RUNS.items():
        make(DATA / "runs" / name)
    for name in DEMO:
        shutil.copytree(demo_runs / name, DATA / "demo" / name)
    evaluation(DATA / "evaluation")
    _forget_the_machine()
    for name in RUNS:
        figures.save(report_of([DATA / "runs" / name]), DATA / f"{name}.parquet")
    figures.save(report_of([DATA / "demo" / name for name in DEMO]), DATA / "demo.parquet")
    figures.save(
        figures.of_evaluation(DATA / "evaluation" / "evaluation.json"), DATA / "evaluation.parquet"
    )
    lines = [f"{digest(file)}  {file.relative_to(DATA)}\n" for file in files()]
    SUMS.write_text("".join(lines), encoding="utf-8")


def _forget_the_machine() -> None:
    """Leave out what was typed, and where: paths of this machine, and who wrote."""
    for file in (*DATA.rglob("*.lock"), *DATA.rglob(".owner.json")):
        file.unlink()
    for file in (*DATA.rglob("run.json"), *DATA.rglob("evaluation.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        for entry in (content, *content.get("sessions", ())):
            entry["command"] = [] if isinstance(entry["command"], list) else ""
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
