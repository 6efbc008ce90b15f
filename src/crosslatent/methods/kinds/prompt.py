"""`prompt`: trained embeddings of virtual tokens before the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from crosslatent.methods.method import register_method
from crosslatent.methods.soft_prompts import VIRTUAL, Begun, SoftTuning, inputs_after
from crosslatent.methods.tuning import Weights
from crosslatent.model import caches

if TYPE_CHECKING:
    from crosslatent.model import Model, PromptBatch


@register_method("prompt")
class PromptTuning(SoftTuning):
    """Prompt tuning (arXiv 2104.08691): embeddings of 20 virtual tokens.

    They begin as the embeddings of tokens that are drawn from the vocabulary, the paper's better
    choice beside class labels; PEFT's "RANDOM" gives vectors that no token of the model is near to.
    """

    title = "prompt tuning"
    about = "Trained embeddings of virtual tokens before the prompt."
    source = "arXiv 2104.08691"
    rates = (1e-2, 3e-2)
    modules = ()
    read_tokens = VIRTUAL

    def fresh(self, model: Model, /) -> Weights:
        """Embeddings of drawn tokens, virtual d_model, in float32."""
        ids = torch.randint(model.vocabulary, (VIRTUAL,))
        with torch.no_grad():
            vectors = model.hf.get_input_embeddings()(ids.to(model.device))
        return {"prompt": torch.nn.Parameter(vectors.float().clone())}

    @staticmethod
    def begin(model: Model, weights: Mapping[str, Any], batch: PromptBatch, keep: int) -> Begun:
        """Read virtual and real tokens as one text, from their embeddings."""
        embedded = model.hf.get_input_embeddings()(batch.ids)
        vectors = weights["prompt"].to(embedded).expand(len(embedded), -1, -1)
        inputs = inputs_after(batch)
        first = torch.arange(VIRTUAL, device=batch.ids.device).expand(len(embedded), -1)
        cache = DynamicCache(config=model.hf.config)
        out = model.hf(
            inputs_embeds=torch.cat([vectors, embedded], 1),
            attention_mask=inputs["attention_mask"],
            position_ids=torch.cat([first, inputs["position_ids"]], 1),
            use_cache=True,
            logits_to_keep=keep,
            **{caches.cache_name(model.hf): cache},
        )
        return out.logits, cache
