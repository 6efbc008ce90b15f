"""Sweeps in child processes that something happens to, and what must be true of their folders."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from crosslatent.cli.app import main
from support.disasters import RAISE

KEY = ("item", "control", "stratum", "component", "source", "target")
EXTRAS = {
    "attribution": ("item", "component", "source", "target"),
    "samples": ("item", "number"),
}
"""Tables beside the rows, and what tells their rows apart."""

TIMINGS = frozenset({"seconds"})

MIDDLE = {"at": 4, "of": "rename rows/"}
"""A moment at which some parts of rows are there and others are missing."""

EVERYTHING = (
    "--component=attn,ffn",
    "--controls=shuffled,noise,mean,self,paraphrase",
    "--attribution",
    "--samples=2",
    "--max-new-tokens=3",
    "--batch-rows=24",
)
"""Options that make every table of a run folder."""


def questions(number: int = 8) -> list[dict[str, Any]]:
    """Questions in two languages, with donors of the same and of another answer."""
    return [
        {
            "id": f"q{n}",
            "lang": ("sw", "hi")[n % 2],
            "aux_lang": "en",
            "main": f"Swali la {n} ni lipi, “ñ{n}”? Jibu:",
            "aux": f"What is question {n}? Answer:",
            "paraphrase": f"Lipi ni swali la {n}? Jibu:",
            "answer": f"({n // 2 % 2 + 1})",
            "options": ["(1)", "(2)"],
        }
        for n in range(number)
    ]


def write_questions(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write questions as a file for `--prompts`."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or the negative number of the signal, as subprocess."""

    code: int
    out: str
    err: str
    struck: Mapping[str, Any] | None = None
    """The step at which a disaster struck; None if none did."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def sentence(self) -> str:
        """The error that was told; there is exactly one, and no traceback."""
        assert "Traceback" not in self.err, self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert line.rstrip(")").endswith("."), line
        return line


@dataclass
class Child:
    """A command line that runs in a process of its own."""

    server: Forks
    pid: int
    place: Path

    def ended(self, timeout: float = 120.0) -> Ended:
        """Wait until it ends."""
        until = time.monotonic() + timeout
        while (status := self.server.ask(poll=self.pid)["status"]) is None:
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                raise TimeoutError(self.text("err"))
            time.sleep(0.005)
        struck = self.text("record")
        return Ended(
            os.waitstatus_to_exitcode(status),
            self.text("out"),
            self.text("err"),
            json.loads(struck) if struck else None,
        )

    def text(self, name: str) -> str:
        return _text_of(self.place / name)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def seen(self, path: Path, timeout: float = 60.0) -> None:
        """Wait until a file is there."""
        until = time.monotonic() + timeout
        while not path.exists():
            assert time.monotonic() < until, self.text("err")
            time.sleep(0.001)

    def opened(self, run: Path, timeout: float = 60.0) -> None:
        """Wait until it is the one that writes to a run folder."""
        until = time.monotonic() + timeout
        while f'"pid": {self.pid},' not in _text_of(run / ".owner.json"):
            assert time.monotonic() < until, self.text("err")
            time.sleep(0.001)

    def stopped(self, timeout: float = 60.0) -> None:
        """Wait until it has been stopped (SIGSTOP)."""
        until = time.monotonic() + timeout
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until, self.text("err")
            time.sleep(0.005)


@dataclass
class Forks:
    """The test's side of `support.forkserver`."""

    place: Path
    count: int = 0
    process: Any = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        assert self._reply()["ready"] == self.process.pid

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)

    def ask(self, **request: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        *argv: object,
        folder: Path | None = None,
        at: int = 0,
        how: str = RAISE,
        error: int = 0,
        of: str = "",
        file_bytes: int = 0,
        part_seconds: float = 0.0,
        host: str = "",
    ) -> Child:
        """Run `crosslatent ARGV` in a new process.

        Args:
            argv: the command line; of an option that is given again, the last one counts.
            folder: where steps are counted; see `support.disasters`, as for the next four.
            at: number of the step; 0 for no disaster.
            how: what happens.
            error: number of the error.
            of: which steps are numbered.
            file_bytes: the most bytes that a file may have; 0 for no limit.
            part_seconds: of work between two parts.
            host: what the process takes for the name of its machine; empty for the real one.
        """
        self.count += 1
        place = self.place / f"{self.count:04d}"
        place.mkdir()
        asked = self.ask(
            argv=overridden(argv),
            out=str(place / "out"),
            err=str(place / "err"),
            record=str(place / "record"),
            folder=str(folder),
            disaster={"at": at, "how": how, "error": error, "of": of} if folder else None,
            file_bytes=file_bytes,
            part_seconds=part_seconds,
            host=host,
        )
        return Child(self, asked["pid"], place)

    def run(self, *argv: object, **how: Any) -> Ended:
        """Run a command line until it ends."""
        return self.start(*argv, **how).ended()


