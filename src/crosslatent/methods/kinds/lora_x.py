"""`lora-x`: low-rank adapters trained on answers in the languages that are asked later."""

from __future__ import annotations

from crosslatent.methods.method import register_method
from crosslatent.methods.tuning import LoraTuning


@register_method("lora-x")
class LoraOnTargets(LoraTuning):
    """LoRA (arXiv 2106.09685), fine-tuned on the pilot questions in all their languages (xSFT)."""

    title = "LoRA on the languages"
    about = "Low-rank adapters, trained on pilot questions in the languages that are asked."
    source = "arXiv 2106.09685"
