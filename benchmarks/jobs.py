"""A process that runs one version of crosslatent by its public names: a job per line in, JSON out.

    PYTHONPATH=TREE/src python benchmarks/jobs.py FOLDER LAYERS

Run as a file, so that nothing but what is on the path is imported: the version that is measured may
be an older one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LANGS = ("en", "sw", "es")


def main() -> None:
    """Load the model, say so, then do every job of standard input until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    import crosslatent as xl

    model = xl.load(sys.argv[1], device="cpu", dtype="float32")
    jobs = _jobs(model, Path(sys.argv[1]))
    print(json.dumps({"where": xl.__file__}), file=out, flush=True)
    for line in sys.stdin:
        name = line.strip()
        started = time.perf_counter()
        digest = jobs[name]()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "digest": digest}), file=out, flush=True)


def _jobs(model: Any, folder: Path) -> dict[str, Callable[[], list[str]]]:
    import crosslatent as xl

    size = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    words = [f"word{number}" for number in range(500)]
    filler = " ".join(words[: size["prompt"] // 8])
    items = [
        {
            "id": f"q{number}",
            "main": f"{filler} Swali {number}? Jibu:",
            "aux": f"{filler} Question {number}? Answer:",
            "options": ["A", "B", "C"],
            "answer": "ABC"[number % 3],
        }
        for number in range(size["items"])
    ]
    texts = {
        lang: [f"{lang} {number} " + " ".join(words[number : number + 12]) for number in range(48)]
        for lang in LANGS
    }
    space = xl.lens.probe(model, texts, central="en")
    rows = [{lang: texts[lang][number] for lang in LANGS} for number in range(size["rows"])]

    def sweep(**options: Any) -> list[str]:
        with tempfile.TemporaryDirectory() as out:
            run = xl.sweep(model, items, component="ffn", out=Path(out) / "run", **options)
            frame = run.to_pandas().sort_values(["item", "control", "source", "target"])
        return [
            hashlib.sha256(repr(row).encode()).hexdigest()[:16]
            for row in zip(frame["output"], frame["prediction"].astype(str), strict=True)
        ]

    def train() -> list[str]:
        tuned = xl.lens.train(model, space, rows, central="en")
        return [f"{point.loss:.5f}" for point in tuned.record.curve]

    return {
        "sweep": lambda: sweep(max_new_tokens=size["new_tokens"]),
        "scoring": lambda: sweep(score_only=True),
        "lens": train,
    }


if __name__ == "__main__":
    main()
