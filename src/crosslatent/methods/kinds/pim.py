"""The method ``pim``: the English prompt and the question in one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import both
from crosslatent.tasks import Item


class _Both(Way):
    """Both prompts, one below the other."""

    def asked(self, item: Item, /) -> Item:
        """English first, so that the answer follows the question itself."""
        return replace(item, main=both(item))


@register_method("pim")
class BothPrompts(Method):
    """The same information as a transplant, without surgery."""

    league = "given"
    title = "Both prompts in one"
    about = "The English prompt and, on the next line, the question; then the answer."
    source = "a baseline of XTransplant, arXiv 2412.12686 [2nd]"
    english = False

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Nothing is learnt."""
        del bench, langs, settings, seed
        return _Both()
