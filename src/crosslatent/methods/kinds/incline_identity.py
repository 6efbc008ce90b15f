"""The control of INCLINE that maps nothing: the last token's state is only made longer."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.methods.linear_maps import LearntMaps, LinearMaps, Map
from crosslatent.methods.method import Bench, register_method


@register_method("incline-identity")
class InclineIdentity(LinearMaps):
    """W = I, so that h becomes (1 + alpha) h: what of INCLINE is a mere change of length."""

    title = "INCLINE without a map (control)"
    control = True
    about = "Multiplies the output of every block at the prompt's last token by one number."
    fits = False
    seeded = False

    def refusal(self, bench: Bench) -> str:
        """Nothing keeps it from running."""
        del bench
        return ""

    def learn(self, bench: Bench, langs: Sequence[str], features: str, seed: int) -> LearntMaps:
        """The identity in every block."""
        del langs, features, seed
        return LearntMaps((Map(None),) * bench.model.n_layers)

    def _trained(self, bench: Bench) -> int:
        del bench
        return 0
