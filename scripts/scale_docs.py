"""Writes docs/scale.md: what large sweeps cost, from `crosslatent.core.costs` and measured figures.

`make docs` runs this; a test fails when the file in the repository is not what it would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosslatent.core import costs
from crosslatent.core.costs import human_bytes
from crosslatent.distributed import LARGEST
from scripts.scale_designs import (
    LARGE,
    NEW_TOKENS,
    OPTIONS,
    PEAK,
    PROMPTS,
    SLICE_SECONDS,
    SMALL,
    UTILISATION,
    Design,
    Size,
    designs,
)

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "scale.md"
MEASURED = ROOT / "benchmarks" / "results" / "scale.json"


def table(found: Sequence[Design]) -> str:
    """Designs beside each other, decoded and scored, as a Markdown table."""
    lines = [
        "| design | rows | disk | GPU-hours, 20 tokens | GPU-hours, score-only | slices |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        scored = replace(one, new_tokens=1)
        disk = f"{human_bytes(one.storage.low)} to {human_bytes(one.storage.high)}"
        lines.append(
            f"| {one.name} | {count(one.rows)} | {disk} | {hours(one)} | {hours(scored)} | "
            f"{count(one.slices)} |"
        )
    return "\n".join(lines)


def hours(one: Design) -> str:
    """GPU-hours as a range."""
    return " to ".join(_two_digits(value) for value in one.gpu_hours)


def count(number: float) -> str:
    """A readable number: 1.3 billion, 16 million, 7,000."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{_two_digits(number / size)}{name}"
    return _two_digits(number)


