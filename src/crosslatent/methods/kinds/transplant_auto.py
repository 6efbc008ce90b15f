"""The method ``transplant-auto``: the pilot pair, with a translation as counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.pair_ways import TransplantWay, every_pair, spec_of
from crosslatent.methods.translating import Translations, own_or_given
from crosslatent.tasks import Item


@register_method("transplant-auto")
class TransplantAuto(Method):
    """A transplant for questions that have no counterpart."""

    league = "made"
    title = "Transplant, own counterpart"
    about = (
        "As the pilot pair, but the counterpart is a translation: by the model that was given for "
        "it, else by the model itself."
    )
    source = "arXiv 2412.12686"
    english = False

    def __init__(self) -> None:
        """Nothing is translated yet."""
        self._made: tuple[tuple[Item, ...], Mapping[str, str]] | None = None

    def refusal(self, bench: Bench) -> str:
        """An encoder-decoder model cannot be asked for translations."""
        if bench.translator is None and bench.model.has_encoder:
            return "An encoder reads this model's prompts: it cannot be asked for translations."
        return ""

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Every pair of attention and feed-forward outputs."""
        return every_pair(bench)

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Translate all questions, once."""
        del langs, seed
        if self._made is None:
            translations = Translations(bench, own_or_given(bench))
            failures = translations.prepare(bench.items)
            self._made = tuple(translations.made.values()), failures
        return TransplantWay(bench, bench.vectors(self._made[0]), spec_of(settings), sweeps=False)
