"""What the two nnsight contenders share: loading, reading aux once, how to decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import hf
from benchmarks.task import Component, Task


def load(folder: Path) -> Any:
    """The model of a folder, wrapped."""
    from nnsight import TransformersModel
    from transformers import AutoTokenizer

    return TransformersModel(
        hf.load(folder), tokenizer=AutoTokenizer.from_pretrained(folder), task="text-generation"
    )


def module_of(model: Any, component: Component, layer: int) -> Any:
    """The attention or feed-forward module of a block; attention gives (output, weights)."""
    block = model.model.layers[layer]
    return block.self_attn if component == "attn" else block.mlp


def greedily(task: Task) -> dict[str, Any]:
    """Settings of `generate`: plain greedy decoding, exactly the tokens wanted, no stop."""
    return {"max_new_tokens": task.new_tokens, "do_sample": False, "pad_token_id": 0}


def captured(model: Any, task: Task) -> Tensor:
    """The component's output at the last token of aux in every block, layers d_model."""
    kept: list[Tensor] = []
    modules = [
        module_of(model, task.component, layer) for layer in range(model.config.num_hidden_layers)
    ]
    attention = task.component == "attn"
    prompt = torch.tensor([task.aux])
    with model.trace(prompt, logits_to_keep=1, use_cache=False):
        for module in modules:
            output = module.output[0] if attention else module.output
            kept.append(output[0, -1].clone())
        kept.save()  # type: ignore[attr-defined]
    return torch.stack(kept)
