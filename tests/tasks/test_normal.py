"""One normal form of texts, and every judge that must keep to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.core.normal import fold, normal
from crosslatent.tasks import RULES, Item
from crosslatent.tasks.metrics import MetricInput, exact_match, f1
from crosslatent.tasks.naming import clash

SAME = [
    ("Na\u200birobi", "Nairobi"),  # zero-width blank
    ("\ufeffNairobi", "Nairobi"),  # byte order mark
    ("Nai\u2060robi", "Nairobi"),  # word joiner
    ("Nai\u00adrobi", "Nairobi"),  # soft hyphen
    ("\u200fمرحبا\u202c", "مرحبا"),  # marks of direction
    ("می\u200cخواهم", "میخواهم"),  # the non-joiner of Persian
    ("مـــرحبا", "مرحبا"),  # tatweel
    ("\ufee3\ufeae\ufea3\ufe92\ufe8e", "مرحبا"),  # presentation forms
    ("\ufb2aלום", "\u05e9\u05c1לום"),  # a Hebrew one
    ("\u0633\u064e\u0651", "\u0633\u0651\u064e"),  # marks in another order
    ("นํ้า", "น้ำ"),  # sara am before and after the tone
    ("Côte d’Ivoire", "Côte d'Ivoire"),
    ("O`zbekiston", "Oʻzbekiston"),
    ("Cote d\u00b4Ivoire", "Cote d'Ivoire"),
    ("м\u02bcята", "м’ята"),
    ("צה״ל", 'צה"ל'),
    ("„Faust“", '"Faust"'),
    ("«Faust»", "“Faust”"),
    ("1914–1918", "1914-1918"),
    ("co\u2011op", "co-op"),
    ("בית־ספר", "בית-ספר"),
    ("\u22125", "-5"),
    ("New\u00a0York", "New York"),
    ("10\u202f000", "10 000"),
    ("New\u3000York", "New\nYork"),
    ("  New \t York ", "New York"),
    ("Ａｓｉａ", "Asia"),
    ("ｱｼﾞｱ", "アジア"),
    ("１９４７", "१९४७"),
    ("٣٫٥", "3.5"),
    ("½", "1/2"),
    ("☺\ufe0f", "☺"),
    ("葛\U000e0100", "葛"),
    ("\u1112\u1161\u11ab국", "한국"),
    ("e\u200d\u0301", "é"),  # what is left composes once more
]
FOLDED = [("Straße", "STRASSE"), ("ẞ", "ß"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("Ǆ", "ǆ"), ("ᲗᲑ", "თბ")]
APART = [
    ("ırak", "irak"),
    ("ی", "ي"),
    ("A", "\u0410"),
    ("New York", "NewYork"),
    ("は", "ば"),
    ("ف", "ڤ"),
    ("خانه\u200cای", "خانه ای"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same_text(one, other):
    assert normal(one) == normal(other)


@pytest.mark.parametrize(("one", "other"), FOLDED)
def test_same_but_for_case(one, other):
    assert fold(one) == fold(other)
    assert normal(one) != normal(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_other_texts_stay_apart(one, other):
    assert fold(one) != fold(other)


@pytest.mark.parametrize(("one", "other"), SAME + FOLDED)
def test_every_judge_agrees(one, other):
    """Rules, scores and the check of options: what is the same for one is the same for all."""
    open_item = Item("q", "und", "en", "m", "a", other)
    assert RULES["exact"].judge(one, open_item).correct
    assert RULES["contains"].judge(f"x {one} y", open_item).correct
    assert exact_match(MetricInput(one), open_item) in (1.0, None)  # None: nothing but symbols
    assert f1(MetricInput(one), open_item) in (1.0, None)
    fixed = Item("q", "und", "en", "m", "a", other, (other, "qqq"), (other, "qqq"))
    if len(other) > 1:  # a letter keeps its case
        assert RULES["option"].judge(one, fixed).prediction == other
        assert RULES["option_or_label"].judge(one, fixed).prediction == other
    assert clash((one, other)) is not None


@pytest.mark.parametrize(("one", "other"), APART)
def test_every_judge_disagrees(one, other):
    assert not RULES["exact"].judge(one, Item("q", "und", "en", "m", "a", other)).correct
    assert exact_match(MetricInput(one), Item("q", "und", "en", "m", "a", other)) == 0
    assert clash((one, other)) is None


def test_every_character_has_one_form():
    # Without the blocks of ideographs and syllables, which are long and all alike.
    blocks = (
        range(0x3400),
        range(0xF900, 0x12000),
        range(0x1D000, 0x20000),
        range(0xE0000, 0xE0200),
    )
    characters = [chr(n) for block in blocks for n in block]
    assert [c for c in characters if normal(normal(c)) != normal(c)] == []


@given(st.text(max_size=12))
def test_a_normal_text_stays_as_it_is(text):
    assert normal(normal(text)) == normal(text)
    assert fold(fold(text)) == fold(text) == fold(normal(text))
