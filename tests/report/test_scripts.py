"""Prompts and answers in every script, laid out as their language is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crosslatent.core.languages import direction
from crosslatent.report import ReportPaths, build_report, drawing
from support.runs import item, row, write_run

SCRIPTS = {
    "ar": ("ما هي عاصمة مصر؟ الجواب:", "القاهرة"),
    "he": ("מהי בירת מצרים? תשובה:", "קהיר"),
    "ur": ("مصر کا دارالحکومت کیا ہے؟ جواب:", "قاہرہ"),
    "fa": ("پایتخت مصر کجاست؟ پاسخ:", "قاهره"),
    "hi": ("मिस्र की राजधानी क्या है? उत्तर:", "काहिरा"),
    "th": ("เมืองหลวงของอียิปต์คืออะไร คำตอบ:", "ไคโร"),
    "km": ("រដ្ឋធានីនៃអេហ្ស៊ីបគឺជាអ្វី? ចម្លើយ:", "គែរ"),
    "am": ("የግብፅ ዋና ከተማ ምንድን ነው? መልስ:", "ካይሮ"),
    "zh": ("埃及的首都是哪里？答案：", "开罗"),
    "ja": ("エジプトの首都はどこですか？答え：", "カイロ"),
}
"""A question in each, and its answer: with marks, ligatures, conjuncts, and without blanks."""
RIGHT_TO_LEFT = ("ar", "he", "ur", "fa")


def run_in_all_scripts(path: Path) -> Path:
    """One question in each script; a transplant repairs all but the last."""
    items = [
        item(
            lang,
            lang=lang,
            main=prompt,
            main_token=prompt[-1],
            aux="What is the capital of Egypt? Answer:",
            answer=answer,
            options=None,
            labels=None,
        )
        for lang, (prompt, answer) in SCRIPTS.items()
    ]
    rows = []
    for lang, (_, answer) in SCRIPTS.items():
        repaired = lang != "ja"
        rows.append(row(lang, "vanilla", False, output="?!", lang=lang))
        rows.append(row(lang, correct=repaired, output=answer if repaired else "?", lang=lang))
        rows.append(row(lang, correct=False, output=answer, lang=lang, source=1, target=1))
    return write_run(path, items, rows, task={"name": "scripts", "title": "Capitals"})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    folder = tmp_path_factory.mktemp("scripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "FORMATS", ())
        return build_report([run_in_all_scripts(folder / "run")], folder / "out")


@pytest.mark.parametrize("lang", [*SCRIPTS, "en", "ckb", "uz-Arab", "dv", "yi"])
def test_direction_of_a_language(lang: str) -> None:
    backwards = lang in (*RIGHT_TO_LEFT, "ckb", "uz-Arab", "dv", "yi")
    assert direction(lang) == ("rtl" if backwards else "ltr")


@pytest.mark.parametrize("lang", ["und", "no code at all", ""])
def test_direction_of_no_language_is_found_by_the_browser(lang: str) -> None:
    assert direction(lang) == "auto"


def test_every_prompt_has_its_language_and_direction_with_the_touched_token_last(
    built: ReportPaths,
) -> None:
    page = built.page.parent / "pages" / "scripts.html"
    langs: set[str] = set()
    for text in (built.page.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")):
        prompts = re.findall(r'<div class="text" lang="(\w+)" dir="(\w+)">(.*?)</div>', text)
        assert len(prompts) >= 4
        for lang, way, shown in prompts:
            assert way == direction(lang)
            assert shown.endswith("</mark>")
            if lang in SCRIPTS:
                head, token = SCRIPTS[lang][0][:-1], SCRIPTS[lang][0][-1]
                assert shown.startswith(head)
                assert re.search(rf"<mark[^>]*>{token}</mark>$", shown)
        langs |= {lang for lang, _, _ in prompts}
    assert langs & set(RIGHT_TO_LEFT)
    assert '<bdi lang="ar">القاهرة</bdi>' in page.read_text(encoding="utf-8")


def answers_of(paths: ReportPaths) -> dict:
    text = (paths.page.parent / "pages" / "scripts.answers.js").read_text(encoding="utf-8")
    assert text.startswith("window.crosslatentAnswers = ")
    return json.loads(text.partition(" = ")[2].rstrip(";\n"))


def test_the_browser_of_answers_has_them_too(built: ReportPaths) -> None:
    data = answers_of(built)
    assert {one["lang"]: one["dir"] for one in data["items"]} == {
        lang: direction(lang) for lang in SCRIPTS
    }
    for place, one in enumerate(data["items"]):
        prompt, answer = SCRIPTS[one["lang"]]
        assert "".join(one["main"]) == prompt
        assert one["main"][1] == prompt[-1]
        cells = data["cells"]["ffn"]["none"]
        shown, _, right = one["answers"][cells["0-0"][place]]
        assert (shown, right) == (("?", 0) if one["lang"] == "ja" else (answer, 1))
        assert one["answers"][one["vanilla"]][0] == "?!"


DRIVER = """
<script>
addEventListener("load", function () { setTimeout(function () {
  function counts() {
    var said = document.querySelector(".answers-said").textContent;
    var first = document.querySelector(".answers-list .text");
    console.log("said: " + said + " | " + (first ? first.lang + " " + first.dir : "none"));
  }
  counts();
  var cell = document.querySelector('[data-cell="1-1"]');
  cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  counts();
  var form = document.querySelector("form.filters");
  form.elements.lang.value = "ur";
  form.elements.lang.dispatchEvent(new Event("input", { bubbles: true }));
  counts();
  var map = document.querySelector(".drawn[tabindex]");
  ["ArrowDown", "ArrowLeft", "Enter"].forEach(function (key) {
    map.dispatchEvent(new KeyboardEvent("keydown", { key: key, bubbles: true }));
  });
  counts();
  form.elements.outcome.value = "broken";
  form.elements.outcome.dispatchEvent(new Event("input", { bubbles: true }));
  counts();
  console.log("at: " + window.location.hash);
}, 500); });
</script>
"""


def test_a_click_on_the_map_shows_the_answers_of_that_pair(
    built: ReportPaths, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    folder = built.page.parent / "pages"
    page = folder / "driven.html"
    text = (folder / "scripts.answers.html").read_text(encoding="utf-8")
    page.write_text(text + DRIVER, encoding="utf-8")
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    page.unlink()
    said = re.findall(r'CONSOLE.*?"((?:said|at): .*?)", source', done.stderr)
    assert said == [
        "said: 10 questions, 9 repaired, 1 still wrong | am ltr",
        "said: 10 questions, 10 still wrong | am ltr",
        "said: 1 question, 1 still wrong | ur rtl",
        "said: 1 question, 1 repaired | ur rtl",
        "said: 0 questions | none",
        "at: #ffn-0-0",
    ], done.stderr[-2000:]
