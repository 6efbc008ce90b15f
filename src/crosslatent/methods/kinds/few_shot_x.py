"""The method ``few-shot-x``: four solved pilot questions in the question's own language."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.method import Bench, Method, Settings, Way, register_method
from crosslatent.methods.prompting import DEMONSTRATIONS, FewShot, with_answer


@register_method("few-shot-x")
class FewShotOwn(Method):
    """Demonstrations in the language of the question."""

    league = "none"
    title = "Few-shot, examples in the language"
    about = "Four solved pilot questions in the same language, then the question."
    seeded = True
    least = DEMONSTRATIONS + 1

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Draw the demonstrations."""
        del settings
        return FewShot(bench.of(langs), with_answer, seed)
