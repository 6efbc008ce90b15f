"""The method ``oracle-en``: the given English prompt is answered instead."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import counterpart
from crosslatent.runs.schema import RowKey
from crosslatent.tasks import Item


class _Counterpart(Way):
    """The counterpart in the place of the question."""

    key = RowKey("translate_test")

    def asked(self, item: Item, /) -> Item:
        """The counterpart, judged by what is right in its language."""
        return counterpart(item)


@register_method("oracle-en")
class OracleEnglish(Method):
    """What a perfect translation would give: translate-test of the run report."""

    league = "given"
    title = "English prompt itself"
    about = "The given English prompt is answered, and its option or answer is mapped back."
    source = "the upper end of translate-test"
    english = False

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del bench, langs, settings, seed
        return _Counterpart()