def _two_digits(number: float) -> str:
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def assumptions() -> str:
    """The assumptions behind the tables, as a Markdown table."""
    rows = [
        ("prompts", f"{PROMPTS} tokens, main and aux together; read once per question"),
        ("answers", f"{NEW_TOKENS} new tokens; with score-only, the first token's logits"),
        ("options", f"{OPTIONS} per question"),
        ("7B model", _size(SMALL)),
        ("70B model", _size(LARGE)),
        ("work", "2 operations per parameter and token, plus attention over the prompt"),
        ("first token", "only blocks from the edited one on; all blocks if that is the first"),
        ("GPU", f"{PEAK / 1e12:.0f} TFLOP/s (the specified peak of an H100 in bfloat16, dense)"),
        ("utilisation", " to ".join(f"{share:.0%}" for share in UTILISATION) + " of the peak"),
        (
            "slice",
            f"{SLICE_SECONDS:.0f} seconds of one copy (better utilisation), up to {LARGEST:,} rows",
        ),
        ("controls", "shuffled (3 strata), noise, mean, self: 7 rows instead of 1"),
    ]
    lines = ["| what | assumed |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines)


def _size(size: Size) -> str:
    shape = size.shape
    cache = human_bytes(costs.cache_bytes(1, shape.layers, shape.key_value_width))
    gpus = "1 GPU" if size.gpus == 1 else f"{size.gpus} GPUs"
    return (
        f"{shape.parameters / 1e9:.3g} billion parameters, {shape.layers} layers, "
        f"{shape.hidden} wide; "
        f"{cache} of keys and values per token; {gpus} of 80 GB per copy"
    )


def after_the_sweep(measured: dict[str, Any]) -> str:
    """Time and memory of what follows a sweep, from the measured run up to larger ones."""
    sizes = [measured["shape"]["rows"], 16_000_000, 100_000_000, 1_280_000_000]
    steps = ("resume", "aggregate", "report")
    lines = [
        "| rows | finding what is missing | upper bounds | whole report |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for place, rows in enumerate(sizes):
        factor = rows / sizes[0]
        cells = [took(step, factor) for step in (measured["steps"][name] for name in steps)]
        how = "measured" if place == 0 else "scaled"
        lines.append(f"| {count(rows)} ({how}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def took(step: dict[str, Any], factor: float = 1) -> str:
    """Time and memory of a step, scaled."""
    return f"{duration(step['seconds'] * factor)}, {human_bytes(step['peak_bytes'] * factor)}"


def duration(seconds: float) -> str:
    """A readable time."""
    if seconds < 100:
        return f"{_two_digits(seconds)} s"
    return (
        f"{_two_digits(seconds / 60)} min" if seconds < 6000 else f"{_two_digits(seconds / 3600)} h"
    )


def facts(measured: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Figures of the text, by name."""
    found = designs(LARGE, 100_000)
    everything, lines = found[1], found[4]
    pilot = Design("pilot", LARGE, 200, "all", 2)
    rows = measured["shape"]["rows"]
    yield "all_rows", count(everything.rows)
    yield "all_hours", hours(everything)
    yield "line_rows", count(lines.rows)
    yield "line_hours", hours(lines)
    yield "pilot_rows", count(pilot.rows)
    yield "pilot_hours", hours(pilot)
    yield "bytes_per_row", f"{measured['bytes'] / rows:.0f}"
    yield "largest", f"{LARGEST:,}"
    yield (
        "seconds_per_slice",
        _two_digits(everything.gpu_hours[0] * 3600 / everything.model.gpus / everything.slices),
    )
    yield "part", human_bytes(everything.storage.low / everything.slices)
    shape = LARGE.shape.layers, LARGE.shape.key_value_width
    yield "batch_cache", human_bytes(costs.cache_bytes(256 * NEW_TOKENS, *shape))
    yield "prefix_cache", human_bytes(costs.cache_bytes(PROMPTS / 2, *shape))
    yield "measured_rows", count(rows)
    for name in ("aggregate", "frame", "report"):
        yield name, took(measured["steps"][name])


TEXT = """# How large a sweep can be

<!-- Written by `make docs` from scripts/scale_docs.py and benchmarks/results/scale.json. -->

This page helps to plan a run on a large model, or in many languages. The same arithmetic for your
own model and questions is printed by `crosslatent sweep ... --dry-run`, which runs nothing.

GPU-hours are **estimates that no GPU has confirmed**. Time, memory and bytes in the last section
were measured, on the machine named there.

## What is assumed

{assumptions}

## 7B model, 700 questions

{small}

All of these are small jobs: run all pairs, with controls.

## 70B model, 100 languages, 1,000 questions each

{large}

The number of slices is for the decoded column. A GPU-hour is one hour of one GPU, so two GPUs that
hold one copy of the model use two GPU-hours per hour.

## What to run

All pairs on all questions are {all_rows} rows and {all_hours} GPU-hours, six times that with
controls. Do not start there: a single machine cannot analyse the result (last section), and most
of its rows are redundant. Go step by step:

1. **Pilot.** All pairs, both components, on 20 questions in each of 10 languages (`--lang`,
   `--limit 20`): {pilot_rows} rows, {pilot_hours} GPU-hours. This shows which layers matter, and
   picks a pair.
2. **Fewer pairs, all questions.** `--pairs target-first` or `source-last` is a line through the
   grid: {line_rows} rows, {line_hours} GPU-hours. Alternatively, run the best pairs of the pilot,
   or those that `--attribution` ranks highest; attribution costs some backward passes per
   question, and no rows.
3. **Controls where you report figures**: on the test questions, with the same pairs. Fewer pairs
   lower an upper bound and those of its controls; compare bounds only over the same pairs.
4. **Score-only** (`--score-only`) if questions have options: one step instead of twenty. The
   GPU-hours above exclude the tokens of the options; `--dry-run` includes them. Check on the pilot
   that the result agrees with decoding.

The precision of a figure depends on the number of independent questions, not on the number of
pairs: a hundred more questions in a language help, a thousand more pairs do not.

## Slices, parts and memory during a sweep

- A slice has at most {largest} rows. In the 70B model's sweep over all pairs, that is about
  {seconds_per_slice} seconds of work, and gives one part of about {part}. If that many rows take
  longer, a single process closes a part after about {slice:.0f} seconds; with workers
  (`--processes`, `--ray`), slices are smaller if there are few rows per worker. A crash loses only
  the slices in progress.
- Two inputs are read more than once, and the estimates exclude this: every slice reads the prompts
  of the questions it has rows of, and every worker with rows of the control `mean` reads the aux
  prompts of a whole language and split.
- The next free worker gets the next slice, so there should be at least ten slices per worker: with
  fewer, all workers wait for the last one.
- The process that distributes slices reads all parts once when it opens the folder, to verify them
  and to find missing rows; the last section gives the cost. It never holds outputs.
- On the GPU, the keys and values of the prompt are stored once ({prefix_cache} for the 70B model).
  Each row stores those of its own new tokens: {batch_cache} for 256 rows.
- Rows take about {bytes_per_row} bytes if the outputs of a question repeat (they do: most
  transplants change little), and nearly three times that if all differ. With short answers, most
  of the space is not text but numbers: the log-probabilities of the options.

## After the sweep

Measured on {machine}, with a synthetic run of {measured_rows} rows
(`python -m benchmarks.scale`; [its results](../benchmarks/results/scale.md)). Larger runs are
scaled up in proportion to the rows, which is a rough estimate of time and of most memory. On
remote storage, every part costs some additional requests.

{after}

The goal of 10 s and 2 GB for five million rows covers aggregation only: upper bounds with
intervals overall, by layer and by language ({aggregate}). It does not cover `Run.upper_bound()` in
a fresh process, which also loads libraries ({frame}), or the report, which computes much more
({report}).

One ordinary machine can process up to some ten million rows. Beyond that, sweep into several run
folders (one for each component, or for a group of languages) and report on each separately, or
query the row files with SQL (see [run-folder.md](run-folder.md)).
"""


def render() -> str:
    """The content of docs/scale.md."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    where = measured["machine"]
    return TEXT.format(
        assumptions=assumptions(),
        small=table(designs(SMALL, 700)),
        large=table(designs(LARGE, 100_000)),
        slice=SLICE_SECONDS,
        after=after_the_sweep(measured),
        machine=f"{where['processor']}, {where['cores']} cores, {where['memory_gib']} GiB",
        **dict(facts(measured)),
    )


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
