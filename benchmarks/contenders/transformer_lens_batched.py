"""TransformerLens, all pairs as rows of one batch over an expanded cache.

Its bridge wraps the Hugging Face model (the class with weights of its own is gone since 4.0) and
takes a cache back in, so the prefix is read once and the last prompt token is all that a row
repeats. One hook per target block edits the rows of that block.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import hf
from benchmarks.task import Answers, Component, Run, Task


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    bridge = TransformerBridge.boot_transformers(
        str(folder),
        device="cpu",
        hf_model=hf.load(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = captured(bridge, task)
        once = time.perf_counter() - started
        _, cache = forward(bridge, torch.tensor([task.main[:-1]]))
        cache.batch_repeat_interleave(len(task.pairs))
        edits = [
            (hook_name(task.component, target), replace_rows(rows, values))
            for target, (rows, values) in hf.rows_by_target(task.pairs, vectors).items()
        ]
        last = torch.full((len(task.pairs), 1), task.main[-1])
        with bridge.hooks(fwd_hooks=edits):
            logits, cache = forward(bridge, last, cache)
        tokens = [logits.argmax(-1)]
        while len(tokens) < task.new_tokens:
            step, cache = forward(bridge, tokens[-1][:, None], cache)
            tokens.append(step.argmax(-1))
        ids = torch.stack(tokens, dim=1).tolist()
        return Answers(ids, hf.watched(logits, task.watch), once)

    return run


def forward(bridge: Any, ids: torch.Tensor, cache: Any = None) -> tuple[torch.Tensor, Any]:
    """Logits of the last column (batch vocab), and the cache after it."""
    logits, cache = bridge(
        ids,
        return_type="logits_and_cache",
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return logits[:, -1], cache


def hook_name(component: Component, layer: int) -> str:
    """TransformerLens' name of a component's output."""
    return f"blocks.{layer}.{'attn' if component == 'attn' else 'mlp'}.hook_out"


def captured(bridge: Any, task: Task) -> torch.Tensor:
    """The component's output at the last token of aux in every block, layers d_model."""
    kept: list[torch.Tensor] = []

    def keep(output: torch.Tensor, hook: Any) -> None:  # noqa: ARG001  called by keyword
        kept.append(output[0, -1].clone())

    hooks = [(hook_name(task.component, layer), keep) for layer in range(bridge.cfg.n_layers)]
    bridge.run_with_hooks(torch.tensor([task.aux]), fwd_hooks=hooks, logits_to_keep=1)
    return torch.stack(kept)


def replace_rows(rows: list[int], values: torch.Tensor) -> Any:
    """Put `values` (rows d_model) in the place of the last column of `rows`."""

    def change(output: torch.Tensor, hook: Any) -> torch.Tensor:  # noqa: ARG001  likewise
        output[rows, -1] = values
        return output

    return change
