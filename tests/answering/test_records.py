"""Records are those of judging by the letter, whatever is remembered from text to text."""

from __future__ import annotations

import random

import pytest

from crosslatent.answering.scoring import ItemScorer
from crosslatent.core.languages import identify
from crosslatent.core.normal import fold, normal, unspaced
from crosslatent.engine.decoding import Decoded
from crosslatent.model import shipped_model
from crosslatent.tasks import Item
from crosslatent.tasks.metrics import words_of
from support import plain_judging

SENTENCES = [
    "Mji mkuu wa Kenya ni Nairobi.",
    "The capital of Kenya is “Nairobi”, an  old town.",
    "Die Hauptstadt heißt Nairobi, in der Straße der STRASSE.",
    "Столица Кении — Найроби.",
    "عاصمة كينيا هي نيروبي، مـــرحبا",
    "केन्या की राजधानी नैरोबी है। हाँ",
    "肯尼亚的首都是内罗毕（２）。",
    "ケニアの首都はナイロビです。",
    "เมืองหลวงของเคนยาคือไนโรบี นํ้า น้ำ",
    "İstanbul'da I ve ı, Kenya'nın başkenti Nairobi’dir.",
    "Πρωτεύουσα της Κένυας είναι το Ναϊρόμπι Σς",
]
FORMS = [
    "", "  ", "\n", "\u200b", "(1)", "(2)", "（2）", "(٢)", "2", "2.", "1,5", "B", "b)", "(A), (B)",
    "neutral", "ENTAILMENT!", "no contradiction", "ndiyo", "Hapana, ndiyo", "SIJUI  kabisa", "不是",
    "是", "हाँ", "नहीं", "C", "nairobi", "an apple", "the", "jiji la nairobi`", "\ufb2aלום",
    "e\u0301\u0327",
]  # fmt: skip
QUESTIONS = [
    {"answer": "Nairobi", "other_answers": ("Jiji la Nairobi", "The Nairobi", "内罗毕")},
    {"options": ("(1)", "(2)", "(3)"), "answer": "(2)"},
    {
        "options": ("(1)", "(2)", "(3)"),
        "labels": ("(1) Entailment", "Neutral", "Contradiction"),
        "answer": "(2)",
    },
    {"options": ("A", "B", "C"), "labels": ("yes", "no", "maybe"), "answer": "B"},
    {"options": ("ndiyo", "hapana", "sijui kabisa"), "answer": "ndiyo", "shares": (0.2, 0.3, 0.5)},
    {"options": ("是", "不是"), "answer": "不是"},
    {"options": ("हाँ", "नहीं")},
    {},
]


@pytest.fixture(scope="module")
def model():
    return shipped_model()


@pytest.fixture(scope="module")
def outputs(model):
    """Token ids of answers: random ones, sentences, options, and two of them in one."""
    drawn = random.Random(0)
    texts = [*SENTENCES, *FORMS, *SENTENCES[:3]]
    texts += [" ".join(drawn.choices([*SENTENCES, *FORMS], k=2)) for _ in range(40)]
    ids = [tuple(model.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    vocabulary = range(len(model.tokenizer))
    return [*ids, *(tuple(drawn.choices(vocabulary, k=n)) for n in (1, 3, 20) for _ in range(30))]


def records(model, outputs, lang, question):
    prompts = {"main": "Mji mkuu wa Kenya ni upi?", "aux": "What is the capital of Kenya?"}
    item = Item(id="q", lang=lang, aux_lang="en", **prompts, **question)
    rule = "option_or_label" if item.labels else "option" if item.options else "contains"
    scorer = ItemScorer(model, item, rule)
    watched = tuple(-1.0 - 0.3 * n for n in range(len(scorer.watch)))
    return [scorer.record(Decoded(ids, watched, 0.5, True)) for ids in outputs]


@pytest.mark.parametrize("lang", ["sw", "en"])
def test_records_are_those_of_judging_by_the_letter(model, outputs, lang, monkeypatch):
    found = [records(model, outputs, lang, question) for question in QUESTIONS]
    plain_judging.instead(monkeypatch)
    expected = [records(model, outputs, lang, question) for question in QUESTIONS]
    assert repr(found) == repr(expected)
    assert len({each["output_lang"] for each in found[0]}) > 8
    for each in found[:6]:  # of the others, no gold answer is known
        assert {record["correct"] for record in each} == {True, False}
    for each in found[1:7]:
        assert len({record["prediction"] for record in each}) > 2


def test_forms_of_texts(model, outputs):
    texts = [model.text_of(list(ids)) for ids in outputs] + SENTENCES + FORMS
    for text in (*texts, *map(str.upper, texts)):
        assert normal(text) == plain_judging.normal(text)
        assert fold(text) == plain_judging.fold(text)
        assert unspaced(text) == plain_judging.fold(text).replace(" ", "")
        assert identify(text) == plain_judging.identify(text)
        for lang in ("en", "sw"):
            assert words_of(text, lang) == plain_judging.words_of(text, lang)


def test_words_are_a_list_of_the_callers_own():
    words_of("moja mbili", "sw").append("tatu")
    assert words_of("moja mbili", "sw") == ["moja", "mbili"]
