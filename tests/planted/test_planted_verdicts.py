"""Every sentence that judges is said of the planted models of which it is true, and of no other."""

from __future__ import annotations

from functools import cache

import pytest

from crosslatent.report.verdicts import FAMILIES
from scripts.planted_verdicts import NOT_PLANTED, TRUTH, holds, measured


@cache
def found(name):
    """What a report says in an experiment."""
    return measured([name])[name]


def test_every_id_has_its_place():
    ids = {identity for family in FAMILIES for identity in family.ids()}
    assert TRUTH.keys() | NOT_PLANTED.keys() == ids
    assert not TRUTH.keys() & NOT_PLANTED.keys()


def check(identity):
    for where, expected in zip(TRUTH[identity], (True, False), strict=True):
        name = where.partition("/")[0]
        assert holds(where, identity, {name: found(name)}) == expected, (where, found(name))


def test_a_pair_that_changes_nothing_is_said_to_change_nothing():
    said = {"idle": found("idle")}
    assert holds("idle", "map.flat", said)
    assert holds("idle/ffn", "union.lifts_nothing", said)
    assert not holds("idle", "map.gains", said)
    assert not holds("idle/attn", "union.lifts_nothing", said)


@pytest.mark.slow
@pytest.mark.parametrize("identity", TRUTH)
def test_a_sentence_is_said_where_it_is_planted_and_nowhere_else(identity):
    check(identity)
