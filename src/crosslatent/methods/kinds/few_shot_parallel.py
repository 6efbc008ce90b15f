"""The method ``few-shot-parallel``: four solved questions in both languages, then both prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import DEMONSTRATIONS, FewShot, both
from crosslatent.tasks import Item


def _shown(item: Item) -> tuple[str, str]:
    return both(item), item.answer or ""


def _in_the_same_form(item: Item) -> Item:
    return replace(item, main=both(item))


@register_method("few-shot-parallel")
class FewShotParallel(Method):
    """Demonstrations of what an English prompt above the question is for."""

    league = "given"
    title = "Few-shot, both prompts"
    about = (
        "Four pilot questions, each as English prompt, question and answer; then the question in "
        "the same form."
    )
    seeded = True
    least = DEMONSTRATIONS + 1
    english = False

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Draw the demonstrations."""
        del settings
        pool = [item for item in bench.of(langs) if item.aux]
        return FewShot(pool, _shown, seed, _in_the_same_form)
