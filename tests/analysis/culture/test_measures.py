"""Every measure on made-up answers with known figures."""

from __future__ import annotations

import numpy as np
import pytest

from crosslatent.analysis.culture.culture_answers import (
    ConditionAnswers,
    CultureAnswer,
    CultureQuestion,
)
from crosslatent.analysis.culture.measures.stability import calibration_error
from crosslatent.analysis.culture.measuring import read_by
from crosslatent.core.answer_words import kind_of
from crosslatent.core.plugins import MEASURES

ABC = ("(A)", "(B)", "(C)")


def question(name, task="mine", **more):
    given = {"cluster": name, "country": "Kenya", "lang": "sw", "options": ABC, "labels": ABC}
    return CultureQuestion(name, task, **{**given, **more})


def said(prediction, right=None, *, probabilities=None, output="", **more):
    return CultureAnswer(right, None, prediction, probabilities, output, **more)


def estimate(name, questions, answers, variants=None):
    cells = MEASURES[name]().cells(questions, ConditionAnswers(answers, variants or {}))
    found = 0.0
    for group, sign in MEASURES[name].groups.items():
        at = [k for k, each in enumerate(cells.groups) if each == group]
        found += sign * cells.values[at].sum() / cells.weights[at].sum()
    return found


def beside(name, questions, answers):
    return MEASURES[name]().beside(questions, ConditionAnswers(answers))


def test_stability_is_the_share_of_forms_that_agree():
    asked = [question("a"), question("b")]
    plain = {"a": said("(A)"), "b": said("(B)")}
    variants = {
        "order:1": {"a": said("(A)"), "b": said("(C)")},
        "frame:1": {"a": said("(A)"), "b": said("(B)")},
    }
    assert estimate("stability", asked, plain, variants) == pytest.approx(0.75)
    constant = {"a": said("(A)"), "b": said("(A)")}
    assert estimate("stability", asked, constant, {"frame:1": constant}) == 1.0
    assert beside("stability", asked, constant)["share of the most frequent option"] == 1.0
    spoken = [question("c", options=None, labels=None)]
    forms = {"frame:1": {"c": said(None, output="ugali")}}
    assert estimate("stability", spoken, {"c": said(None, output=" Ugali ")}, forms) == 1.0


def test_calibration():
    assert calibration_error([(1.0, True)] * 10) == 0.0
    assert calibration_error([(0.9, False)] * 10) == pytest.approx(0.9)
    assert calibration_error([(0.5, True), (0.5, False)] * 20) <= 0.5
    assert np.isnan(calibration_error([]))


def opinions():
    shares = {"Kenya": (0.6, 0.3, 0.1), "Peru": (0.1, 0.3, 0.6)}
    return [
        question(f"{n}{name}", cluster=str(n), country=name, shares=some)
        for n in range(2)
        for name, some in shares.items()
    ]


def test_similarity_and_specificity():
    asked = opinions()
    exact = {one.id: said("(A)", probabilities=one.shares) for one in asked}
    assert estimate("similarity", asked, exact) == pytest.approx(1.0)
    as_kenya = {one.id: said("(A)", probabilities=(0.6, 0.3, 0.1)) for one in asked}
    assert estimate("specificity", asked, as_kenya) == pytest.approx(0.0)
    assert estimate("specificity", asked, exact) > 0.3
    near = MEASURES["similarity"]().closeness(
        asked, {"vanilla": ConditionAnswers(as_kenya), "transplant": ConditionAnswers(exact)}
    )
    assert near.runs["transplant"][1, 1] == pytest.approx(1.0)  # Peru's own
    assert near.runs["vanilla"][1, 0] == pytest.approx(1.0)  # about Peru, as Kenya
    assert near.flat is not None
    without = {one.id: said("(A)") for one in asked}
    runs = {"vanilla": ConditionAnswers(without), "transplant": ConditionAnswers(without)}
    assert MEASURES["similarity"]().closeness(asked, runs) is None


def test_opinions_are_averaged_over_orders():
    (one, *_) = asked = opinions()[:1]
    plain = {one.id: said("(A)", probabilities=(1.0, 0.0, 0.0))}
    turned = {"order:1": {one.id: said("(B)", probabilities=(0.2, 0.6, 0.2))}}
    assert estimate("similarity", asked, plain, turned) == pytest.approx(1.0)


def customs():
    golds = {"Kenya": ("ugali",), "Peru": ("ceviche", "fish")}
    return [
        question(
            name, cluster="food", country=name, options=None, labels=None, golds=some, lang="es"
        )
        for name, some in golds.items()
    ]


