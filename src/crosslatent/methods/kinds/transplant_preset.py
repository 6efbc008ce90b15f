"""The method ``transplant-preset``: the paper's pair for the type of the task."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.core.specs import PRESETS
from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.pair_ways import TransplantWay, plain, spec_of


@register_method("transplant-preset")
class TransplantPreset(Method):
    """A pair that needs no tuning."""

    league = "given"
    title = "Transplant, preset of the paper"
    about = "The pair that XTransplant v2 gives for this type of task; nothing is tuned."
    source = "arXiv 2412.12686"
    for_each = False
    english = False

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """The preset of the task's type."""
        return (plain(PRESETS.get(bench.task.type, PRESETS["understanding"])),)

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del langs, seed
        return TransplantWay(bench, bench.vectors(bench.items), spec_of(settings))
