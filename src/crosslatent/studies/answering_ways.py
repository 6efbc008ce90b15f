"""The ways of answering that `overhead` measures, as users call them; their time and memory.

Transplants and steering run under the model's own ``generate`` (`patched`, `intervened`); answers
to both prompts and with several pairs come from the engine, as those of choosers do.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from crosslatent.answering.ask import Prompted, ask
from crosslatent.core.specs import Component, Pair, Site
from crosslatent.engine.memory import release
from crosslatent.interventions.activations import Captured, capture_ids
from crosslatent.interventions.kinds.steer import Steer
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import intervened, patched
from crosslatent.model import Model
from crosslatent.model.modes import generating

Run = Callable[[int], object]
"""Answers a batch of questions with so many new tokens each."""
Ids = list[tuple[int, ...]]


@dataclass(frozen=True)
class AnsweringWays:
    """Every way of answering a batch of equally long random prompts.

    Attributes:
        model: who answers.
        prompt: tokens of a prompt.
        batch: questions that are answered together.
        pairs: (source, target) layers of the answers of a selector that tries several.
        component: what is carried.
        layer: the block that a single transplant reads and edits, and that is steered.
        seed: of the prompts.
    """

    model: Model
    prompt: int
    batch: int
    pairs: Sequence[Pair]
    component: Component
    layer: int
    seed: int = 0

    def runs(self) -> dict[str, Run]:
        """What answers, by the names of `overhead.workloads`."""
        # Read before anything is timed.
        vectors = self._read(self.aux)
        return {
            "vanilla": self._generated,
            "engine": lambda new: self._asked([Prompted(ids, ((),)) for ids in self.main], new),
            "transplant": lambda new: self._transplanted(vectors, new),
            "short_aux": lambda new: self._transplanted(self._read(self.short), new),
            "long_aux": lambda new: self._transplanted(self._read(self.long), new),
            "steer": self._steered,
            "both_prompts": self._both,
            "pairs": self._with_pairs,
        }

    @cached_property
    def main(self) -> Ids:
        """The prompts that are answered."""
        return self._random("main", self.prompt)

    @cached_property
    def aux(self) -> Ids:
        """Counterparts as long as they are."""
        return self._random("aux", self.prompt)

    @cached_property
    def short(self) -> Ids:
        """Counterparts of half their length."""
        return self._random("short", max(1, self.prompt // 2))

    @cached_property
    def long(self) -> Ids:
        """Counterparts of twice their length."""
        return self._random("long", 2 * self.prompt)

    def _random(self, name: str, length: int) -> Ids:
        embeddings: Any = self.model.hf.get_input_embeddings()
        special = set(self.model.tokenizer.all_special_ids)
        known = [token for token in range(len(embeddings.weight)) if token not in special]
        draw = random.Random(f"{self.seed} {name} {length}")
        return [tuple(draw.choices(known, k=length)) for _ in range(self.batch)]

    @cached_property
    def _inputs(self) -> dict[str, Tensor]:
        ids = torch.tensor(self.main, device=self.model.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _read(self, prompts: Ids) -> Captured:
        return capture_ids(self.model, prompts, [self.component], batch_size=self.batch)

    def _generated(self, new_tokens: int) -> Tensor:
        """Greedy answers of the model's own ``generate``; no token ends one."""
        hf: Any = self.model.hf
        config = GenerationConfig(max_new_tokens=new_tokens, do_sample=False)
        with generating(hf, config):
            found: Tensor = hf.generate(**self._inputs)
        return found

    def _transplanted(self, vectors: Captured, new_tokens: int) -> Tensor:
        pair: dict[str, Any] = {"source": self.layer, "target": self.layer}
        with patched(self.model, vectors, component=self.component, **pair):
            return self._generated(new_tokens)

    def _steered(self, new_tokens: int) -> Tensor:
        with intervened(self.model, [(self._steer,)]):
            return self._generated(new_tokens)

    @cached_property
    def _steer(self) -> Steer:
        width = self.model.width("block")
        return Steer(Site("block", self.layer), torch.full((width,), 0.01, dtype=torch.float64))

    def _both(self, new_tokens: int) -> list[Any]:
        both = [ids for pair in zip(self.main, self.aux, strict=True) for ids in pair]
        return self._asked([Prompted(ids, ((),)) for ids in both], new_tokens)

    def _with_pairs(self, new_tokens: int) -> list[Any]:
        vectors = self._read(self.aux)[self.component]
        asked = [
            Prompted(
                ids,
                tuple(
                    (Transplant(Site(self.component, target), vectors[place, source]),)
                    for source, target in self.pairs
                ),
            )
            for place, ids in enumerate(self.main)
        ]
        return self._asked(asked, new_tokens)

    def _asked(self, prompts: Sequence[Prompted], new_tokens: int) -> list[Any]:
        """Answers of the engine; no token ends one."""
        with generating(self.model.hf, GenerationConfig(eos_token_id=[])):
            return list(ask(self.model, prompts, max_new_tokens=new_tokens))


def timed_rounds(
    runs: Mapping[str, Run],
    new_tokens: int,
    repetitions: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    done: Callable[[int], None] = lambda _round: None,
) -> dict[str, list[tuple[float, float]]]:
    """Time every way in turn, again and again, so that a slow minute falls on all of them.

    Args:
        runs: the ways; each is called once before, to warm up.
        new_tokens: of an answer.
        repetitions: rounds.
        clock: seconds; of a device that works by itself, when it has done what it was given.
        done: called after each round with its number, from 1.

    Returns:
        By way, of each round the seconds to the first new token, and those of whole answers.
    """
    for run in runs.values():
        run(min(new_tokens, 2))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for repetition in range(repetitions):
        gc.collect()
        for name, run in runs.items():
            first = _seconds(run, 1, clock)
            answer = first if new_tokens == 1 else _seconds(run, new_tokens, clock)
            found[name].append((first, answer))
        done(repetition + 1)
    return found


def _seconds(run: Run, new_tokens: int, clock: Callable[[], float]) -> float:
    started = clock()
    run(new_tokens)
    return clock() - started


def clock_of(model: Model) -> Callable[[], float]:
    """Seconds, when the model's devices have done what they were given."""
    kinds = {device.type for device in model.devices} - {"cpu", "meta"}

    def now() -> float:
        for kind in kinds:
            torch.get_device_module(kind).synchronize()
        return time.perf_counter()

    return now if kinds else time.perf_counter


def peak_growth(run: Callable[[], object], model: Model) -> int | None:
    """Most bytes that a call takes beside what is held before it.

    On CUDA those of tensors; on the CPU resident memory, whose peak Linux lets start again (None
    elsewhere). What was freed before and is not given back makes it look smaller.
    """
    gc.collect(1)  # what a call leaves is young; all objects of a process take a quarter second
    release(model.devices)
    devices = [device for device in model.devices if device.type == "cuda"]
    if devices:
        before = sum(map(torch.cuda.memory_allocated, devices))
        for device in devices:
            torch.cuda.reset_peak_memory_stats(device)
        run()
        return sum(map(torch.cuda.max_memory_allocated, devices)) - before
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        resident = _status("VmRSS")
        run()
        return max(0, _status("VmHWM") - resident)
    except (OSError, LookupError):
        return None


def _status(name: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields[name].split()[0]) * 1024
