"""The method ``translate-test``: a translator makes the English prompt, which is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import counterpart
from crosslatent.methods.translating import Translations
from crosslatent.tasks import Item


class TranslateTestWay(Way):
    """The question's translation in its place."""

    def __init__(self, translations: Translations) -> None:
        """Take what translates."""
        self._translations = translations

    def prepare(self, items: Sequence[Item], /) -> Mapping[str, str]:
        """Translate them."""
        return self._translations.prepare(items)

    def asked(self, item: Item, /) -> Item:
        """The translation, judged as the given counterpart is."""
        return counterpart(item, self._translations.text(item))

    def extra_tokens(self, item: Item, /) -> int:
        """Those of the translation."""
        return self._translations.tokens(item)


@register_method("translate-test")
class TranslateTest(Method):
    """Translation before, English answer, mapped back."""

    league = "made"
    title = "Translate-test"
    about = "A translation model makes the English prompt, which is answered in its place."
    source = "arXiv 2308.01223"
    english = False

    def refusal(self, bench: Bench) -> str:
        """Without a translator there is nothing to translate with."""
        if bench.translator is None:
            return "No translation model was given: name one with --translate-with."
        return ""

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del langs, settings, seed
        assert bench.translator is not None
        return TranslateTestWay(Translations(bench, bench.translator))
