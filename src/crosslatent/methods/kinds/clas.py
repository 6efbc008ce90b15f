"""CLAS: neurons that some languages share are boosted, those of one language damped."""

from __future__ import annotations

from crosslatent.methods.method import register_method
from crosslatent.methods.neuron_classes import NeuronScaling


@register_method("clas")
class Clas(NeuronScaling):
    """Cross-lingual activation steering, from its description: no code of its authors is known.

    With a negative strength it does the opposite, which the source seems to use (alpha = -5).
    """

    title = "CLAS (re-implementation, arXiv 2601.16390)"
    about = (
        "Multiplies neurons that are active in some languages, and those that are active in one "
        "alone, by a factor each, in late blocks at every token."
    )
