"""The command line: `python -m benchmarks.lens`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lens import tables
from benchmarks.lens.cases import cases
from benchmarks.lens.compare import agrees
from benchmarks.lens.measure import Ask, Measured, empty_interpreter, measure
from benchmarks.lens.schemes import SCHEMES
from crosslatent.core import hardware


def main(arguments: list[str] | None = None, ask: Ask | None = None) -> int:
    """Measure and write `lens.md` and `lens.json`; 0 if every scheme ran and they agree."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options = _parser().parse_args(arguments)
    empty = empty_interpreter()
    known = {case.key: case for case in cases(quick=options.quick, rows=options.rows)}
    names = [name.strip() for name in options.cases.split(",")] if options.cases else list(known)
    for name in names:
        if name not in known:
            sys.exit(f"Unknown case {name!r}: use some of {', '.join(known)}.")
    chosen = [known[name] for name in names]
    schemes = _known(options.schemes.split(",") if options.schemes else list(SCHEMES))
    results = measure(chosen, options.repetitions, options.threads, ask, schemes)
    tables.write(options.out, hardware.describe(options.threads), results, empty)
    print((options.out / "lens.md").read_text(encoding="utf-8"))
    print(f"Written: {options.out / 'lens.md'} and {options.out / 'lens.json'}", file=sys.stderr)
    return int(not _sound(results))


def _known(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in SCHEMES:
            sys.exit(f"Unknown scheme {name!r}: use some of {', '.join(SCHEMES)}.")
    return list(names)


def _sound(results: Sequence[Measured]) -> bool:
    return all(
        result.error is None and (not result.agreement or agrees(result.agreement))
        for result in results
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lens", description=__doc__)
    add = parser.add_argument
    add("--cases", help="epochs x targets, or wide, with commas between: 1x1,3x1,1x2,wide (all)")
    add("--repetitions", type=int, default=3, help="runs of each, interleaved (default: 3)")
    add("--rows", type=int, help="parallel rows of all cases but wide (default: 200)")
    add("--schemes", help=f"with commas between, of {', '.join(SCHEMES)} (all)")
    add("--threads", type=int, default=1, help="threads of every scheme (default: 1)")
    add("--quick", action="store_true", help="a tiny model: shows that everything runs")
    add("--out", type=Path, default=Path("benchmarks/results"), help="for lens.md and lens.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