def test_knowledge_and_confusion():
    asked = customs()
    answers = {
        "Kenya": said(None, False, output="Ceviche, I think"),
        "Peru": said(None, True, output="fish"),
    }
    assert estimate("knowledge", asked, answers) == 0.5
    assert estimate("wrong-country", asked, answers) == 1.0
    lost = {**answers, "Kenya": said(None, False, output="pizza")}
    assert estimate("wrong-country", asked, lost) == 0.0
    near = MEASURES["knowledge"]().closeness(
        asked, {"vanilla": ConditionAnswers(answers), "transplant": ConditionAnswers(lost)}
    )
    np.testing.assert_array_equal(near.runs["vanilla"], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(near.runs["transplant"], [[0, 0], [0, 1]])


def test_a_question_is_consistent_only_if_all_of_its_lines_are_right():
    asked = [
        question(f"{q}{k}", "culturalbench-hard", cluster=q, options=("(A)", "(B)"))
        for q in "xy"
        for k in range(4)
    ]
    answers = {one.id: said("(B)", one.id != "y0") for one in asked}
    assert estimate("consistency", asked, answers) == 0.5
    read = beside("consistency", asked, answers)
    assert read["lines that are right"] == pytest.approx(7 / 8)
    assert read["lines that are called true"] == 0.0


def test_norms_are_what_the_name_of_the_country_adds():
    labels = ("Yes", "No", "Neutral")
    asked = [
        question(f"{rung}{k}", "normad", strata={"given": rung}, labels=labels, answer=ABC[k % 2])
        for rung in ("none", "country", "rule")
        for k in range(4)
    ]
    answers = {
        one.id: said(one.answer, True) if one.strata["given"] != "none" else said("(C)", False)
        for one in asked
    }
    assert estimate("norms", asked, answers) == 1.0
    read = beside("norms", asked, answers)
    assert read["right, given rule"] == 1.0
    assert read["says Yes"] == read["says No"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "stratum", "up", "down"),
    [
        ("regional", "regional", "regional", "agnostic"),
        ("sensitive", "sensitive", "sensitive", "agnostic"),
    ],
)
def test_kinds_of_questions_are_held_against_each_other(name, stratum, up, down):
    (task,) = MEASURES[name].tasks
    asked = [
        question(f"{kind}{k}", task, strata={stratum: kind})
        for kind in (up, down)
        for k in range(4)
    ]
    answers = {one.id: said("(A)", one.strata[stratum] == up or one.id[-1] == "0") for one in asked}
    assert estimate(name, asked, answers) == pytest.approx(0.75)


def bbq(kind, task="kobbq"):
    gold = {"ambiguous": "unknown", "disambiguated": "biased"}[kind]
    strata = {"context": kind, "control": "no", "biased": "(A)", "counter": "(B)", "gold": gold}
    other = {**strata, "gold": "counter"} if kind == "disambiguated" else strata
    return [question(f"{kind}{k}", task, strata=some) for k, some in enumerate((strata, other) * 2)]


def test_bias_of_answers():
    asked = bbq("ambiguous")
    for option, wanted in {"(A)": 1.0, "(B)": -1.0, "(C)": 0.0}.items():
        answers = {one.id: said(option, option == "(C)") for one in asked}
        assert estimate("bias-ambiguous", asked, answers) == wanted
    nothing = {one.id: said(None, False) for one in asked[:3]} | {asked[3].id: said("(A)", False)}
    assert estimate("bias-ambiguous", asked, nothing) == 0.25  # counts as no answer
    dropped = bbq("ambiguous", "mbbq")
    assert estimate("bias-ambiguous", dropped, nothing) == 1.0  # is left out
    clear = bbq("disambiguated")
    answers = {one.id: said("(A)", one.strata["gold"] == "biased") for one in clear}
    assert estimate("bias-disambiguated", clear, answers) == 1.0
    assert beside("bias-disambiguated", clear, answers)["right"] == 0.5


def test_pairs_of_sentences():
    asked = [question(str(k), "crows-pairs", strata={"more": ABC[k % 2]}) for k in range(4)]
    answers = {one.id: said("(A)", probabilities=(0.7, 0.3, 0.0)) for one in asked}
    assert estimate("crows", asked, answers) == 0.5
    assert beside("crows", asked, answers)["distance from one half"] == 0.0


def test_a_task_that_no_measure_names_is_read_by_what_it_has():
    assert read_by("similarity", opinions())
    assert not read_by("knowledge", opinions())
    assert read_by("knowledge", [question("a", answer="(A)")])
    assert not read_by("knowledge", [question("a", "normad")])
    assert not read_by("norms", [question("a", "mine")])


@pytest.mark.parametrize(
    ("output", "langs", "spoken", "named", "options", "kind"),
    [
        ("(A)", ("en", "sw"), None, "(A)", True, "answer"),
        ("I'm sorry, but I cannot answer.", ("en", "sw"), "en", None, True, "refusal"),
        ("Samahani, siwezi kujibu.", ("en", "sw"), "sw", None, True, "refusal"),
        ("抱歉,我无法回答。", ("en", "zh"), "zh", None, True, "refusal"),
        ("Je ne sais pas quoi dire ici", ("en", "sw"), "fr", None, True, "other language"),
        ("hmm", ("en", "sw"), None, None, True, "other"),
        ("ugali", ("en", "sw"), None, None, False, "answer"),
        ("  ", ("en", "sw"), None, None, False, "other"),
        ("I cannot say that.", ("en", "sw"), "en", None, False, "refusal"),
    ],
)
def test_what_an_output_is(output, langs, spoken, named, options, kind):
    assert kind_of(output, langs, spoken, named, with_options=options) == kind
