"""The method ``vanilla``: the model as it is."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.runs.schema import RowKey


@register_method("vanilla")
class Vanilla(Method):
    """The unmodified model, which all others are compared with."""

    league = "none"
    title = "Unmodified model"
    about = "The question as it is."

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del bench, langs, settings, seed
        way = Way()
        way.edits_only, way.key = True, RowKey("vanilla")
        return way
