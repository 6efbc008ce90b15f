"""TransformerLens before 3.0, with weights of its own, all pairs as rows over an expanded cache.

`HookedTransformer` is what most code on TransformerLens is written for; its own cache is expanded
to the rows. One hook per target block edits the rows of that block.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import hf
from benchmarks.contenders.transformer_lens_batched import replace_rows
from benchmarks.task import Answers, Component, Run, Task

CONTEXT = 1024
"""Longest sequence; its attention masks grow with the square of it."""


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    model = converted(hf.load(folder))

    @torch.no_grad()
    def run(task: Task) -> Answers:
        from transformer_lens import HookedTransformerKeyValueCache

        started = time.perf_counter()
        vectors = captured(model, task)
        once = time.perf_counter() - started
        cache = HookedTransformerKeyValueCache.init_cache(model.cfg, "cpu", 1)
        prefix = torch.tensor([task.main[:-1]])
        model(prefix, past_kv_cache=cache, attention_mask=torch.ones_like(prefix), return_type=None)
        expand(cache, len(task.pairs))
        edits = [
            (hook_name(task.component, target), replace_rows(rows, values))
            for target, (rows, values) in hf.rows_by_target(task.pairs, vectors).items()
        ]
        last = torch.full((len(task.pairs), 1), task.main[-1])
        real = torch.ones_like(last)
        logits = model.run_with_hooks(
            last, fwd_hooks=edits, past_kv_cache=cache, attention_mask=real
        )[:, -1]
        tokens = [logits.argmax(-1)]
        while len(tokens) < task.new_tokens:
            step = model(tokens[-1][:, None], past_kv_cache=cache, attention_mask=real)
            tokens.append(step[:, -1].argmax(-1))
        ids = torch.stack(tokens, dim=1).tolist()
        return Answers(ids, hf.watched(logits, task.watch), once)

    return run


def converted(source: Any) -> Any:
    """The same model in TransformerLens' own classes, weights unprocessed."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    config = source.config
    cfg = HookedTransformerConfig(
        d_model=config.hidden_size,
        d_head=config.head_dim,
        n_heads=config.num_attention_heads,
        n_key_value_heads=config.num_key_value_heads,
        d_mlp=config.intermediate_size,
        n_layers=config.num_hidden_layers,
        n_ctx=CONTEXT,
        d_vocab=config.vocab_size,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=config.head_dim,
        rotary_base=int(
            config.rope_parameters["rope_theta"]
            if hasattr(config, "rope_parameters")
            else config.rope_theta
        ),
        rotary_adjacent_pairs=False,
        final_rms=True,
        gated_mlp=True,
        eps=config.rms_norm_eps,
        original_architecture="LlamaForCausalLM",
        device="cpu",
        init_weights=False,
    )
    model = HookedTransformer(cfg)
    model.load_state_dict(convert_llama_weights(source, cfg), strict=False)
    return model.eval()


def expand(cache: Any, rows: int) -> None:
    """Repeat the one row of a cache, as views; the next step copies them as it appends."""
    for entry in cache.entries:
        entry.past_keys = entry.past_keys.expand(rows, -1, -1, -1)
        entry.past_values = entry.past_values.expand(rows, -1, -1, -1)
    cache.previous_attention_mask = cache.previous_attention_mask.expand(rows, -1)


def hook_name(component: Component, layer: int) -> str:
    """TransformerLens' name of a component's output."""
    return f"blocks.{layer}.hook_{'attn' if component == 'attn' else 'mlp'}_out"


def captured(model: Any, task: Task) -> torch.Tensor:
    """The component's output at the last token of aux in every block, layers d_model."""
    kept: list[torch.Tensor] = []

    def keep(output: torch.Tensor, hook: Any) -> None:  # noqa: ARG001  called by keyword
        kept.append(output[0, -1].clone())

    hooks = [(hook_name(task.component, layer), keep) for layer in range(model.cfg.n_layers)]
    aux = torch.tensor([task.aux])
    real = torch.ones_like(aux)
    model.run_with_hooks(aux, fwd_hooks=hooks, attention_mask=real, return_type=None)
    return torch.stack(kept)
