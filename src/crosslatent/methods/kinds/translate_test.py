"""The method ``translate-test``: a translator makes the English prompt, which is answered."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.translating import TranslateTestWay, Translations


@register_method("translate-test")
class TranslateTest(Method):
    """Translation before, English answer, mapped back."""

    league = "made"
    title = "Translate-test"
    about = "A translation model makes the English prompt, which is answered in its place."
    source = "arXiv 2308.01223"
    english = False

    def lacks(self, bench: Bench, langs: Sequence[str]) -> str:
        """Without a translator there is nothing to translate with."""
        del langs
        if bench.translator is None:
            return "No translation model was given: name one with --translate-with."
        return ""

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del langs, settings, seed
        assert bench.translator is not None
        return TranslateTestWay(Translations(bench, bench.translator))
