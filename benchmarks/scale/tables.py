"""What was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crosslatent.core.costs import human_bytes

STEPS: Mapping[str, str] = {
    "write": "making up and writing all parts",
    "resume": "opening the folder and finding what is missing",
    "aggregate": "upper bounds with intervals: overall, by source, target and language",
    "frame": "`Run.upper_bound()`, pandas loaded, too",
    "heatmap": "`Run.heatmap()`, likewise",
    "export": "`crosslatent export` to one Parquet file, sorted",
    "report": "`crosslatent report`, whole",
}


def render(result: Mapping[str, Any]) -> str:
    """The content of scale.md."""
    shape, where = result["shape"], result["machine"]
    rows, size = shape["rows"], result["bytes"]
    disk = f"{human_bytes(size)}, {size / rows:.0f} bytes a row"
    pairs = f"{shape['layers']} x {shape['layers']} pairs"
    lines = [
        "# A large run",
        "",
        "Written by `python -m benchmarks.scale`. Every step ran in a fresh process; memory is the",
        "most that it held, interpreter and libraries included; time leaves out starting Python.",
        "",
        f"{rows:,} made-up rows in {shape['parts']:,} parts: {disk}.",
        f"{shape['languages']} languages, {shape['questions']} questions each, 2 components,",
        f"{pairs}, outputs of some 20 tokens.",
        "",
        f"{where['processor']}, {where['cores']} cores, {where['memory_gib']} GiB.",
        "",
        "| step | seconds | peak memory |",
        "| --- | ---: | ---: |",
    ]
    lines += [
        f"| {STEPS[name]} | {step['seconds']:.1f} | {human_bytes(step['peak_bytes'])} |"
        for name, step in result["steps"].items()
    ]
    return "\n".join(lines) + "\n"
