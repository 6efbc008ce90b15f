"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import cases, tables
from benchmarks.against import against, table
from benchmarks.contenders import CONTENDERS
from benchmarks.measure import Settings, measure
from benchmarks.venvs import ROOT
from crosslatent.core import hardware

GROUPS = ("main", "growth", "memory")


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for and write the tables; 0 if no scheme failed or differed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options = _parser().parse_args(arguments)
    if options.against:
        return _against(options)
    asked = _names(options.contenders, CONTENDERS) if options.contenders else None
    groups = _names(options.cases, GROUPS)
    chosen = [
        case if asked is None else replace(case, contenders=tuple(asked))
        for case in cases.cases(quick=options.quick)
        if case.group in groups
    ]
    if options.dry_run:
        print(tables.counted(chosen))
        return 0
    sample = 0 if options.full else options.sample
    settings = Settings(options.venvs, options.repetitions, options.threads, sample)
    results = measure(chosen, settings)
    tables.write(options.out, hardware.describe(options.threads), results, options.repetitions)
    print(f"Written: {options.out / 'cpu.md'} and {options.out / 'cpu.json'}", file=sys.stderr)
    return int(any(result.error or result.differing for result in results))


def _against(options: argparse.Namespace) -> int:
    found = against(options.against, options.repetitions, options.threads, quick=options.quick)
    print(table(found))
    return int(any(one.differing for one in found))


def _names(text: str, known: object) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    allowed = list(known)  # type: ignore[call-overload]
    for name in names:
        if name not in allowed:
            sys.exit(f"Unknown name {name!r}: use some of {', '.join(allowed)}.")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--against", metavar="COMMIT", help="this tree and a commit in turns, and nothing else")
    add("--cases", default=",".join(GROUPS), help="groups, with commas between (default: all)")
    add("--contenders", help=f"names, with commas between, of {', '.join(CONTENDERS)}")
    add("--repetitions", type=int, default=3, help="runs of each, interleaved (default: 3)")
    add("--threads", type=int, default=1, help="threads of every contender (default: 1)")
    add("--full", action="store_true", help="all pairs for everyone, also in the growth cases")
    add("--sample", type=int, help="pairs that contenders which go pair by pair are measured on")
    add("--dry-run", action="store_true", help="count the work of each case, and run nothing")
    add("--quick", action="store_true", help="tiny shapes: shows that everything runs")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder for cpu.md, cpu.json")
    add("--venvs", type=Path, default=ROOT / ".bench" / "venvs", help="the peers' environments")
    return parser


if __name__ == "__main__":
    sys.exit(main())
