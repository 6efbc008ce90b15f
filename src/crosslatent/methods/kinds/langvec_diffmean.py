"""Language vectors of length 1 from any texts, added at every token (CLaS-Bench's DiffMean)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from crosslatent.methods.language_vectors import LanguageVector
from crosslatent.methods.method import Bench, Settings, register_method

_STEPS = (("relative", 0.1), ("relative", -0.1), ("unit", 1.0), ("unit", 5.0))
_MORE = (("relative", 0.3), ("relative", -0.3))


@register_method("langvec-diffmean")
class LanguageVectorDiffMean(LanguageVector):
    """The difference of means, brought to length 1, at every token; arXiv 2601.08331.

    The source adds 1 to 5 times the vector of length 1, which is little in a model with long
    states: strengths relative to the state are tried too.
    """

    title = "language vector (DiffMean)"
    about = (
        "Adds the difference of the languages' mean states, brought to length 1 or to a share of "
        "the state's, to the output of one block at every token."
    )
    source = "arXiv 2601.08331"
    scale = "unit"
    depths = (0.5, 0.25)

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Steps of either scale, in two blocks; of a quick search, in one."""
        layers = self.layers(bench)
        grid = product(_STEPS, layers[:1]) if bench.quick else product(_STEPS + _MORE, layers)
        return [{"layer": at, "alpha": alpha, "scale": scale} for (scale, alpha), at in grid]
