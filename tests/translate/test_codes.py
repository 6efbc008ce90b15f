from __future__ import annotations

import pytest
from transformers.models.m2m_100.tokenization_m2m_100 import (
    FAIRSEQ_LANGUAGE_CODES as M2M100_CODES,
)
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB_CODES

from crosslatent.translate.language_codes import find, nllb, short_codes, three_letters

M2M100 = M2M100_CODES["m2m100"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sw", "swh_Latn"),
        ("zh", "zho_Hans"),
        ("zh-CN", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("zh-Hant", "zho_Hant"),
        ("yue", "yue_Hant"),
        ("ar", "arb_Arab"),
        ("arz", "arz_Arab"),
        ("fa", "pes_Arab"),
        ("et", "est_Latn"),
        ("ms", "zsm_Latn"),
        ("lv", "lvs_Latn"),
        ("ne", "npi_Deva"),
        ("az", "azj_Latn"),
        ("uz", "uzn_Latn"),
        ("mn", "khk_Cyrl"),
        ("no", "nob_Latn"),
        ("nn", "nno_Latn"),
        ("sq", "als_Latn"),
        ("ku", "kmr_Latn"),
        ("mg", "plt_Latn"),
        ("ps", "pbt_Arab"),
        ("qu", "quy_Latn"),
        ("om", "gaz_Latn"),
        ("or", "ory_Orya"),
        ("yi", "ydd_Hebr"),
        ("ko", "kor_Hang"),
        ("ja", "jpn_Jpan"),
        ("ht", "hat_Latn"),
        ("tl", "tgl_Latn"),
        ("en-GB", "eng_Latn"),
        ("sr-Latn", None),  # known in Cyrillic only: another script is another text
        ("xx", None),
        ("und", None),
    ],
)
def test_codes_of_nllb(code: str, expected: str | None) -> None:
    assert find(NLLB_CODES, nllb(code)) == expected


def test_models_understand_their_own_codes() -> None:
    assert [find(NLLB_CODES, nllb(code)) for code in NLLB_CODES] == NLLB_CODES
    assert [find(M2M100, short_codes(code)) for code in M2M100] == M2M100
    assert [find(MBART_CODES, short_codes(code)) for code in MBART_CODES] == MBART_CODES


def test_what_m2m100_knows_nllb_knows_but_for_two() -> None:
    missing = {code for code in M2M100 if find(NLLB_CODES, nllb(code)) is None}
    assert missing == {"br", "fy", "ns"}  # "ns" is M2M100's own name of "nso"
    assert find(NLLB_CODES, nllb("nso")) == "nso_Latn"


@pytest.mark.parametrize(
    ("code", "expected"), [("sw", "sw"), ("zh-CN", "zh"), ("nso", "ns"), ("nb", "no"), ("qu", None)]
)
def test_codes_of_m2m100(code: str, expected: str | None) -> None:
    assert find(M2M100, short_codes(code)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sw", "sw_KE"), ("en", "en_XX"), ("zh-CN", "zh_CN"), ("pt-BR", "pt_XX"), ("am", None)],
)
def test_codes_of_mbart(code: str, expected: str | None) -> None:
    assert find(MBART_CODES, short_codes(code)) == expected


@pytest.mark.parametrize(
    ("code", "known", "expected"),
    [
        ("he", ["iw", "en"], "iw"),
        ("tl", ["fil", "en"], "fil"),
        ("sr-Latn", ["sr", "sr_Latn"], "sr_Latn"),
        ("zh", ["zh", "zh_Latn"], "zh"),
    ],
)
def test_codes_of_madlad(code: str, known: list[str], expected: str) -> None:
    assert find(known, short_codes(code)) == expected


@pytest.mark.parametrize(
    ("code", "known", "expected"),
    [
        ("sw", ["swh", "eng"], "swh"),
        ("sw", ["swa", "eng"], "swa"),
        ("sw", ["sw", "en"], "sw"),
        ("zh", ["cmn_Hans", "cmn_Hant"], "cmn_Hans"),
        ("zh-TW", ["cmn_Hans", "cmn_Hant"], "cmn_Hant"),
        ("fr", ["fra", "ron"], "fra"),
        ("pt-BR", ["pt", "pt_br"], "pt_br"),
        ("zh", ["cmn_Bopo", "cmn_Yiii"], None),  # several, and none that is meant
    ],
)
def test_codes_of_marian(code: str, known: list[str], expected: str | None) -> None:
    assert find(known, three_letters(code)) == expected
