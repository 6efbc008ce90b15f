"""A small transplant study by itself: captures, replaces, first answer token only.

It serves the tuning of the recipe, where every question's answer is one token. The last
prompt token is run alone over the cached keys and values of the tokens before it, so that
one (source, target) pair costs one single-token pass for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedTokenizerFast

COMPONENTS = ("ffn", "attn")


def module(model: LlamaForCausalLM, component: str, layer: int) -> nn.Module:
    """The module that writes `component` of block `layer`."""
    block = model.model.layers[layer]
    found: nn.Module = block.mlp if component == "ffn" else block.self_attn
    return found


@contextmanager
def _hooked(target: nn.Module, hook: object) -> Iterator[None]:
    handle = target.register_forward_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


@dataclass
class LastToken:
    """A batch of prompts, run up to their last token; left-padded, so the ends line up."""

    model: LlamaForCausalLM
    cache: DynamicCache
    last: Tensor  # (batch, 1)
    mask: Tensor  # (batch, pos)

    @classmethod
    def of(
        cls, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str]
    ) -> LastToken:
        """Prefill everything but the last token of each prompt."""
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(
                input_ids=ids[:, :-1],
                attention_mask=mask[:, :-1],
                position_ids=positions[:, :-1],
                past_key_values=cache,
            )
        return cls(model, cache, ids[:, -1:], mask)

    def logits(self) -> Tensor:
        """Next-token logits, (batch, vocabulary); the cache is left as it was."""
        with torch.no_grad():
            out = self.model(
                input_ids=self.last,
                attention_mask=self.mask,
                position_ids=self.mask.sum(1, keepdim=True) - 1,
                past_key_values=self.cache,
            )
        self.cache.crop(-1)
        scores: Tensor = out.logits[:, -1].float()
        return scores

    def capture(self) -> dict[str, Tensor]:
        """Outputs of every module at the last token: component -> (layers, batch, d_model)."""
        found: dict[str, list[Tensor]] = {name: [] for name in COMPONENTS}
        handles = []
        for name in COMPONENTS:
            for layer in range(self.model.config.num_hidden_layers):

                def keep(_m: nn.Module, _i: object, out: object, name: str = name) -> None:
                    found[name].append((out[0] if isinstance(out, tuple) else out)[:, -1])  # type: ignore[index]

                handles.append(module(self.model, name, layer).register_forward_hook(keep))
        try:
            self.logits()
        finally:
            for handle in handles:
                handle.remove()
        return {name: torch.stack(rows) for name, rows in found.items()}

    def patched(self, component: str, target: int, vectors: Tensor) -> Tensor:
        """Next-token logits with `vectors` (batch, d_model) as the output of block `target`."""

        def replace(_m: nn.Module, _i: object, out: object) -> object:
            if isinstance(out, tuple):
                return (vectors[:, None].to(out[0].dtype), *out[1:])
            return vectors[:, None]

        with _hooked(module(self.model, component, target), replace):
            return self.logits()
