"""Tasks on culture in the columns of their repositories, with rows made here."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from crosslatent.core.countries import (
    all_countries,
    countries_of,
    country_in,
    country_of,
    is_other_sample,
    known_name,
    with_own_name,
)
from crosslatent.tasks import load_task


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def clone(folder, repository, rows, config="default", split="test"):
    """A copy of a repository with one table."""
    place = folder / repository.partition("/")[2]
    place.mkdir()
    pd.DataFrame(rows).to_parquet(place / "rows.parquet")
    files = f"  data_files:\n  - {{split: {split}, path: rows.parquet}}\n"
    card = f"---\nconfigs:\n- config_name: {config}\n{files}---\n"
    (place / "README.md").write_text(card, encoding="utf-8")
    return folder


def loaded(name, folder, **more):
    return load_task(name, data=folder, counterparts=False, **more).items


def test_opinions_of_the_hub_format(tmp_path):
    """The column `selections` is the text of a Python defaultdict."""
    selections = (
        "defaultdict(<class 'list'>, {'Kenya': [0.2, 0.8], 'Egypt': [0.6, 0.4], 'Peru': [1.0]})"
    )
    row = {
        "question": "Good?",
        "selections": selections,
        "options": "['Yes', 'No']",
        "source": "WVS",
    }
    file = tmp_path / "llm_global_opinions"
    file.mkdir()
    pd.DataFrame([row] * 60).to_csv(file / "rows.csv", index=False)
    card = "---\nconfigs:\n- config_name: default\n  data_files: rows.csv\n---\n"
    (file / "README.md").write_text(card, encoding="utf-8")
    items = loaded("globalopinionqa", tmp_path, languages=["sw", "ar", "es"])
    found = {one.strata["country"]: one for one in items}
    assert set(found) == {"Kenya", "Egypt"}  # Peru has shares for one option alone
    assert found["Kenya"].shares == (0.2, 0.8)
    assert found["Kenya"].answer == "(B)"
    assert found["Egypt"].cluster == found["Kenya"].cluster == "Good?"


def test_normad_has_four_rungs(tmp_path):
    row = {
        "ID": 7, "Country": "ethiopia", "Background": "b", "Subaxis": "s", "Value": "respect",
        "Rule-of-Thumb": "Greet elders first.", "Story": "She greeted them.", "Gold Label": "yes",
    }  # fmt: skip
    folder = clone(tmp_path, "akhilayerukola/NormAd", [row], split="train")
    items = {one.strata["given"]: one for one in loaded("normad", folder, languages=["am"])}
    assert set(items) == {"none", "country", "value", "rule"}
    assert "Ethiopia" not in items["none"].main
    assert "Country: Ethiopia" in items["country"].main
    assert "Greet elders first." in items["rule"].main
    assert {one.answer for one in items.values()} == {"(A)"}
    assert {one.cluster for one in items.values()} == {"7"}
    assert items["none"].strata["country"] == "Ethiopia"


def test_include_tells_regional_from_general(tmp_path):
    row = {"question": "?", "choices": ["a", "b", "c", "d"], "answer": 2, "subject": "Law"}
    rows = [{**row, "regional_feature": name} for name in ("culture", "agnostic")]
    folder = clone(tmp_path, "CohereLabs/include-base-44", rows, config="Hindi")
    items = loaded("include", folder, languages=["hi"])
    assert [one.strata["regional"] for one in items] == ["regional", "agnostic"]
    assert {one.answer for one in items} == {"(C)"}


def test_pairs_of_sentences_change_places(tmp_path):
    row = {"sent_more": "worse", "sent_less": "better", "bias_type": "age"}
    folder = clone(tmp_path, "BigScienceBiasEval/crows_pairs_multilingual", [row, row], "english")
    first, second = loaded("crows-pairs", folder, languages=["en"], aux_languages=["fr"])
    for one in (first, second):
        assert one.labels[one.options.index(one.strata["more"])] == "worse"
    assert first.strata["more"] != second.strata["more"]


def bbq(polarity, label, condition="ambig"):
    return {
        "example_id": label, "question_index": "1", "question_polarity": polarity,
        "context_condition": condition, "context": "c", "question": "q", "label": label,
        "ans0": "old", "ans1": "young", "ans2": "not known",
        "answer_info": {"ans0": ["o", "old"], "ans1": ["y", "nonOld"], "ans2": ["u", "unknown"]},
        "additional_metadata": {"stereotyped_groups": ["old"]},
    }  # fmt: skip


def test_mbbq_says_which_answer_is_biased(tmp_path):
    for lang in ("es", "en"):
        rows = [bbq("neg", 2), bbq("nonneg", 1, "disambig"), bbq("neg", 1, "disambig")]
        for number, row in enumerate(rows):
            row["example_id"] = number
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"Age_{lang}.jsonl").write_text(text, encoding="utf-8")
        (tmp_path / f"Age_control_{lang}.jsonl").write_text(text, encoding="utf-8")
    items = loaded("mbbq", tmp_path, languages=["es"])
    own = [one for one in items if one.strata["control"] == "no"]
    assert len(items) == 2 * len(own) == 6
    assert [one.strata["biased"] for one in own] == ["(A)", "(B)", "(A)"]
    assert [one.strata["counter"] for one in own] == ["(B)", "(A)", "(B)"]
    assert [one.strata["gold"] for one in own] == ["unknown", "biased", "counter"]
    assert [one.strata["context"] for one in own] == ["ambiguous", "disambiguated", "disambiguated"]


def test_kobbq_says_which_answer_is_biased(tmp_path):
    texts = "['노인', '청년', '알 수 없음']"
    row = {
        "sample_id": "age-1-amb-bsd", "context": "c", "question": "q", "choices": texts,
        "biased_answer": "노인", "answer": "알 수 없음",
    }  # fmt: skip
    clear = {**row, "sample_id": "age-1-dis-cnt", "answer": "청년"}
    place = tmp_path / "KoBBQ_test_samples.tsv"
    pd.DataFrame([row, clear]).to_csv(place, sep="\t", index=False)
    first, second = loaded("kobbq", tmp_path, languages=["ko"])
    assert [first.strata[name] for name in ("biased", "counter", "unknown")] == [
        "(A)",
        "(B)",
        "(C)",
    ]
    assert [one.strata["gold"] for one in (first, second)] == ["unknown", "counter"]


def test_multiple_choice_names_the_country_of_each_answer(tmp_path):
    row = {
        "MCQID": "m1", "ID": "Al-en-01", "country": "Ethiopia",
        "prompt": "What do children eat? Without any explanation, choose one.",
        "choices": '{"A": "bread", "B": "rice", "C": "tacos", "D": "pizza"}',
        "choice_countries": '{"A": "Ethiopia", "B": "China", "C": "Mexico", "D": "US"}',
        "answer_idx": "A",
    }  # fmt: skip
    folder = clone(tmp_path, "nayeon212/BLEnD", [row], "multiple-choice-questions")
    (one,) = loaded("blend-mc", folder, languages=["am"])
    assert one.main.startswith("Question: What do children eat?\n(A) bread\n")
    assert one.strata == {"country": "Ethiopia", "others": "Ethiopia, China, Mexico, US"}
    assert one.answer == "(A)"


def test_sensitive_questions_of_several_languages(tmp_path):
    row = {"sample_id": "s/1", "question": "?", "answer": "B"} | {f"option_{c}": c for c in "abcd"}
    place = tmp_path / "Global-MMLU-Lite"
    for lang in ("sw", "en"):
        (place / lang).mkdir(parents=True)
        rows = [
            {**row, "sample_id": f"s/{kind}", "cultural_sensitivity_label": kind}
            for kind in ("CS", "CA")
        ]
        pd.DataFrame(rows).to_parquet(place / lang / "rows.parquet")
    configs = "".join(
        f"- config_name: {lang}\n  data_files:\n  - {{split: test, path: {lang}/rows.parquet}}\n"
        for lang in ("sw", "en")
    )
    (place / "README.md").write_text(f"---\nconfigs:\n{configs}---\n", encoding="utf-8")
    items = loaded("global-mmlu-lite", tmp_path, languages=["sw"])
    assert [one.strata["sensitive"] for one in items] == ["sensitive", "agnostic"]
    assert all(one.aux for one in items)


def test_countries_are_found_by_their_spellings_alone():
    assert known_name("Ethiopia (Non-national sample)") == "Ethiopia"
    assert is_other_sample("Ethiopia (Non-national sample)")
    assert known_name("S. Korea") == known_name("South_Korea") == "South Korea"
    assert country_of("Niger") is None  # a part of another name
    assert country_in("Ethiopia", "am") == "ኢትዮጵያ"
    assert country_in("China", "zh") == "中国"
    assert country_in("Northern Nigeria", "ha") == "Arewacin Najeriya"
    assert country_in("Atlantis", "am") == "Atlantis"
    assert with_own_name("Ethiopia") == "Ethiopia (ኢትዮጵያ)"
    assert with_own_name("Australia") == "Australia"
    assert {"Mexico", "Spain", "Peru"} <= {one.name for one in countries_of("es")}
    spellings = [text for one in all_countries() for text in (one.name, *one.spellings)]
    assert len(spellings) == len(set(spellings))
