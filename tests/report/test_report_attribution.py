"""Attribution in the report: plain where it finds something, and where there is nothing to find."""

from __future__ import annotations

from crosslatent.analysis.attribution_quality import Agreement, AttributionResult, TopPairs, Trust
from crosslatent.report.selector_verdicts import attribution
from crosslatent.stats import Estimate


def share(value):
    return Estimate(value, value - 0.1, value + 0.1, 20, 10, 0)


def result(*found, trust=None):
    agreement = [Agreement("rise", "all", share(0.5))]
    solvable = 20 if found else 0
    return AttributionResult("ffn", "all", 30, solvable, (64, 64), agreement, list(found), trust)


def test_what_the_highest_scores_find_stands_beside_chance():
    found = TopPairs(4, share(0.9), share(0.4), share(0.8), share(0.5), share(0.1))
    lead, fold = attribution([result(found)])
    assert "the 4 pairs with the highest scores hold a repairing one for 90.0" in lead.sentences[0]
    assert fold.tables[0].rows[0][:4] == ["feed-forward", "all", "4", fold.tables[0].rows[0][3]]
    assert fold.tables[1].rows[0][4] == "0.50"


def test_a_run_without_anything_to_find_is_said():
    lead, fold = attribution([result()])
    assert lead.sentences == [
        "Feed-forward: no question is both wrong unmodified and repaired by some pair."
    ]
    assert fold.tables[0].rows == []
    assert attribution([]) == []


def test_a_ranking_that_fails_its_trial_is_not_shown():
    found = TopPairs(4, share(0.9), share(0.4), share(0.8), share(0.5), share(0.1))
    lead, fold = attribution([result(found, trust=Trust(8, 5))])
    (sentence,) = lead.sentences
    assert "fails its trial" in sentence
    assert "In 5 of 8 questions" in sentence
    assert "hold a repairing one" not in sentence
    assert fold.tables[0].rows == []
    assert fold.tables[1].rows  # how it agrees with the sweep is shown all the same
    lead, fold = attribution([result(found, trust=Trust(8, 6))])
    assert "passes its trial" in lead.sentences[0]
    assert "hold a repairing one" in lead.sentences[0]
    assert fold.tables[0].rows
