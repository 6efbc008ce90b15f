"""Sentences that judge: one template and one condition for each id (see `family`)."""

from crosslatent.report.verdicts.choosing import BEATS, RECOVERS, STRICT
from crosslatent.report.verdicts.comparing import COMPARED, REPLICATION
from crosslatent.report.verdicts.diagnosis import (
    CARRIED,
    CLAIM,
    SPELLED,
    TRAITS,
)
from crosslatent.report.verdicts.effects import (
    BOUND,
    FOLLOW,
    GAIN,
    HEADLINE,
    PAIR,
    UNION,
    WAYS,
)
from crosslatent.report.verdicts.family import (
    EXPLORATORY,
    FEWEST,
    Family,
    Phrase,
    exploratory,
    points_with_interval,
)
from crosslatent.report.verdicts.grid_verdicts import LAYERS, MAP, PASS_AT_K, RANKING
from crosslatent.report.verdicts.outcome import FINDING

FAMILIES = (
    GAIN,
    HEADLINE,
    BOUND,
    UNION,
    PASS_AT_K,
    FOLLOW,
    WAYS,
    PAIR,
    CARRIED,
    SPELLED,
    LAYERS,
    MAP,
    TRAITS,
    CLAIM,
    BEATS,
    RECOVERS,
    STRICT,
    RANKING,
    FINDING,
    COMPARED,
    REPLICATION,
)
"""Every family; every id of theirs has a test."""

__all__ = [
    "BEATS",
    "BOUND",
    "CARRIED",
    "CLAIM",
    "COMPARED",
    "EXPLORATORY",
    "FAMILIES",
    "FEWEST",
    "FINDING",
    "FOLLOW",
    "GAIN",
    "HEADLINE",
    "LAYERS",
    "MAP",
    "PAIR",
    "PASS_AT_K",
    "RANKING",
    "RECOVERS",
    "REPLICATION",
    "SPELLED",
    "STRICT",
    "TRAITS",
    "UNION",
    "WAYS",
    "Family",
    "Phrase",
    "exploratory",
    "points_with_interval",
]
