"""What `benchmarks.gpu` writes, and what it asks the device about memory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.tables import lines, spread
from crosslatent.core import hardware
from crosslatent.core.costs import Shape

SWEEP = 700
"""Instances of the XNLI pilot sweep that times are projected to: 14 languages, 50 each."""

Record = dict[str, Any]


def allocated(device: str) -> int:
    """Bytes that tensors take on the device now; 0 on the CPU."""
    return torch.cuda.memory_allocated() if device.startswith("cuda") else 0


def reset_peak(device: str) -> None:
    """Let the peak start again from now."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> int:
    """Most bytes that tensors took since `reset_peak`; 0 on the CPU."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0


def content(
    device: str,
    shape: Shape,
    threads: int | None,
    rate: float,
    held: int,
    results: list[Record],
    authors: list[Record],
) -> Record:
    """All results as plain data.

    Args:
        device: torch device.
        shape: of the model.
        threads: of the host, None for torch's own choice.
        rate: measured rate of products, floating-point operations per second.
        held: bytes that the model takes.
        results: of this package's engine.
        authors: of the authors' scheme.
    """
    import transformers

    host = hardware.describe(threads or torch.get_num_threads())
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if cuda else host["processor"],
        "cuda": torch.version.cuda if cuda else None,
        "transformers": transformers.__version__,
        "host": host,
        "shape": asdict(shape),
        "rate_flop_per_second": rate,
        "model_bytes": held,
        "crosslatent": results,
        "authors": authors,
    }


def write(out: Path, found: Record) -> None:
    """Write `gpu.json` and `gpu.md` into a folder, made if needed."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(_markdown(found), encoding="utf-8")


def _markdown(found: Record) -> str:
    parts = [
        "# A 7B shape on an accelerator",
        "Written by `python -m benchmarks.gpu`; how to read it: `benchmarks/README.md`.",
        _machine(found),
        "## One instance, all pairs",
        _instances(found),
        f"## Projected: {SWEEP} instances, in hours",
        _projection(found),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(found: Record) -> str:
    host = found["host"]
    shape = ", ".join(f"{name} {value}" for name, value in found["shape"].items())
    versions = f"torch {host['torch']}, CUDA {found['cuda']}, transformers {found['transformers']}"
    facts = [
        f"device: {found['device']}, {versions}",
        f"host: {host['processor']}, {host['cores']} cores, {host['threads']} threads",
        f"model: {shape}; bfloat16, random weights, {_gib(found['model_bytes'])}",
        f"path of the engine: {found['path']}",
        f"measured rate of products: {found['rate_flop_per_second'] / 1e12:.4g} TFLOP/s",
    ]
    return "\n".join(f"- {fact}" for fact in facts)


def _instances(found: Record) -> str:
    rows = [("component", "mode", "pairs", "seconds", "TFLOP/s", "share of rate", "peak memory")]
    rows += [
        (
            one["component"],
            one["mode"],
            str(one["pairs"]),
            spread(one["seconds"]),
            f"{one['flop'] / median(one['seconds']) / 1e12:.4g}",
            f"{one['limit_seconds'] / median(one['seconds']):.1%}",
            _gib(one["peak_bytes"]),
        )
        for one in found["crosslatent"]
    ]
    return lines(rows)


def _projection(found: Record) -> str:
    head = ("component", "crosslatent", "crosslatent, scoring", "authors", "authors / ours", "note")
    rows = [head]
    for one in found["authors"]:
        full, scoring = (_median(found, one["component"], mode) for mode in ("full", "scoring"))
        note = (
            f"authors: scaled from {one['sampled']} pairs; {one['same_rows']} of them gave the "
            "same ids here (bfloat16)"
        )
        times = (_hours(full), _hours(scoring), _hours(one["seconds"]))
        rows.append((one["component"], *times, f"{one['seconds'] / full:.3g}", note))
    return lines(rows)


def _median(found: Record, component: str, mode: str) -> float:
    """Seconds of this package's engine for one instance."""
    (seconds,) = (
        one["seconds"]
        for one in found["crosslatent"]
        if (one["component"], one["mode"]) == (component, mode)
    )
    return float(median(seconds))


def _hours(seconds: float) -> str:
    return f"{seconds * SWEEP / 3600:.3g}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
