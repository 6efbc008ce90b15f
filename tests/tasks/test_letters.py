"""Options that are single letters or numbers, in the scripts of the world."""

from __future__ import annotations

import pytest

from crosslatent.tasks.naming import labelled_options, named_options

ALPHABETS = [
    # letters, a sentence that has some of them as words or within words
    ("ABCD", "A house on a hill"),
    ("abcd", "It is a house, is it not, or d"),
    ("АБВГ", "Он живёт в Москве, а я В пути"),
    ("абвг", "Он живёт в Москве, а я нет"),
    ("ΑΒΓΔ", "Α και Δ, ο δρόμος"),
    ("أبجد", "هذا ب ج في البيت"),
    ("אבגד", "יום א בשבוע ב"),
    ("कखगघ", "क और ख में से एक कि"),
    ("কখগঘ", "কখন এবং ক খ"),
    ("கஙசஞ", "க என்பது ஓர் எழுத்து"),
    ("กขคง", "ขอบคุณ ค รับ"),
    ("ກຂຄງ", "ຂອບໃຈ"),
    ("កខគឃ", "ខ្ញុំ ខ"),
    ("ကခဂဃ", "ကခ ခ မ"),
    ("ཀཁགང", "ང་ཚོ"),
    ("가나다라", "나는 가 학교에 나 간다"),
    ("ㄱㄴㄷㄹ", "ㄱ ㄴ 이다"),
    ("アイウエ", "アジアの国 ア"),
    ("あいうえ", "ありがとう あ い"),
    ("ｱｲｳｴ", "アジアの国"),
    ("甲乙丙丁", "甲方同意乙方，甲"),
    ("一二三四", "一个人有二十一岁"),
    ("是否", "答案是否定的"),
    ("男女", "一个男人"),
    ("ԱԲԳԴ", "Ա է Բ"),
    ("აბგდ", "ა და ბ"),
    ("አበገደ", "አዲስ አበባ በ"),
    ("①②③④", "2 of 3"),
    ("ⒶⒷⒸⒹ", "A house"),
    ("ⅠⅡⅢⅣ", "World War II and I"),
    ("ⅰⅱⅲⅳ", "ii and iii"),
    ("፩፪፫፬", "፪ ዓመት"),
    ("१२३४", "२ साल"),
    ("éèêë", "il é il è"),
    (("x\u0302", "y\u0302"), "x\u0302 and y"),  # marks that no character holds
    (("\u05d1\u05bc", "\u05d2\u05bc"), "\u05d1\u05bc ספר"),
    (("10", "12", "112"), "10 or 12 of 112"),
    (("١٠", "١٢"), "عام ١٢"),
    (("一", "十一", "二十一"), "二十一个人"),
    (("I", "II", "III", "IV"), "World War II, Henry IV"),
    (("A.", "B.", "C."), "vitamin A. is in it"),
    (("А)", "Б)", "В)"), "дом В) стоит"),
    (("甲、", "乙、"), "甲、乙都对"),
    (("[α]", "[β]"), "η α ακτινοβολία"),
]


@pytest.mark.parametrize(("letters", "sentence"), ALPHABETS, ids=lambda value: "".join(value)[:8])
def test_letters_count_alone_or_in_brackets(letters, sentence):
    options = list(letters)
    assert named_options(sentence, options) == []
    for option in options:
        bare = option.strip("[]).、")
        assert named_options(option, options) == [option]
        assert named_options(f" {bare}\n", options) == [option]
        assert named_options(f"({bare})", options) == [option]
        assert named_options(f"{sentence} ({bare})", options) == [option]
        assert named_options(f"{sentence}（{bare}）", options) == [option]
        assert named_options(f"{bare} {bare}", options) == []


@pytest.mark.parametrize(
    ("option", "output"),
    [("S", "friend(s)"), ("Ы", "(ы)"), ("Σ", "(σ)"), ("s", "(S)"), ("Ա", "(ա)"), ("É", "(é)")],
)
def test_letters_have_their_own_case(option, output):
    assert named_options(output, [option, "Q"]) == []


@pytest.mark.parametrize(
    ("output", "options", "named"),
    [
        # Beside words, an ideograph or a Korean syllable is a word, where no letter touches it.
        ("是，因为", ["是", "不是"], ["是"]),
        ("不是", ["是", "不是"], ["不是"]),
        ("答案是", ["是", "不是"], []),
        ("네, 맞아요", ["네", "아니요"], ["네"]),
        ("네덜란드", ["네", "아니요"], []),
        ("아니요", ["네", "아니요"], ["아니요"]),
        # A letter of an alphabet is a symbol there too.
        ("A house", ["A", "none of them"], []),
        ("В Москве", ["В", "ничего"], []),
        # A vowel sign makes a syllable, which can be a word.
        ("हाँ, सही है", ["हाँ", "नहीं"], ["हाँ"]),
        ("না।", ["হ্যাঁ", "না"], ["না"]),
        # Numbers with a point or comma are whole as well.
        ("1,000,000", ["1,000", "2,000"], []),
        ("It is 3.5.", ["3.5", "4.5"], ["3.5"]),
        ("13.57", ["3.5", "13.5"], []),
        # A word in brackets.
        ("(हाँ)", ["(हाँ)", "(नहीं)"], ["(हाँ)"]),
        ("हाँ", ["(हाँ)", "(नहीं)"], ["(हाँ)"]),
    ],
)
def test_words_beside_letters(output, options, named):
    assert named_options(output, options) == named


@pytest.mark.parametrize(
    ("output", "named"),
    [("答案是(2)", ["(2)"]), ("是", ["(1)"]), ("这是否正确", []), ("(否)", ["(2)"])],
)
def test_labels_that_are_letters_count_as_letters_do(output, named):
    assert labelled_options(output, ("(1)", "(2)"), ("是", "否")) == named
