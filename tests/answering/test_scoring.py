"""Answers become judged rows, with probabilities only where a first token tells options apart."""

from __future__ import annotations

import math

import pytest

from crosslatent.answering import scoring
from crosslatent.answering.scoring import ItemScorer, SpelledAnswers, distinct_starts
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.tasks import Item
from crosslatent.tasks.metrics import METRICS, MetricInput
from crosslatent.tasks.rules import LIKELIHOOD_MEAN
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
    answers = ("yes", "no", "nope")
    starts = distinct_starts(
        SpelledAnswers(tuple((a, (tuple(ids_of(model, a)),)) for a in answers))
    )
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


def scored(model, scores, margin=5.0, options=("A", "B"), rule="option"):
    """By how much a row was decided whose options are scored so, spelling by spelling."""
    scorer = ItemScorer(model, item(options=options, answer=options[0]), rule, whole=True)
    assert len(scorer.continuations) == len(scores)
    return scorer.margin(Decoded((), (0.0,) * len(scorer.watch), margin, True, scores))


@pytest.mark.parametrize(
    ("scores", "gap"),
    [
        # A, " A", B, " B": one token, two, one, two. A wins by 2 as a whole, and by 1.5 per token.
        ((-2.0, -9.0, -4.0, -7.0), 2.0),
        # As wholes they are far apart, per token they are not.
        ((-2.0, -9.0, -7.0, -4.0001), 0.00005),
        # Which spelling of A is the likelier decides what it has per token.
        ((-6.0, -6.0003, -2.0, -9.0), 0.0003),
        # A token of the answer was closer.
        ((-2.0, -9.0, -8.0, -9.0), 1.0),
    ],
)
def test_the_margin_is_that_of_the_closest_choice(model, scores, gap):
    assert scored(model, scores, margin=1.0 if gap == 1.0 else 5.0) == pytest.approx(gap, rel=1e-3)


def test_tokens_decide_nothing_where_nothing_is_decoded(model):
    assert scored(model, (-2.0, -9.0, -4.0, -7.0), 0.1, rule=LIKELIHOOD_MEAN) == pytest.approx(2.0)
    scorer = ItemScorer(model, item(options=("A", "B"), answer="A"), LIKELIHOOD_MEAN, whole=True)
    decoded = Decoded((5,), (0.0,) * len(scorer.watch), 0.1, True, (-2.0, -9.0, -4.0, -7.0))
    record = scorer.record(decoded)
    assert record["correct_by_rule"] == {
        "first_token": True, "likelihood": True, "likelihood_mean": True
    }  # fmt: skip
    assert (record["scores"], record["output_lang"]) == ({}, None)
    assert (record["prediction"], record["option_scores"], record["option_means"]) == (
        "A", [-2.0, -4.0], [-2.0, -4.0],
    )  # fmt: skip


def test_scores_that_are_not_numbers_choose_nothing(model):
    scorer = ItemScorer(model, item(options=("A", "B"), answer="A"), LIKELIHOOD_MEAN, whole=True)
    decoded = Decoded((5,), (0.0,) * len(scorer.watch), 0.1, False, (math.nan,) * 4)
    record = scorer.record(decoded)
    assert (record["prediction"], record["correct"]) == (None, None)
    assert record["min_margin"] == math.inf


def test_open_answers_are_graded_and_their_language_told(model):
    question = item(answer="the city of Nairobi", lang="en")
    scorer = ItemScorer(model, question, "contains")
    output = "It is Nairobi, which is the capital"
    decoded = Decoded(tuple(ids_of(model, output)), (0.0,) * len(scorer.watch), 1.0, True)
    record = scorer.record(decoded)
    assert record["output_lang"] == "en"
    assert record["scores"] == {"exact_match": 0.0, "f1": pytest.approx(2 / 9)}
    short = Decoded(tuple(ids_of(model, "(1)")), (0.0,) * len(scorer.watch), 1.0, True)
    assert scorer.record(short)["output_lang"] is None


