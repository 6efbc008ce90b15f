"""Graded scores against independent computations, on strings that trip naive ones."""

from __future__ import annotations

import math
import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.core.normal import normalised
from crosslatent.tasks import Item
from crosslatent.tasks.metrics import (
    METRICS,
    MetricInput,
    applicable_metrics,
    exact_match,
    f1,
    js_similarity,
    words_of,
)


def item(answer=None, lang="en", **changes):
    return Item("q", lang, "en", "main", "aux", answer, **changes)


def squad_words(text):
    """The normalisation of SQuAD 1.1's evaluation script, written down again."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def squad_f1(output, gold):
    output, gold = squad_words(output), squad_words(gold)
    shared = sum((Counter(output) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(output), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


ENGLISH = [
    ("the Denver Broncos", "Denver Broncos", 1.0),
    ("Denver Broncos won", "Denver Broncos", 0.0),
    ("DENVER, BRONCOS!", "Denver Broncos", 1.0),
    ("in 1066", "1066", 0.0),
    ("Paris Paris Paris", "Paris", 0.0),
    ("U.S.", "US", 1.0),
    ("an apple a day", "apple day", 1.0),
    ("", "Paris", 0.0),
    ("Rome", "Paris", 0.0),
    ("a  cat\n", "the cat", 1.0),
]


@pytest.mark.parametrize(("output", "gold", "exact"), ENGLISH)
def test_english_is_graded_as_by_squads_script(output, gold, exact):
    assert exact_match(MetricInput(output), item(gold)) == exact
    assert f1(MetricInput(output), item(gold)) == pytest.approx(squad_f1(output, gold))


@given(
    st.text("ab the.,! \n", max_size=20),
    st.text("ab the.,! \n", max_size=20).filter(squad_words),
)
def test_any_english_is_graded_as_by_squads_script(output, gold):
    assert f1(MetricInput(output), item(gold)) == pytest.approx(squad_f1(output, gold))


@pytest.mark.parametrize(
    ("output", "gold", "lang", "exact", "score"),
    [
        ("el niño", "niño", "es", 0.0, 2 / 3),  # articles go in English alone
        ("a", "la", "fr", 0.0, 0.0),
        ("NIN\u0303O.", "niño", "es", 1.0, 1.0),  # decomposed, upper case
        ("«Москва»", "москва", "ru", 1.0, 1.0),
        ("¿Madrid?", "Madrid", "es", 1.0, 1.0),
        ("नई दिल्ली।", "नई दिल्ली", "hi", 1.0, 1.0),  # the danda is punctuation
        ("दिल्ली", "नई दिल्ली", "hi", 0.0, 2 / 3),
        ("१९४७", "1947", "hi", 1.0, 1.0),
        ("عام ١٩٤٧م؟", "عام 1947م", "ar", 1.0, 1.0),
        ("北京市", "北京", "zh", 0.0, 4 / 5),
        ("在北京。", "北京", "zh", 0.0, 4 / 5),
        ("東京、日本", "東京", "ja", 0.0, 2 / 3),
        ("ＮＨＫ放送", "NHK 放送", "ja", 1.0, 1.0),  # full-width letters; no blank to go by
        ("กรุงเทพ", "กรุง", "th", 0.0, 2 / 3),  # a vowel sign belongs to its consonant
        ("서울입니다", "서울", "ko", 0.0, 0.0),  # Korean has blanks
        ("می\u200cخواهم", "میخواهم", "fa", 1.0, 1.0),  # a mark that nobody sees
        ("50 €", "50", "de", 1.0, 1.0),
        ("Straße", "STRASSE", "de", 1.0, 1.0),
        ("", "北京", "zh", 0.0, 0.0),
    ],
)
def test_any_script(output, gold, lang, exact, score):
    question = item(gold, lang)
    assert exact_match(MetricInput(output), question) == exact
    assert f1(MetricInput(output), question) == pytest.approx(score)


def test_articles_go_only_where_something_is_left():
    assert words_of("The A", "en") == ["the", "a"]
    assert words_of("The A team", "en") == ["team"]
    assert words_of("the a", "und") == ["the", "a"]
    assert exact_match(MetricInput("a"), item("A")) == 1.0


@pytest.mark.parametrize("gold", [None, "", " ", "?!", "+"])
def test_without_a_gold_word_there_is_no_score(gold):
    assert exact_match(MetricInput("Paris"), item(gold)) is None
    assert f1(MetricInput(""), item(gold)) is None


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["en", "zh", "hi"]))
def test_scores_lie_between_0_and_1_and_agree(output, gold, lang):
    question = item(gold, lang)
    exact, score = exact_match(MetricInput(output), question), f1(MetricInput(output), question)
    assert (exact is None) == (score is None) == (not words_of(gold, lang))
    if exact is not None and score is not None:
        assert 0.0 <= exact <= score <= 1.0
        assert f1(MetricInput(gold), question) == exact_match(MetricInput(gold), question) == 1.0


def similarity_by_hand(p, q):
    p, q = np.array(p) / np.sum(p), np.array(q) / np.sum(q)
    m = (p + q) / 2

    def divergence(a):
        kept = a > 0
        return float(np.sum(a[kept] * np.log2(a[kept] / m[kept])))

    return 1 - math.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2))


@pytest.mark.parametrize(
    ("probabilities", "shares", "value"),
    [
        ([0.5, 0.5], [0.5, 0.5], 1.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0),
        ([1.0, 0.0], [0.5, 0.5], 1 - math.sqrt(0.311278124459)),
        ([0.2, 0.2], [30, 30], 1.0),  # both sides are divided by their sums
        ([0.5, 0.3, 0.2], [0.1, 0.6, 0.3], None),
    ],
)
def test_similarity_of_distributions(probabilities, shares, value):
    found = js_similarity(probabilities, shares)
    assert found == pytest.approx(similarity_by_hand(probabilities, shares), abs=1e-9)
    if value is not None:
        assert found == pytest.approx(value, abs=1e-7)


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_any_two_distributions_have_a_similarity(pairs):
    p, q = [list(side) for side in zip(*pairs, strict=True)]
    found = js_similarity(p, q)
    if sum(q) <= 1e-300:
        return
    assert found == pytest.approx(similarity_by_hand(p, q), abs=1e-6)
    assert 0.0 <= found <= 1.0
    assert js_similarity(p, p) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "shares"),
    [
        ([0.0, 0.0], [0.5, 0.5]),
        ([0.5, 0.5], [0.0, 0.0]),
        ([math.nan, 0.5], [0.5, 0.5]),
        ([0.5, 0.5], [-0.5, 1.5]),
        ([], []),
    ],
)
def test_what_is_no_distribution_has_no_similarity(probabilities, shares):
    assert js_similarity(probabilities, shares) is None


def test_sides_of_different_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="2 probabilities but 3 shares"):
        js_similarity([0.5, 0.5], [0.2, 0.3, 0.5])


def test_log_probabilities_become_shares_of_the_options():
    assert normalised([math.log(0.1), math.log(0.3)]) == pytest.approx([0.25, 0.75])
    assert normalised([-1000.0, -1000.0]) == pytest.approx([0.5, 0.5])  # no underflow
    assert normalised([-math.inf, -3.0]) == [0.0, 1.0]
    assert normalised([None, -3.0]) is None
    assert normalised([math.nan, -3.0]) is None
    assert normalised([-math.inf, -math.inf]) is None
    assert normalised([]) is None


def test_metrics_fit_items_that_have_what_they_need():
    options = ("(A)", "(B)")
    assert applicable_metrics(item()) == []
    assert applicable_metrics(item("Paris")) == ["exact_match", "f1"]
    assert applicable_metrics(item("(A)", options=options)) == []
    surveyed = item("(A)", options=options, shares=(0.7, 0.3))
    assert applicable_metrics(surveyed) == ["js_similarity"]
    metric = METRICS["js_similarity"]
    assert metric.needs == "probabilities"
    assert metric.score(MetricInput("(A)"), surveyed) is None
    assert metric.score(MetricInput("(B)", [0.7, 0.3]), surveyed) == pytest.approx(1.0)
    assert METRICS["f1"].score(MetricInput("in Paris"), item("Paris")) == pytest.approx(2 / 3)
