"""BLEnD: its two rules on strings that break naive versions, its votes, and the released files."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import RULES, Item, load_task
from crosslatent.tasks.metrics import METRICS, MetricInput

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "blend"
DATA = Path(os.environ.get("CROSSLATENT_BLEND", BESIDE))
released = pytest.mark.skipif(not (DATA / "annotations").is_dir(), reason="BLEnD is not here")

# (output, gold answer, language, right by `blend`, right by `blend_simple`)
STRINGS = [
    ("tea", "tea", "en", True, True),
    ("The team won.", "tea", "en", True, False),
    ("Tea!", "tea", "en", True, True),
    ("green tea, mostly", "tea", "en", True, True),
    ("teas", "tea", "en", True, False),
    ("steak", "tea", "en", True, False),
    ("", "tea", "en", False, False),
    ("   ", "tea", "en", False, False),
    ("tea", "", "en", False, False),
    ("tea", "...", "en", False, False),
    ("ice-cream", "ice cream", "en", True, True),
    ("ice cream", "ice-cream", "en", True, True),
    ("icecream", "ice cream", "en", False, False),
    ("cream and ice", "ice cream", "en", True, False),
    ("cream of ice", "ice creams", "en", False, False),
    ("Café", "cafe", "es", True, True),
    ("cafe", "café", "es", True, True),
    ("jalapeño", "jalapeno", "es", False, True),
    ("FÚTBOL", "fútbol", "es", True, True),
    ("10", "10", "en", True, True),
    ("100", "10", "en", True, False),
    ("10 am", "10", "en", True, True),
    ("10:30", "10", "en", True, True),
    ("ten", "10", "en", False, False),
    ("ሻይ", "ሻይ", "am", True, True),
    ("ሻይ በዳቦ", "ሻይ", "am", True, True),
    ("ሻይቤት", "ሻይ", "am", True, False),
    ("ሻይ።", "ሻይ", "am", True, True),
    ("我喜欢喝茶。", "茶", "zh", True, True),
    ("奶茶", "茶", "zh", True, True),
    ("茶", "奶茶", "zh", False, False),
    ("tuwo", "tuwon shinkafa", "ha", False, False),
    ("tuwon shinkafa da miya", "tuwon shinkafa", "ha", True, True),
    ("ɗan wake", "ɗan wake", "ha", True, True),
    ("dan wake", "ɗan wake", "ha", False, False),
    ("الشاي", "شاي", "ar", True, False),
    ("شاي", "شاي", "ar", True, True),
    ("sate ayam", "ayam sate", "id", True, False),
    ("rendang\nopor", "opor", "id", True, True),
    ("김치찌개", "김치", "ko", True, True),
]


def item(gold: str, lang: str, **more) -> Item:
    return Item("q", "en", lang, "main", "aux", answer=gold, weights=(1.0,), **more)


def test_there_are_forty():
    assert len(STRINGS) == 40


@pytest.mark.parametrize(("output", "gold", "lang", "as_released", "simple"), STRINGS)
def test_each_rule_equals_its_definition(output, gold, lang, as_released, simple):
    one = item(gold, lang)
    assert RULES["blend"].judge(output, one).correct is as_released
    assert RULES["blend_simple"].judge(output, one).correct is simple
    assert as_released is by_definition(output, gold)


def by_definition(output: str, gold: str) -> bool:
    """BLEnD's rule, read anew: containment, or all words, without acute accents."""

    def words(text: str) -> set[str]:
        plain = unicodedata.normalize("NFD", text.lower()).replace("\u0301", "")
        kept = [c if c.isalnum() or unicodedata.combining(c) or c == "_" else " " for c in plain]
        return set(unicodedata.normalize("NFC", "".join(kept)).split())

    text, wanted = output.lower(), gold.lower().strip()
    contained = {wanted, wanted.replace("-", " "), wanted.replace(" ", "-")}
    found = any(one and one in text for one in contained)
    return found or (bool(words(wanted)) and words(wanted) <= words(text))


def test_votes_are_those_of_the_best_answer_that_is_given():
    one = Item(
        "q", "en", "am", "m", "a", answer="ዳቦ", other_answers=("ሻይ", "bread", "tea"),
        weights=(4.0, 2.0, 4.0, 2.0),
    )  # fmt: skip
    score = METRICS["votes"]
    for output, wanted in {"ዳቦ": 1.0, "tea": 0.5, "tea and bread": 1.0, "rice": 0.0}.items():
        assert score(MetricInput(output), one) == wanted
    unweighed = Item("q", "en", "am", "m", "a", answer="ዳቦ")
    assert not score.fits(unweighed)
    assert not RULES["blend"].fits(unweighed)


TASK = """\
name: mine
direction: x->en
rule: blend_simple
metric: votes
template: "{{ en }} {{ part }}:"
aux_template: "{{ own }}:"
languages: {en: {names: [a]}, am: {names: [b, c]}}
rows: {files: "{part}.jsonl", parts: aux_language.names, parallel: false, key: part ~ row.id}
answer: golds
weights: votes
cluster: row.id
strata: {country: part}
"""


def write(folder: Path, task: str = TASK, **files: str) -> Path:
    (folder / "mine.yaml").write_text(task, encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder / "mine.yaml"


ROW = '{"id": "1", "en": "Which?", "own": "የቱ?", "golds": ["x", "y", "x"], "votes": [3, 2, 1]}\n'


def test_files_are_read_part_by_part_and_counterparts_come_of_the_same_row(tmp_path):
    task = load_task(write(tmp_path, b=ROW, c=ROW))
    assert [one.main for one in task.items] == ["Which? b:", "Which? c:"]
    assert {one.aux for one in task.items} == {"የቱ?:"}
    assert {one.cluster for one in task.items} == {"1"}
    assert task.items[0].golds == ("x", "y")
    assert task.items[0].weights == (3.0, 2.0)
    (tmp_path / "c.jsonl").unlink()
    (only_b,) = load_task(tmp_path / "mine.yaml").items
    assert only_b.strata == {"country": "b"}


def test_mistakes_are_said(tmp_path):
    with pytest.raises(TaskError, match="no file such as .*b.jsonl"):
        load_task(write(tmp_path))
    with pytest.raises(TaskError, match="2 weights for 3 gold answers"):
        load_task(write(tmp_path, b=ROW.replace("[3, 2, 1]", "[3, 2]")))


@released
def test_the_released_files():
    task = load_task("blend", data=DATA)
    by_country: dict[str, list[Item]] = {}
    for one in task.items:
        by_country.setdefault(one.strata["country"], []).append(one)
    assert len(by_country) == 5
    for country, some in by_country.items():
        assert 437 <= len(some) <= 480
        file = DATA / "annotations" / f"{country}_data.json"
        rows = json.loads(file.read_text(encoding="utf-8"))
        for one in some[:50]:
            row = rows[one.cluster]
            assert row["en_question"] in one.main
            assert row["question"] in one.aux
            best = max(row["annotations"], key=lambda each: each["count"])
            given = [*best["answers"], *best["en_answers"]]
            assert METRICS["votes"](MetricInput(given[0]), one) == 1.0
            assert set(one.golds) <= {
                answer
                for each in row["annotations"]
                for answer in (*each["answers"], *each["en_answers"])
            }
