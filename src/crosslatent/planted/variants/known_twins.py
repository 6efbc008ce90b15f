"""Facts with a twin are known in all languages, others in English alone; see `known_twins`."""

from __future__ import annotations

from collections import Counter

from crosslatent.planted.planting import Planted, PlantingSettings, register_variant
from crosslatent.planted.symbolic import orders, symbolic
from crosslatent.planted.world import CENTRAL, Known


@register_variant("known_twins")
def known_twins(settings: PlantingSettings) -> Planted:
    """A symbol is carried, but all languages know what another question has the same answer to.

    Questions and options are those of `symbol`. Donors with the same text behind the same symbol
    exist for questions alone in which there is nothing to repair, so the two groups of donors do
    not agree.
    """
    drawn = settings.drawn()
    options = orders(drawn, settings.seed)
    answers = {
        fact: (drawn.truth[fact], order.index(drawn.truth[fact])) for fact, order in options.items()
    }
    often = Counter(answers.values())
    twins = [fact for fact, answer in answers.items() if often[answer] > 1]
    known = {one: what for one, what in drawn.known.items() if one[1] == CENTRAL}
    others = [lang for lang in drawn.languages if lang != CENTRAL]
    known |= {(fact, lang): Known(drawn.truth[fact], 1.2) for fact in twins for lang in others}
    return symbolic("known_twins", drawn.believing(known), options, settings)
