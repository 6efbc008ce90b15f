"""Answers become judged rows, with probabilities only where a first token tells options apart."""

from __future__ import annotations

import math

import pytest

from crosslatent import oracle
from crosslatent.decoding import Decoded
from crosslatent.scoring import ItemScorer, distinct_starts
from crosslatent.tasks import Item
from support.rows import ids_of, wrapped


@pytest.fixture(scope="module")
def model():
    return wrapped()


def item(**changes):
    fields = {"id": "q", "lang": "sw", "aux_lang": "en", "main": "m", "aux": "a"}
    return Item(**(fields | changes))


def test_options_that_share_their_first_token_have_no_probability(model):
    scorer = ItemScorer(model, item(options=("(1)", "(2)"), answer="(2)"), "option")
    assert scorer.watch == []
    record = scorer.record(Decoded(tuple(ids_of(model, "(2)")), (), 0.5, True))
    assert record["option_logprobs"] == [None, None]
    assert record["gold_logprob"] is None
    assert (record["prediction"], record["correct"]) == ("(2)", True)
    assert record["correct_by_rule"]["exact"]


def test_a_token_that_two_answers_may_begin_with_is_left_out(model):
    starts = distinct_starts(model, ["yes", "no", "nope"])
    assert starts["yes"]
    assert starts["no"] == starts["nope"] == []


def test_probabilities_are_those_of_the_models_first_step(model):
    question = item(options=("yes", "no"), answer="no", main="Je? ")
    scorer = ItemScorer(model, question, "option")
    ids = ids_of(model, question.main)
    everything = list(range(model.hf.config.vocab_size))
    (all_of_them,) = oracle.run_rows(model, ids, [()], max_new_tokens=1, watch=everything)
    (decoded,) = oracle.run_rows(model, ids, [()], max_new_tokens=1, watch=scorer.watch)
    assert sum(math.exp(value) for value in all_of_them.watched) == pytest.approx(1, abs=1e-4)
    record = scorer.record(decoded)
    # The blank before " yes" and " no" is shared, so only the letters count.
    by_letter = [all_of_them.watched[ids_of(model, letter)[0]] for letter in "yn"]
    assert record["option_logprobs"] == pytest.approx(by_letter, abs=1e-5)
    assert record["gold_logprob"] == pytest.approx(by_letter[1], abs=1e-5)


def test_open_answers_and_items_without_gold(model):
    record = ItemScorer(model, item(answer="Nairobi"), "contains").record(
        Decoded(tuple(ids_of(model, "Ni nairobi.")), (0.0, 0.0), 1.0, True)
    )
    assert record["correct"]
    assert record["correct_by_rule"] == {"contains": True, "exact": False}
    assert record["option_logprobs"] is None
    assert record["gold_logprob"] == pytest.approx(math.log(2))
    nothing = ItemScorer(model, item(), "contains").record(Decoded((), (), 1.0, False))
    assert nothing["correct"] is None
    assert nothing["correct_by_rule"] == {}
    assert not nothing["finite"]
