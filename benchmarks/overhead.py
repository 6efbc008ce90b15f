"""The command line `python -m benchmarks.overhead`: do counted and measured costs agree?

`crosslatent overhead` on a random Llama with 12 blocks of width 512, in float32 on the CPU; every
ratio of times is compared with what is counted for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.cases import MAIN, TINY
from benchmarks.instance import save_model
from benchmarks.tables import lines

AGREES = 0.25
"""Counted and measured ratios that differ by less than this share agree."""
TOGETHER = ("both_prompts", "pairs")
"""Ways that decode several answers together, which read the weights once: not expected to agree."""
HEAD = ("way", "first token", "counted", "new token", "counted", "answer", "expected")

Record = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write `overhead.md` and `overhead.json`."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options = _parser().parse_args(arguments)
    before = os.getloadavg()[0]
    found = measured(options)
    found["machine"]["load_average"] = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    (options.out / "overhead.json").write_text(text, encoding="utf-8")
    (options.out / "overhead.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))
    return 0


def measured(options: argparse.Namespace) -> Record:
    """What `overhead` finds on the random model, with every comparison."""
    import torch

    import crosslatent as xl

    torch.set_num_threads(options.threads)
    shape, lengths = (TINY, (8, 12)) if options.quick else (MAIN, (150, 600))
    with tempfile.TemporaryDirectory(prefix="crosslatent-bench-") as folder:
        found = xl.overhead(
            xl.load(save_model(Path(folder), shape), device="cpu", dtype="float32"),
            prompt_tokens=lengths,
            batch_sizes=(1, 4),
            repetitions=options.repetitions,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        ).to_dict()
    return {**found, "model": "random Llama", "agreement": list(comparisons(found))}


def comparisons(found: Record) -> Iterator[Record]:
    """Every measured ratio beside what is counted for it; of whole answers what is expected."""
    for way in found["ways"]:
        for phase, ratio in way["ratios"].items():
            counted = way["expected"] if phase == "answer" else way["counted"][phase]
            if way["way"] == "vanilla" or ratio is None or counted is None:
                continue
            yield {
                **{name: way[name] for name in ("prompt_tokens", "batch_size", "way", "about")},
                "phase": phase,
                "counted": counted,
                **ratio,
                "agrees": abs(ratio["median"] / counted - 1) <= AGREES,
                "together": way["way"] in TOGETHER and phase != "first_token",
            }


def markdown(found: Record) -> str:
    """The machine, how many ratios agree, and one table for each length and batch."""
    shape = ", ".join(f"{name} {value}" for name, value in list(found["shape"].items())[:7])
    asked = found["settings"]
    parts = [
        "# Counted and measured costs of answering",
        "Written by `python -m benchmarks.overhead`; how to read it: `docs/overhead.md`.",
        "\n".join(f"- {name}: {value}" for name, value in found["machine"].items()),
        (
            f"Random Llama ({shape}), {asked['max_new_tokens']} new tokens, medians of "
            f"{asked['repetitions']} interleaved rounds, lowest and highest in brackets."
        ),
        _agreement(found["agreement"]),
    ]
    key = itemgetter("prompt_tokens", "batch_size")
    compared = {cell: list(same) for cell, same in groupby(found["agreement"], key=key)}
    for cell, ways in groupby(found["ways"], key=key):
        vanilla = next(ways)["seconds"]
        times = (1000 * vanilla[phase]["median"] for phase in ("first_token", "new_token"))
        said = " and ".join(
            f"{time:,.3g} ms" if time < 100 else f"{time:,.0f} ms" for time in times
        )
        parts.append(f"## Prompts of {cell[0]:,} tokens, {cell[1]:,} together")
        parts.append(f"Unmodified: {said} to the first and for each new token.")
        parts.append(lines([HEAD, *_rows(compared[cell])]))
    return "\n\n".join(parts) + "\n"


def _agreement(compared: list[Record]) -> str:
    counts = [
        (sum(one["agrees"] for one in some), len(some))
        for some in ([one for one in compared if one["together"] is kind] for kind in (False, True))
    ]
    (alone, all_alone), (together, all_together) = counts
    return (
        f"Within {AGREES:.0%} of what is counted are {alone} of {all_alone} ratios, and {together} "
        f"of {all_together} of answers that are decoded together, which read the weights once. "
        "Others are marked with an asterisk."
    )


def _rows(compared: list[Record]) -> Iterator[list[str]]:
    for about, phases in groupby(compared, key=itemgetter("about")):
        cells = [about]
        for one in phases:
            mark = "" if one["agrees"] else "*"
            cells.append(f"{one['median']:.2f}{mark} ({one['low']:.2f}\u2013{one['high']:.2f})")
            cells.append(f"{one['counted']:.2f}")
        yield cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    add = parser.add_argument
    add("--repetitions", type=int, default=7, help="interleaved rounds (default: 7)")
    add("--threads", type=int, default=1, help="threads of torch (default: 1)")
    add("--quick", action="store_true", help="a tiny shape: shows that everything runs")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
