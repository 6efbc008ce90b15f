"""The method ``transplant-pilot``: for each language the pair that is best on the pilot."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.pair_ways import TransplantWay, every_pair, spec_of


@register_method("transplant-pilot")
class TransplantPilot(Method):
    """A pair of each language, picked on pilot questions."""

    league = "given"
    title = "Transplant, pilot pair"
    about = "For each language the component and pair with most right answers on the pilot."
    source = "arXiv 2412.12686 v1"
    english = False

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Every pair of attention and feed-forward outputs."""
        return every_pair(bench)

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del langs, seed
        return TransplantWay(bench, bench.vectors(bench.items), spec_of(settings))