def overridden(argv: Iterable[object]) -> list[str]:
    """A command line in which options that come later replace those of the same name."""
    given: dict[str, str] = {}
    for argument in map(str, argv):
        name = argument.partition("=")[0] if argument.startswith("--") else argument
        given.pop(name, None)
        given[name] = argument
    return list(given.values())


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def environment() -> dict[str, str]:
    """For processes that need this package and the tests' helpers."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def exported(run: Path) -> list[dict[str, Any]]:
    """The rows of a run, as `crosslatent export` writes them; no key is there twice."""
    file = run.with_name(f"{run.name}-exported.parquet")
    assert main(["export", str(run), "--format=parquet", f"--out={file}"]) == 0
    rows = pq.read_table(file).to_pylist()
    file.unlink()
    return _unique(rows, KEY)


def extra(run: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table beside the rows, sorted; none if the run has no such table."""
    files = sorted((run / name).glob("*.parquet"))
    rows = ds.dataset(files).to_table().to_pylist() if files else []
    return _unique(sorted(rows, key=lambda row: [row[n] for n in EXTRAS[name]]), EXTRAS[name])


def _unique(rows: list[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    keys = [tuple(row[name] for name in key) for row in rows]
    assert len(set(keys)) == len(keys), "a row is there twice"
    return rows


def assert_equal_runs(
    run: Path, whole: Path, *, aside: Sequence[str] = (), places: float = 1e-5
) -> None:
    """A run that something happened to equals one that nothing happened to.

    Args:
        run: the one.
        whole: the other.
        aside: names of files that the fault left in `run`, as patterns.
        places: how far floats of rows may be apart.
    """
    assert_equal_rows(exported(run), exported(whole), places)
    for name in EXTRAS:
        assert_equal_rows(extra(run, name), extra(whole, name), places=1e-3)
    found = {path for path in layout(run) if not any(Path(path).match(p) for p in aside)}
    assert found == layout(whole)
    one, other = status(run), status(whole)
    for key in ("rows", "items", "failures"):
        assert one[key] == other[key], key


def assert_equal_rows(
    rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], places: float = 1e-5
) -> None:
    """Keys, ids and texts exactly, floats within `places`, timings left out."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - TIMINGS:
            assert _close(row[name], other[name], places), (name, dict(row), dict(other))


def _close(one: Any, other: Any, places: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return math.isclose(one, other, rel_tol=places, abs_tol=places)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_close, one, other, [places] * len(one)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[k], other[k], places) for k in one)
    return one == other


def layout(run: Path) -> set[str]:
    """The files of a run, without the numbers of parts."""
    files = (path for path in run.rglob("*") if path.is_file())
    return {re.sub(r"part-[\d-]+", "part-*", str(path.relative_to(run))) for path in files}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, to see that nothing changed.

    Without those whose names begin with a dot: who writes, and what a killed process left.
    """
    files = (path for path in folder.rglob("[!.]*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def manifest(run: Path) -> dict[str, Any]:
    """run.json."""
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def status(run: Path) -> dict[str, Any]:
    """How a finished run stands, by run.json."""
    return manifest(run)["status"]


def parts(run: Path, table: str = "rows") -> list[Path]:
    """The parts of a table."""
    return sorted((run / table).glob("part-*.parquet"))


def rows_there(run: Path) -> int:
    """Rows in the parts that are there; each must be whole, whatever happened before."""
    return sum(pq.read_table(part).num_rows for part in parts(run))


@contextlib.contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """A disk of its own that holds so much; needs the right to mount."""
    folder.mkdir()
    size = f"size={kibibytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def grow_disk(folder: Path, kibibytes: int) -> None:
    """Make room on a disk of `small_disk`."""
    size = f"remount,size={kibibytes}k"
    subprocess.run(["mount", "-o", size, folder], check=True)


def can_mount() -> bool:
    """Whether a test may mount a disk here."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
