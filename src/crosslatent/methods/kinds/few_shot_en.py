"""The method ``few-shot-en``: four solved English pilot questions, then the question."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import DEMONSTRATIONS, FewShot, solved_in_english, with_answer


@register_method("few-shot-en")
class FewShotEnglish(Method):
    """Demonstrations in English."""

    league = "none"
    title = "Few-shot, English examples"
    about = "Four solved English pilot questions, then the question."
    seeded = True
    least = DEMONSTRATIONS + 1

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Draw the demonstrations."""
        del settings
        return FewShot(solved_in_english(bench, langs), with_answer, seed)
