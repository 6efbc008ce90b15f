"""`lora-en`: low-rank adapters trained on English answers alone, asked in other languages."""

from __future__ import annotations

from crosslatent.methods.method import Bench, register_method
from crosslatent.methods.tuning import LoraTuning, english
from crosslatent.tasks import Item


@register_method("lora-en")
class LoraOnEnglish(LoraTuning):
    """LoRA (arXiv 2106.09685), fine-tuned on the counterparts: zero-shot transfer."""

    title = "LoRA on English"
    about = "Low-rank adapters, trained on the English counterparts of pilot questions."
    source = "arXiv 2106.09685"

    def questions(self, bench: Bench) -> list[Item]:
        """The counterparts, as questions."""
        return english(bench)
