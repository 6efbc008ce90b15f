"""The command line `python -m benchmarks.gpu`: a 7B shape on one accelerator, speed only.

Needs torch, transformers and this package's sources on the path, nothing else. The model has random
weights of the usual small spread, made on the device: the same arithmetic as a trained one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_tables, instance
from benchmarks.contenders import authors, ours
from benchmarks.contenders.limit import of_task
from benchmarks.task import Answers, Component, Mode, Run, Task
from crosslatent.core import hardware
from crosslatent.core.costs import Shape
from crosslatent.core.hardware import SIZES

LLAMA_7B = SIZES["7B"]
TINY = Shape(layers=3, hidden=32, intermediate=64, heads=4, kv_heads=4, head_dim=8, vocab=300)
SPREAD = 0.02
"""Standard deviation of the weights; only speed is measured here."""

COMPONENTS: tuple[Component, ...] = ("attn", "ffn")
MODES: tuple[Mode, ...] = ("full", "scoring")


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs: the model's shape, the lengths, and how to wait for it."""

    shape: Shape
    prompt: int
    new_tokens: int
    instances: int
    device: str

    def task(self, component: Component, mode: Mode, seed: int) -> Task:
        """One instance; other seeds have other prompts of the same length."""
        return instance.make_task(self.shape, component, mode, self.prompt, self.new_tokens, seed)

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def main(arguments: list[str] | None = None) -> int:
    """Measure and write `gpu.md` and `gpu.json`."""
    options = _parser().parse_args(arguments)
    bench = _bench(options)
    import crosslatent
    from crosslatent import engine

    hf = _model(bench)
    held = gpu_tables.allocated(bench.device)
    model = crosslatent.wrap(hf, instance.tokenizer())
    run = ours.on(model, engine.run_rows)
    one_by_one = authors.on(hf)
    rate = _rate(bench)
    results = [
        _ours(bench, run, component, mode, rate) for component in COMPONENTS for mode in MODES
    ]
    sampled = [
        _authors(bench, run, one_by_one, component, options.sample) for component in COMPONENTS
    ]
    content = gpu_tables.content(
        bench.device, bench.shape, options.threads, rate, held, results, sampled
    )
    path = engine.best_path(model)
    content["path"] = f"{path.name} ({path.reason})" if path.reason else path.name
    gpu_tables.write(options.out, content)
    if options.profile:
        text = _profiled(bench, lambda: run(bench.task("ffn", "full", seed=1)))
        (options.out / "gpu-profile.txt").write_text(text, encoding="utf-8")
    return 0


def _bench(options: argparse.Namespace) -> Bench:
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.quick:
        return Bench(TINY, 12, 4, options.instances, options.device)
    return Bench(LLAMA_7B, options.prompt, options.new_tokens, options.instances, options.device)


def _model(bench: Bench) -> Any:
    """The random model in bfloat16, made on the device itself."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(bench.device):
        config = instance.config(bench.shape, SPREAD)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = None
    return model.eval()


def _rate(bench: Bench) -> float:
    """The best measured rate of bfloat16 products, in floating-point operations per second."""
    squares = (4096, 8192) if bench.shape is LLAMA_7B else (256,)
    sizes = hardware.products(bench.shape, bench.shape.layers**2, bench.prompt, squares)
    return hardware.best_rate(sizes, torch.bfloat16, bench.device, seconds=0.2)


def _ours(bench: Bench, run: Run, component: Component, mode: Mode, rate: float) -> dict[str, Any]:
    """This package's engine on several instances, after one that warms up."""
    run(bench.task(component, mode, seed=0))
    gpu_tables.reset_peak(bench.device)
    tasks = [bench.task(component, mode, seed=1 + number) for number in range(bench.instances)]
    seconds = [_timed(bench, run, task)[0] for task in tasks]
    flop = of_task(bench.shape, tasks[0]).flop
    return {
        "component": component,
        "mode": mode,
        "pairs": len(tasks[0].pairs),
        "seconds": seconds,
        "flop": flop,
        "limit_seconds": flop / rate,
        "peak_bytes": gpu_tables.peak(bench.device),
    }


def _authors(
    bench: Bench, ours_run: Run, run: Run, component: Component, sample: int
) -> dict[str, Any]:
    """The authors' scheme on evenly spaced pairs, scaled to all; and how many rows agree.

    In bfloat16 a batched product may round otherwise than a single one, so rows with near-ties
    differ for no fault; float32 on the CPU is where sameness is checked.
    """
    full = bench.task(component, "full", seed=1)
    task = full.sample(min(sample, len(full.pairs)))
    run(task.sample(1))
    seconds, answers = _timed(bench, run, task)
    same = ours_run(task)
    agree = sum(list(a) == list(b) for a, b in zip(answers.ids, same.ids, strict=True))
    return {
        "component": component,
        "sampled": len(task.pairs),
        "seconds": seconds * len(full.pairs) / len(task.pairs),
        "same_rows": agree,
    }


def _timed(bench: Bench, run: Run, task: Task) -> tuple[float, Answers]:
    bench.wait()
    started = time.perf_counter()
    answers = run(task)
    bench.wait()
    return time.perf_counter() - started, answers


def _profiled(bench: Bench, work: Callable[[], object]) -> str:
    """The profiler's table of one instance, most expensive operations first."""
    from torch.profiler import ProfilerActivity, profile

    cuda = bench.device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as profiler:
        work()
        bench.wait()
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=order, row_limit=40))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add = parser.add_argument
    add("--device", default="cuda", help="torch device (default: cuda)")
    add("--quick", action="store_true", help="a tiny shape: shows that everything runs")
    add("--instances", type=int, default=5, help="instances of each kind (default: 5)")
    add("--sample", type=int, default=8, help="pairs that the authors' scheme is measured on")
    add("--prompt", type=int, default=150, help="tokens of each prompt (default: 150)")
    add("--new-tokens", type=int, default=20, help="tokens per row (default: 20)")
    add("--threads", type=int, help="threads of the host (default: torch's)")
    add("--profile", action="store_true", help="also write gpu-profile.txt")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
