from __future__ import annotations

import pytest

from crosslatent.core.languages import can_identify, identify, name_of, same_language, script_of


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("sw", "Swahili"),
        ("zh", "Chinese"),
        ("pt-BR", "Portuguese (Brazil)"),
        ("und", "und"),
        ("xx", "xx"),
        ("my own language", "my own language"),
        ("", ""),
    ],
)
def test_a_code_has_an_english_name_or_stays_as_it_is(code: str, name: str) -> None:
    assert name_of(code) == name


@pytest.mark.parametrize(
    ("code", "script"),
    [("sw", "Latn"), ("zh", "Hans"), ("zh-TW", "Hant"), ("sr-Latn", "Latn"), ("am", "Ethi")],
)
def test_a_language_has_a_script(code: str, script: str) -> None:
    assert script_of(code) == script


@pytest.mark.parametrize("code", ["und", "xx", "not a code"])
def test_an_unknown_language_has_no_script(code: str) -> None:
    assert script_of(code) is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("zh-CN", "zh", True),
        ("zh_CN", "zh-Hant", True),
        ("swh", "sw", True),
        ("cmn", "zh", True),
        ("iw", "he", True),
        ("tl", "fil", True),
        ("sw", "en", False),
        ("hr", "sr", False),
        ("und", "und", False),
        ("und", "en", False),
        ("Klingonish!", "klingonish!", True),
    ],
)
def test_languages_are_compared_without_region_and_script(
    first: str, second: str, same: bool
) -> None:
    assert same_language(first, second) is same
    assert same_language(second, first) is same


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Jibu la swali hili ni jiji la Nairobi nchini Kenya", "sw"),
        ("The answer to this question is the city of Paris", "en"),
        ("La réponse à cette question est la ville de Paris", "fr"),
        ("这个问题的答案是北京", "zh"),
        ("北京", "zh"),
        ("Ответ на этот вопрос — город Москва", "ru"),
        ("الجواب على هذا السؤال هو مدينة القاهرة", "ar"),
        ("(1) الجواب على هذا السؤال", "ar"),
    ],
)
def test_the_language_of_a_text_is_found(text: str, code: str) -> None:
    assert identify(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "(1)",
        "A",
        "(A)",
        "（B）",
        "(ሀ)",
        "の",
        "(の)",
        "23-16",
        "1. 2. 3.",
        "!!! ???",
        "Broncos",
        "Yes",
    ],
)
def test_marks_numbers_and_names_have_no_language(text: str) -> None:
    assert identify(text) is None


def test_the_identifier_and_its_answers_are_kept() -> None:
    text = "Which of these two cities is the capital of the country?"
    identify(text)
    hits = identify.cache_info().hits
    assert identify(text) == "en"
    assert identify.cache_info().hits == hits + 1


def test_text_with_half_a_character_is_no_error() -> None:
    assert identify("\ud800" * 10) is None


@pytest.mark.parametrize(
    ("code", "can"), [("sw", True), ("zh-TW", True), ("swh", True), ("tlh", False), ("und", False)]
)
def test_which_languages_can_be_found_at_all(code: str, can: bool) -> None:
    assert can_identify(code) is can
