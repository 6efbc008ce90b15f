"""The method ``self-translate``: the model makes its own English prompt, and answers that."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.translating import TranslateTestWay, Translations
from crosslatent.translate import OwnTranslator


@register_method("self-translate")
class SelfTranslate(Method):
    """Translation by the model itself, segment by segment, then the English answer."""

    league = "made"
    title = "Self-translate"
    about = "The model translates the question segment by segment, then answers its translation."
    source = "arXiv 2308.01223; segments of ours, and a prompt without examples"
    english = False

    def refusal(self, bench: Bench) -> str:
        """An encoder-decoder model cannot be asked for translations."""
        if bench.model.has_encoder:
            return "An encoder reads this model's prompts: it cannot be asked for translations."
        return ""

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del langs, settings, seed
        return TranslateTestWay(Translations(bench, OwnTranslator(bench.model, chat=bench.chat)))
