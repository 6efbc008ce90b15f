"""The control of CLAS that scales as many neurons, but any."""

from __future__ import annotations

from crosslatent.methods.method import register_method
from crosslatent.methods.neuron_classes import LearntClasses, NeuronClasses, NeuronScaling


@register_method("clas-random")
class ClasRandom(NeuronScaling):
    """As many neurons of both classes in every block, drawn at random."""

    title = "CLAS with random neurons (control)"
    control = True
    about = "Multiplies as many neurons as CLAS by its factors, but neurons that are drawn."
    seeded = True

    def chosen(self, classes: NeuronClasses, seed: int) -> NeuronClasses:
        """Random neurons."""
        return classes.drawn_anew(seed)

    def note(self, learnt: LearntClasses) -> str:
        """The neurons are any."""
        del learnt
        return "The neurons are drawn at random, as many in every block as CLAS scales."
