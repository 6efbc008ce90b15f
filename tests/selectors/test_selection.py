"""A saved selector at work on a model: it chooses what the rows of a sweep would make it choose."""

from __future__ import annotations

from dataclasses import asdict

import pytest

import crosslatent as xl
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.kinds.confidence import FittedConfidence
from crosslatent.selectors.kinds.vote import FittedVote
from crosslatent.selectors.kinds.ways import FittedWays
from crosslatent.selectors.saved import SavedSelector, load, save
from crosslatent.selectors.signals import Curve
from support.choosing import answered
from support.rows import AUX, MAIN, wrapped

PAIRS = tuple(TransplantSpec("ffn", s, t) for s in (0, 3) for t in (0, 2))
SPEC = {"components": ["ffn"], "max_new_tokens": 4, "strength": 1.0, "positions": 1}


def saved(fitted, **changes):
    origin = {"model": {"n_layers": 4}, "task": {"rule": "option"}, "spec": SPEC} | changes
    return SavedSelector("mine", "about", fitted, origin)


def choose(fitted, options=None, **changes):
    about = {} if options is None else {"options": list(options)}
    arguments = {"main": MAIN, "aux": AUX, "about": about} | changes
    return answered(wrapped(), saved(fitted), **arguments)


def transplanted(pair):
    return xl.transplant(
        wrapped(), main=MAIN, aux=AUX, **asdict(pair), max_new_tokens=SPEC["max_new_tokens"]
    )


def test_a_fixed_pair_is_the_plain_transplant():
    found = choose(FixedPairs(PAIRS[1]))
    plain = transplanted(PAIRS[1])
    assert found.chosen == PAIRS[1]
    assert (found.vanilla_ids, found.output_ids) == (plain.vanilla_ids, plain.output_ids)
    assert (found.main_token, found.aux_length) == (plain.main_token, plain.aux_length)
    assert set(found.to_dict()) >= {"chosen", "vanilla", "output", "cost", "warnings"}


@pytest.mark.parametrize("options", [None, ("a", "b", "c")])
@pytest.mark.parametrize("measure", ["probability", "entropy", "margin"])
def test_the_surest_of_the_candidates_is_answered(measure, options):
    found = choose(FittedConfidence(measure, PAIRS, 6.0), options=options)
    assert found.chosen in PAIRS
    assert found.candidates == 4
    assert found.output_ids == transplanted(found.chosen).output_ids
    assert bool(found.warnings) == (options is None)


def test_only_fitted_pairs_compete_and_attribution_keeps_the_highest_of_them():
    found = choose(FittedConfidence("margin", PAIRS, 5.0, top=2))
    assert found.candidates == 2
    assert found.chosen in PAIRS
    single = choose(FittedConfidence("margin", PAIRS[3:], 4.0, top=2))
    assert (single.candidates, single.chosen) == (1, PAIRS[3])


def test_options_are_no_matter_of_a_pair_that_is_fixed():
    assert choose(FixedPairs(PAIRS[1])).warnings == ()


@pytest.mark.parametrize(
    ("fitted", "says"),
    [
        (FixedPairs(TransplantSpec("ffn", 99, 0)), "the layer 99 is none of 0 to 3"),
        (FittedConfidence("margin", (), 5.0), "no pairs to choose among"),
    ],
)
def test_pairs_that_the_model_does_not_have_are_refused(fitted, says):
    with pytest.raises(UsageError, match=says):
        answered(wrapped(), saved(fitted, model=None), main=MAIN, aux=AUX)


def test_a_vote_reads_whole_answers_and_may_leave_the_answer_unmodified():
    import numpy as np

    found = choose(FittedVote(PAIRS, np.zeros(4), 1.0))
    assert found.chosen is None
    assert found.output_ids == found.vanilla_ids
    heavy = choose(FittedVote(PAIRS, np.array([0.0, 5.0, 0.0, 0.0]), 0.1))
    same = transplanted(PAIRS[1]).output.strip().lower() == heavy.vanilla.strip().lower()
    assert heavy.chosen == (None if same else PAIRS[1])


@pytest.mark.parametrize("way", ["unmodified", "other", "transplant"])
def test_one_of_three_ways_is_taken(way, tmp_path):
    import numpy as np

    def curve(high):
        return Curve("logistic", np.array([0.0, 1.0]), np.array([9.0 if high else -9.0, 0.0]))

    curves = tuple(curve(way == one) for one in ("unmodified", "other", "transplant"))
    fitted = FittedWays(FittedConfidence("margin", PAIRS, 6.0), curves)
    save(saved(fitted), tmp_path / "ways.json")
    found = answered(wrapped(), load(tmp_path / "ways.json"), main=MAIN, aux=AUX)
    assert found.way == found.to_dict()["way"] == way
    if way == "transplant":
        assert found.output_ids == transplanted(found.chosen).output_ids
    else:
        assert found.chosen is None
    if way == "other":
        pair, tokens = asdict(PAIRS[0]), SPEC["max_new_tokens"]
        aux = xl.transplant(wrapped(), main=AUX, aux=MAIN, **pair, max_new_tokens=tokens)
        assert found.output_ids == aux.vanilla_ids != found.vanilla_ids


def test_another_model_is_refused():
    other = saved(FixedPairs(PAIRS[0]), model={"n_layers": 12})
    with pytest.raises(UsageError, match="12 blocks, but this one has 4"):
        answered(wrapped(), other, main=MAIN, aux=AUX)
