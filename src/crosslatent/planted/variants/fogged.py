"""A model that Lens can repair; see `fogged`."""

from __future__ import annotations

from crosslatent.planted.foggy import foggy
from crosslatent.planted.planting import Planted, PlantingSettings, register_variant

LENGTH = 6.0
"""Of the fog, beside 16 of what all tokens have."""


@register_variant("fogged")
def fogged(settings: PlantingSettings) -> Planted:
    """All languages know the facts, and a fog below the last block hides all but English.

    The fog lengthens the state of a question, so that after the final norm less is left of what all
    languages share, and it is read as a word of its own. Who aligns the languages in what they
    share must take it away.
    """
    return foggy("fogged", settings, LENGTH)
