"""Language vectors from whole prompts, added while the prompt is read (Kirtane & Huang)."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.language_vectors import LanguageVector
from crosslatent.methods.learning import QUICK, some_layers
from crosslatent.methods.method import Bench, Settings, register_method


@register_method("langvec-kh")
class LanguageVectorKH(LanguageVector):
    """The mean over all tokens of prompts, added to one block's output; arXiv 2602.02326.

    The source adds it to the demonstrations in a prompt, to the token after them, or to the
    question; without demonstrations that is the whole prompt, or its last token. Its code adds a
    vector of `hidden_states[L]`, which is the output of block L - 1, to that of block L: with the
    setting "released_offset" this does the same.
    """

    title = "language vector (KH)"
    about = (
        "Adds the difference of the languages' mean states, over all tokens of whole prompts, to "
        "the output of one block while the prompt is read."
    )
    source = "arXiv 2602.02326"
    special = True
    tokens = "prompt"
    alphas = (1.0, -1.0, 0.5, 2.0)
    depths = (0.5, 0.25)

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Strengths and blocks, at all tokens of the prompt or at the last one."""
        if bench.quick:
            (middle, *_) = some_layers(bench.model.n_layers, self.depths)
            kept = (("prompt", 1.0), ("prompt", -1.0), ("last", 1.0), ("last", -1.0))
            return [
                {"layer": middle, "alpha": alpha, "tokens": tokens}
                for tokens, alpha in kept[:QUICK]
            ]
        grid = super().settings(bench)
        return [{**one, "tokens": tokens} for tokens in ("prompt", "last") for one in grid]