def test_an_output_that_comes_again_is_read_once(model, monkeypatch):
    read = []
    monkeypatch.setattr(scoring, "identify", lambda text: read.append(text))
    scorer = ItemScorer(model, item(options=("(1)", "(2)"), answer="(1)"), "option")
    decoded = Decoded(tuple(ids_of(model, "(2)")), (), 0.5, True)
    assert scorer.record(decoded) == scorer.record(decoded)
    assert read == ["(2)"]


SURVEYED = {"options": ("A", "B"), "answer": "A", "shares": (0.75, 0.25)}


def watched(scorer, chances):
    """First-step log-probabilities that give each option this probability."""
    options = [
        option
        for token in scorer.watch
        for option in scorer._starts
        if token in scorer._starts[option]
    ]
    return tuple(math.log(chances[option] / options.count(option)) for option in options)


def test_options_are_compared_with_a_population_by_their_first_tokens(model):
    scorer = ItemScorer(model, item(**SURVEYED), "option")
    record = scorer.record(Decoded((), watched(scorer, {"A": 0.3, "B": 0.1}), 0.5, True))
    assert record["scores"] == {"js_similarity": pytest.approx(1.0, abs=1e-6)}
    assert record["correct_by_rule"]["first_token"]
    record = scorer.record(Decoded((), watched(scorer, {"A": 0.1, "B": 0.3}), 0.5, True))
    expected = METRICS["js_similarity"].score(MetricInput("", [0.25, 0.75]), scorer.item)
    assert record["scores"] == {"js_similarity": pytest.approx(expected)}
    assert not record["correct_by_rule"]["first_token"]


def test_whole_options_count_more_than_first_tokens(model):
    scorer = ItemScorer(model, item(**SURVEYED), "option", whole=True)
    chances = watched(scorer, {"A": 0.1, "B": 0.3})
    scores = (math.log(0.3), -99.0, math.log(0.1), -99.0)
    record = scorer.record(Decoded((), chances, 0.5, True, scores))
    assert record["scores"] == {"js_similarity": pytest.approx(1.0, abs=1e-6)}


def test_what_the_model_does_not_tell_apart_has_no_similarity(model):
    fields = SURVEYED | {"options": ("(1)", "(2)"), "answer": "(1)"}
    scorer = ItemScorer(model, item(**fields), "option")
    record = scorer.record(Decoded(tuple(ids_of(model, "(1)")), (), 0.5, True))
    assert record["scores"] == {}
    assert "first_token" not in record["correct_by_rule"]


def test_any_of_several_gold_answers_counts(model, monkeypatch):
    golds = ("Dar", "Dodoma", "Mji")
    monkeypatch.setattr(Item, "golds", golds)
    scorer = ItemScorer(model, item(answer=golds[0]), "contains", whole=True)
    chances = {
        ids_of(model, letter)[0]: math.log(p) for letter, p in ((" ", 0.1), ("D", 0.2), ("M", 0.4))
    }
    assert set(scorer.watch) == set(chances)
    scores = tuple(-float(10 + at) for at in range(len(scorer.continuations)))
    record = scorer.record(
        Decoded((), tuple(chances[token] for token in scorer.watch), 0.5, True, scores)
    )
    # Two of them begin alike, and all of them with a blank: no token counts twice.
    assert record["gold_logprob"] == pytest.approx(math.log(0.7))
    assert record["gold_score"] == -10


def test_gold_options_are_counted_together(model, monkeypatch):
    monkeypatch.setattr(Item, "golds", ("A", "B"))
    scorer = ItemScorer(model, item(options=("A", "B", "C"), answer="A"), "option", whole=True)
    chances = {"A": 0.1, "B": 0.3, "C": 0.5}
    scores = (-5.0, -9.0, -2.0, -9.0, -4.0, -9.0)
    record = scorer.record(Decoded((), watched(scorer, chances), 0.5, True, scores))
    assert record["gold_logprob"] == pytest.approx(math.log(0.4))
    assert record["gold_score"] == -2
    assert record["correct_by_rule"]["likelihood"]
    assert not record["correct_by_rule"]["first_token"]
