"""Language vectors in every block that turn states and keep their length (ReCoVeR)."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.language_vectors import LanguageVector
from crosslatent.methods.learning import QUICK
from crosslatent.methods.method import Bench, Settings, register_method


@register_method("langvec-recover")
class LanguageVectorRecover(LanguageVector):
    """Every block's own vector, at every token but the first; arXiv 2509.14814.

    Its v_target - beta v_central has beta = 1 here, where the mean over languages that the source
    subtracts first cancels. The released strength, 1 times a vector of length 1, is little beside
    states of length 10 or 100, so strengths relative to the state are tried too.
    """

    title = "language vectors in all blocks (ReCoVeR)"
    about = (
        "Adds the difference of the languages' mean states to the output of every block, at every "
        "token but the first, and scales the result back to its length."
    )
    source = "arXiv 2509.14814"
    scale = "relative"
    tokens = "all-but-first"
    keep_norm = True
    alphas = (0.05, -0.05, 0.1, -0.1, 0.02, -0.02, 0.2, -0.2)

    def layers(self, bench: Bench) -> Sequence[int | str]:
        """All of them."""
        del bench
        return ["all"]

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """The released strength, then those relative to the state."""
        released = {"layer": "all", "alpha": 1.0, "scale": "unit"}
        grid = [released, *super().settings(bench)]
        return grid[:QUICK] if bench.quick else grid
