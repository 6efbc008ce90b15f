"""Answer rules on strings that trip naive ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.core.errors import TaskError, UsageError
from crosslatent.tasks import RULES, Item, Verdict
from crosslatent.tasks.rules import (
    applicable_rules,
    authors_option_or_label,
    contains,
    exact,
    option,
    option_or_label,
    rule_for,
)


def item(answer=None, options=None, labels=None):
    return Item("q", "sw", "en", "main", "aux", answer, options, labels)


NUMBERS = ("(1)", "(2)", "(3)")
PLACES = ("America", "North America", "Asia")


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("(2)", "(2)"),
        ("Jibu ni (2), kwa sababu ...", "(2)"),
        (" 2\n", "(2)"),
        ("（2）", "(2)"),  # full-width brackets
        ("（２）", "(2)"),  # full-width digit too
        ("(\u200f٢)", "(2)"),  # a mark of direction that nobody sees
        ("⑵", "(2)"),  # one character that stands for all three
        ("(2) (2)", "(2)"),
        ("(2) not (4)", "(2)"),  # (4) is no option
        ("(1) or (2)", None),
        ("(1)（2）", None),
        ("2.", None),
        ("2)", None),
        ("12", None),
        ("(12)", None),
        ("answer 2", None),
        ("", None),
    ],
)
def test_numbered_options(output, named):
    verdict = option(output, item("(2)", NUMBERS))
    assert verdict.prediction == named
    assert verdict.correct is (named == "(2)")


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("(٢)", "(2)"),  # Arabic-Indic
        ("(۲)", "(2)"),  # Extended Arabic-Indic: Persian, Urdu
        ("(२)", "(2)"),  # Devanagari
        ("(২)", "(2)"),  # Bengali
        ("(๒)", "(2)"),  # Thai
        (" ٢\n", "(2)"),
        ("२", "(2)"),
        ("الجواب هو (٢).", "(2)"),
        ("（٢）", "(2)"),  # full-width brackets around them
        ("(２) ٢ (2)", "(2)"),  # one option in three scripts
        ("(१) या (२)", None),
        ("(1) ... (٢)", None),
        ("(٢", None),
        ("(١٢)", None),
        ("१२", None),
        ("(٤)", None),  # no such option
        ("(二)", None),  # a numeral, and no decimal digit
        ("(Ⅱ)", None),
    ],
)
def test_digits_of_other_scripts(output, named):
    assert option(output, item("(2)", NUMBERS)).prediction == named


def test_options_and_answers_may_be_written_in_other_digits_too():
    hindi = item("(२)", ("(१)", "(२)", "(३)"), ("(१) एक", "(२) दो", "(३) तीन"))
    assert option("(2)", hindi).prediction == "(२)"
    assert option_or_label("दो", hindi).correct
    assert exact("(2)", hindi).correct
    assert contains("सन १९४७ में", item("1947")).correct
    assert contains("in 1947", item("१९४७")).correct
    assert exact(" ١٩٤٧ ", item("1947")).correct
    assert exact("1947", item("2000")).correct is False


@pytest.mark.parametrize(
    ("gold", "output", "right"),
    [
        ("ISTANBUL", "istanbul", True),
        ("ırak", "Irak", False),  # in Turkish the capital of ı is I; Unicode's is another letter
        ("ırak", "IRAK", False),
        ("ırak", "ırak", True),
        ("İzmir", "İZMİR", False),
        ("İzmir", "İzmir'de", True),
        ("izmir", "İzmir", False),
    ],
)
def test_case_is_unicodes_in_turkish_too(gold, output, right):
    assert contains(output, item(gold)).correct is right


def test_a_combining_mark_after_a_digit_or_bracket_makes_it_another_text():
    assert option("(2\u0301)", item("(2)", NUMBERS)).prediction is None
    assert option("2\u20e3", item("(2)", NUMBERS)).prediction is None  # the "keycap" of emoji
    assert option("(2)\u0301", item("(2)", NUMBERS)).prediction == "(2)"


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("(A)", "A"),
        ("A", "A"),
        ("A country in Asia", None),  # the article is no answer
        ("amig(o)s", None),
        ("(B) B (B)", "B"),
        ("（Ａ）", "A"),
    ],
)
def test_letter_options(output, named):
    assert option(output, item("A", ("A", "B", "O"))).prediction == named


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("Asia.", "Asia"),
        ("ASIA", "Asia"),
        ("Asian food", None),
        ("Eurasia", None),
        ("North America", "North America"),  # not "America", though that word is in it
        ("America", "America"),
        ("North America and America", None),
        ("Asia or America", None),
        ("asia\u0301", None),  # a combining mark makes it another word
    ],
)
def test_options_that_are_words(output, named):
    assert option(output, item("Asia", PLACES)).prediction == named


@pytest.mark.parametrize(
    ("output", "named"),
    [("这是亚洲的国家", "亚洲"), ("アジアです", None), ("北亚洲", "亚洲")],
)
def test_scripts_without_blanks_need_no_word_boundary(output, named):
    assert option(output, item("亚洲", ("亚洲", "非洲"))).prediction == named


def test_marks_of_indic_scripts_belong_to_the_word():
    hindi = item("निहित", ("निहित", "तटस्थ"))
    assert option("उत्तर: निहित।", hindi).prediction == "निहित"
    assert option("निहिता", hindi).prediction is None


def test_decomposed_accents_are_the_same_word():
    vietnamese = item("trung lập", ("trung lập", "mâu thuẫn"))
    assert option("Trung l\u00e2\u0323p", vietnamese).prediction == "trung lập"
    assert option("TRUNG LẬP", vietnamese).correct


def test_option_without_gold_answer_has_no_verdict_but_a_prediction():
    verdict = option("(3)", item(None, NUMBERS))
    assert verdict.correct is None
    assert verdict.prediction == "(3)"


LABELS = ("Entail", "Neutral", "Contradict")


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("entailment", "(1)"),  # the authors match parts of words
        ("(1) Entail", "(1)"),
        ("1", "(1)"),
        ("(1) Neutral", None),
        ("Neutral (3)", None),
        ("neutral", "(2)"),
        ("no idea", None),
        ("ENTAIL", "(1)"),
        ("１", "(1)"),
        ("（１）Entail", "(1)"),
        ("(١) Entail", "(1)"),
        ("(١) Neutral", None),
        ("Entail or Neutral", None),
        ("disentailed", "(1)"),
        ("Entai\u0301l", None),
    ],
)
def test_labels_count_as_options(output, named):
    assert option_or_label(output, item("(1)", NUMBERS, LABELS)).prediction == named


def test_label_within_a_longer_label_does_not_count():
    french = item("(2)", ("(1)", "(2)"), ("(1) possible", "(2) impossible"))
    assert option_or_label("impossible", french).correct
    assert option_or_label("c'est possible", french).prediction == "(1)"


@pytest.mark.parametrize(
    ("gold", "output", "right"),
    [
        ("Nairobi", "Jibu: NAIROBI, Kenya", True),
        ("Nairobi", "Nairob", False),
        ("café", "cafe\u0301 noir", True),
        ("cafe", "café", False),
        ("Straße", "STRASSE", True),
        ("Ελλάς", "ΕΛΛΆΣ", True),
        ("東京", "答えは東京です", True),
        (" Nairobi ", "Nairobi", True),
    ],
)
def test_contains(gold, output, right):
    assert contains(output, item(gold)).correct is right


@pytest.mark.parametrize(("output", "right"), [(" nairobi\n", True), ("Nairobi, Kenya", False)])
def test_exact(output, right):
    assert exact(output, item("Nairobi")).correct is right


def test_open_answers_have_no_prediction():
    assert contains("Nairobi", item("Nairobi")).prediction is None
    assert contains("Nairobi", item()).correct is None
    assert exact("Nairobi", item()).correct is None


def test_rule_for_items_that_come_without_one():
    assert rule_for([item("(1)", NUMBERS)]) == "option"
    assert rule_for([item("x"), item()]) == "contains"
    with pytest.raises(TaskError, match="options to all items or to none"):
        rule_for([item("(1)", NUMBERS), item("x")])


def test_applicable_rules_have_what_they_need():
    assert applicable_rules(item()) == []
    assert applicable_rules(item("x")) == ["contains", "exact"]
    assert applicable_rules(item(None, NUMBERS)) == ["option"]
    weighed = replace(item("x"), weights=(1.0,))
    assert applicable_rules(weighed) == ["contains", "exact", "blend_simple", "blend"]
    of_weighed = ("blend_simple", "blend")
    every = [name for name in RULES if name not in of_weighed]
    assert applicable_rules(item("(1)", NUMBERS, LABELS)) == every


def test_unknown_rule_names_the_known_ones():
    known = "option, option_or_label, authors_option_or_label, contains, exact"
    with pytest.raises(UsageError, match=f"Unknown answer rule 'fuzzy': use one of {known}"):
        RULES["fuzzy"]


@given(st.text(max_size=30), st.sampled_from(sorted(RULES)))
def test_any_output_gets_a_verdict_on_which_the_prediction_agrees(output, rule):
    verdict = RULES[rule].judge(output, item("(2)", NUMBERS, LABELS))
    assert verdict.prediction in (None, *NUMBERS)
    if rule in ("option", "option_or_label"):
        assert verdict.correct is (verdict.prediction == "(2)")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rule", [option, contains, exact])
def test_gold_answer_alone_is_right_under_every_rule(place, rule):
    assert rule(place, item(place, PLACES)).correct


FRENCH = ("(1) Entraîner", "(2) Neutre", "(3) Contraire")
WITHIN = ("possible", "impossible", "unknown")


@pytest.mark.parametrize(
    ("output", "labels", "ours", "theirs"),
    [
        # alike
        ("(2)", LABELS, "(2)", "(2)"),
        (" 2\n", LABELS, "(2)", "(2)"),
        ("（2）", LABELS, "(2)", "(2)"),
        ("Entailment", LABELS, "(1)", "(1)"),
        ("(1) Neutral", LABELS, None, None),
        ("(1) or (3)", LABELS, None, None),
        ("2.", LABELS, None, None),
        ("no idea", LABELS, None, None),
        # Labels in any case, so that one in lower case counts, and voids another.
        ("it is neutral", LABELS, "(2)", None),
        ("CONTRADICT", LABELS, "(3)", None),
        ("(1), it does not contradict", LABELS, None, "(1)"),
        ("Entail, the tone is neutral", LABELS, None, "(1)"),
        # Without the mark of their option.
        ("Neutre", FRENCH, "(2)", None),
        ("(2) Neutre", FRENCH, "(2)", "(2)"),
        ("(1) Neutre", FRENCH, None, "(1)"),
        # Within a longer label.
        ("impossible", WITHIN, "(2)", None),
        ("possible", WITHIN, "(1)", "(1)"),
        # Normalised.
        ("(٢)", LABELS, "(2)", None),
        ("２", LABELS, "(2)", None),
        ("Neu\u00adtral", LABELS, "(2)", None),
        ("（２）", LABELS, "(2)", None),
        ("(2\u200b)", LABELS, "(2)", None),
        ("E\u0301", ("É", "B", "C"), "(1)", None),
    ],
)
def test_our_rule_beside_the_authors(output, labels, ours, theirs):
    one = item("(1)", NUMBERS, labels)
    for rule, named in ((option_or_label, ours), (authors_option_or_label, theirs)):
        assert rule(output, one) == Verdict(named == "(1)", named)


@given(st.text("(12)（3）ENeutrailCond .\n", max_size=20), st.sampled_from(NUMBERS))
def test_the_authors_rule_is_what_their_script_computes(output, gold):
    """Spelled out as they do: the right mark, number or word, and no other one's."""
    text = output.replace("（", "(").replace("）", ")")
    marks = [(f"({k})" in text or text.strip() == str(k)) for k in (1, 2, 3)]
    words = [label in text for label in LABELS]
    right = NUMBERS.index(gold)
    others = [k for k in range(3) if k != right]
    expected = (marks[right] or words[right]) and not any(marks[k] or words[k] for k in others)
    assert authors_option_or_label(output, item(gold, NUMBERS, LABELS)).correct is expected
