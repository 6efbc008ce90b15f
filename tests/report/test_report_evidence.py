"""The report's tests, layers, languages and claims: first what counts, long parts folded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from crosslatent.analysis import Headline, declaration
from crosslatent.analysis.bounds import OverControls, Rival
from crosslatent.report import ReportPaths, build_report, drawing, formatting
from crosslatent.report.verdicts import BOUND
from crosslatent.report.verdicts.grid_verdicts import ranges
from crosslatent.stats import Estimate, cluster_permutation
from support import pages
from support.runs import item, row, write_run
from support.simulated import simulate


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    folder = tmp_path_factory.mktemp("report")
    runs = [
        simulate(
            folder / "world",
            layers=2,
            facts=3,
            seed=1,
            headline=declaration(Headline(task="world")),
        ),
        simulate(folder / "culture", layers=2, facts=3, seed=2, direction="x->en"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "FORMATS", ())
        return build_report(runs, folder / "out")


def visible(paths: ReportPaths) -> str:
    return pages.visible(paths.page)


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, n=10, clusters=5, seed=0)


def test_upper_bound_opens_with_what_is_left_of_it(built: ReportPaths) -> None:
    summary = json.loads(built.summary.read_text(encoding="utf-8"))
    page = built.page.parent / "pages" / f"{summary['runs'][0]['task']}.html"
    shown = page.read_text(encoding="utf-8")
    section = shown[shown.index("The upper bound, and how much of it is luck</h2>") :]
    first = summary["runs"][0]["over_controls"]
    number = formatting.points(first[0]["strongest"]["difference"]["value"])
    assert section.index(number) < section.index("Upper bound minus the strongest control")
    assert section.index(number) < section.index("Feed-forward: counting a question")
    assert number in built.page.read_text(encoding="utf-8")
    assert "another question, same answer" not in {one["strongest"]["control"] for one in first}


def test_long_panels_are_folded_and_claims_are_in_words(
    built: ReportPaths,
) -> None:
    shown = visible(built)
    for title in ("Tests, corrections and sizes", "Layer by layer", "Language by language"):
        assert re.search(rf"<details>\s*<summary>{title}", shown), title
    assert "Only 4 languages: below 5 no rank correlation" in shown
    claim = json.loads(built.summary.read_text(encoding="utf-8"))["modules"]
    assert f"the claim is {claim['verdict']}" in shown
    assert "declared" in shown
    names = {file.name for file in built.tables}
    assert names >= {
        *(f"{name}.csv" for name in ("over_controls", "significance", "layers", "layer_tests")),
        *(f"{name}.csv" for name in ("modules", "stability", "languages", "correlations")),
    }


def test_five_languages_and_a_repeated_run_fill_their_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "FORMATS", ())
    languages = ("de", "es", "fr", "hi", "sw")
    items = [
        item(f"{split}{k}{lang}", lang=lang, split=split, cluster="p0" if k == 0 else f"{split}{k}")
        for split in ("pilot", "final")
        for lang in languages
        for k in range(4)
    ]
    rows = [row(one["item"], "vanilla", False) for one in items]
    for one in items:
        better = languages.index(one["lang"]) >= int(one["item"][len(one["split"])])
        rows += [row(one["item"], correct=better), row(one["item"], correct=False, target=1)]
    runs = [write_run(tmp_path / name, items, rows, created=name) for name in ("one", "other")]
    shown = visible(build_report(runs, tmp_path / "out"))
    assert "Do repeated runs agree?" in shown
    assert "Spearman" in shown
    assert (
        "5 questions of the 20 final ones ask about 1 fact that the pair was also picked on."
        in shown
    )


@pytest.mark.parametrize(
    ("gap", "p_value", "says"),
    [
        (estimate(0.2, 0.1, 0.3), 0.001, "the upper bound lies +20.0 points"),
        (estimate(0.2, 0.1, 0.3), 0.06, "the test does not confirm it"),
        (estimate(0.0, -0.1, 0.1), 0.9, "could not be shown"),
        (estimate(-0.2, -0.3, -0.1), 0.001, "no more than luck"),
    ],
)
def test_what_is_left_of_an_upper_bound_is_said_plainly(
    gap: Estimate, p_value: float, says: str
) -> None:
    test = cluster_permutation([1, 0], [0, 0], ["a", "b"])
    rival = Rival("noise", gap, gap, gap, replace(test, p_two_sided=p_value))
    over = OverControls("ffn", rival, p_value, [rival], ["self"])
    sentence = BOUND.say(over)
    assert says in sentence
    assert "Not run, and perhaps stronger: the question\u2019s own layers." in sentence


def test_neighbouring_layers_are_one_range() -> None:
    assert ranges([1, 2, 3, 5, 6, 9]) == ["1 to 3", "5", "6", "9"]


def test_a_paraphrase_is_named() -> None:
    assert formatting.control("paraphrase") == "the question in other words, same language"
