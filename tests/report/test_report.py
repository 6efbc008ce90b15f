"""The report: complete, self-contained, true to its figures, and safe with any text in a run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from crosslatent.analysis import Headline, declaration
from crosslatent.analysis.data import RunData
from crosslatent.core.errors import RunFolderError
from crosslatent.report import ReportPaths, build, build_report, drawing, formatting, heatmap
from crosslatent.report.examples import ExampleSite, examples
from crosslatent.report.forest import Forest
from crosslatent.report.forest import row as line
from crosslatent.report.verdicts import GAIN
from crosslatent.runs.reader import RunReader
from crosslatent.stats import Estimate
from support import pages
from support.runs import item, row, write_run
from support.simulated import simulate


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportPaths]:
    folder = tmp_path_factory.mktemp("report")
    headline = declaration(Headline(task="world"))
    runs = [
        simulate(folder / "world", layers=3, facts=4, seed=1, headline=headline),
        simulate(folder / "culture", layers=3, facts=4, seed=2, direction="x->en"),
    ]
    return folder, build_report(runs, folder / "out")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Static figures are not saved: that is the matter of `test_everything_is_written`."""
    monkeypatch.setattr(drawing, "FORMATS", ())


class Page(HTMLParser):
    """Addresses that a page fetches, its headings, and tags that were opened and never closed."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get("src") or (values.get("href") if tag == "link" else None)
        if address:
            self.fetched.append(address)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data.strip())


def text_of(paths: ReportPaths) -> str:
    return pages.text_of(paths.page)


def visible(paths: ReportPaths) -> str:
    return pages.visible(paths.page)


def test_everything_is_written(built: tuple[Path, ReportPaths]) -> None:
    folder, paths = built
    out = folder / "out"
    assert sorted(entry.name for entry in out.iterdir()) == [
        ".files-of-report.json",
        "figures",
        "pages",
        "paper",
        "report.html",
        "summary.json",
        "tables",
    ]
    assert {file.name for file in paths.pages} == {
        "together.html",
        *(f"{run}{end}" for run in ("world", "culture") for end in (".html", ".answers.html")),
        *(f"{run}.answers.js" for run in ("world", "culture")),
    }
    index = (out / "figures" / "index.html").read_text(encoding="utf-8")
    drawn = [file for file in paths.figures if file.name != "index.html"]
    assert {file.suffix for file in drawn} == {".png", ".pdf", ".svg", ".csv"}
    stems = {file.stem for file in drawn}
    assert len(stems) * 4 == len(drawn)
    assert all(f'<img src="{stem}.png"' in index for stem in stems)
    assert stems >= {
        "world-accuracy",
        "world-gain-ffn",
        "world-heatmap-attn",
        "culture-controls-ffn",
    }
    assert {file.stem for file in paths.tables} >= {"accuracy", "grid", "bounds", "picked", "cost"}
    assert all(file.stat().st_size > 100 for file in (*paths.figures, *paths.tables))
    assert json.loads(paths.summary.read_text(encoding="utf-8"))["headline"]["task"] == "world"


def test_pages_are_well_formed_and_fetch_nothing_but_the_data_beside_them(
    built: tuple[Path, ReportPaths],
) -> None:
    page = Page(text_of(built[1]))
    assert page.fetched == ["culture.answers.js", "world.answers.js"]
    assert Page(built[1].page.read_text(encoding="utf-8")).fetched == []
    assert page.open == []
    assert "@import" not in text_of(built[1]).split("</style>")[0]
    assert "url(" not in text_of(built[1]).split("</style>")[0]
    assert "plotly" not in text_of(built[1]).lower()


def test_page_tells_the_whole_story_of_each_run(built: tuple[Path, ReportPaths]) -> None:
    headings = Page(text_of(built[1])).headings
    for heading in (
        "What was asked",
        "Beside other ways of answering",
        "What the unmodified model knows",
        "Every pair of layers",
        "The upper bound, and how much of it is luck",
        "Picked on some questions, tested on others",
        "The same pair with other vectors",
        "What is carried",
        "Does the output follow the donor?",
        "Which layers matter",
        "Would other questions say the same?",
        "Does the gain depend on the language?",
        "What it cost",
    ):
        assert headings.count(heading) == 2, heading
    assert headings.count("How to read this") == 2


def test_figures_in_the_text_are_those_of_the_summary(built: tuple[Path, ReportPaths]) -> None:
    headline = json.loads(built[1].summary.read_text(encoding="utf-8"))["headline"]
    shown = visible(built[1])
    assert f"<span>{formatting.points(headline['gain']['value'])}</span>" in shown
    repaired = formatting.count(headline["repaired"], "answer")
    assert f"{repaired} repaired, {headline['broken']} broken" in shown
    assert f"block {headline['source']} carried to block {headline['target']}" in shown
    assert formatting.percent(headline["vanilla"]["value"]) in shown


def test_heat_maps_carry_the_grids_of_one_split_each_the_test_split_first(
    built: tuple[Path, ReportPaths],
) -> None:
    text = (built[1].page.parent / "pages" / "world.html").read_text(encoding="utf-8")
    maps = re.findall(r'class="map-data">(.*?)</script>', text, flags=re.DOTALL)
    assert len(maps) == 2, "two components"
    payload = json.loads(maps[1])
    run = json.loads(built[1].summary.read_text(encoding="utf-8"))["runs"][0]
    grids = {(g["split"], g["lang"]): g for g in run["grids"] if g["component"] == "ffn"}
    shown = re.findall(r"<option value=\"\d+\">(.*?)</option>", text)
    shown = shown[: len(payload["views"])]
    assert shown[0] == "All languages, final questions"
    assert shown[-2:] == ["All languages, pilot questions", "All languages, unseen questions"]
    assert not any("all questions" in title for title in shown)
    assert len(shown) == 1 + len(run["coverage"]["languages"]) + 2
    first = grids["final", "all"]["gain"]
    assert payload["views"][0]["z"] == [[round(100 * cell, 2) for cell in line] for line in first]
    assert payload["diverging"], "the colour scale is centred on the unmodified accuracy"
    assert len(re.findall(r'data-cell="\d-\d"', text)) == 2 * 9
    assert text.count('data-answers="world.answers.html"') == 2
    assert "source 0 → target 0" in payload["views"][0]["hover"][0][0]


def test_examples_mark_the_touched_token_and_say_the_options_words(
    built: tuple[Path, ReportPaths],
) -> None:
    shown = visible(built[1])
    marks = re.findall(r"<mark[^>]*>(.*?)</mark>", shown)
    assert marks
    assert set(marks) == {":"}
    assert re.search(
        r"\(\d\)</bdi> <bdi lang=\"\w+\">(Asia|Ulaya|Europa|Eropa|एशिया|Afrika)", shown
    )
    assert 'lang="hi"' in shown


def test_examples_go_through_languages_and_kinds_of_questions(tmp_path: Path) -> None:
    kinds = {"a": ("sw", "x"), "b": ("sw", "y"), "c": ("hi", "x"), "d": ("hi", "y")}
    items = [
        item(name, lang=lang, strata={"relation": kind}) for name, (lang, kind) in kinds.items()
    ]
    rows = [one for name in kinds for one in (row(name, "vanilla", False), row(name))]
    data = RunData(RunReader(write_run(tmp_path / "run", items, rows)))
    shown = examples(data, ExampleSite("ffn", (0, 0), "pilot", picked=True))
    assert [example.main.head for example in shown[:2]] == ["Swali a", "Swali d"]
    assert {example.outcome for example in shown} == {"repaired"}
    assert shown[0].before.label == "la"
    assert shown[0].after.label == "ndiyo"


def test_latex_tables_hold_no_characters_that_pdflatex_refuses(
    built: tuple[Path, ReportPaths],
) -> None:
    paper = {file.name: file for file in built[1].paper}
    assert {"heatmap.pdf", "luck.pdf", "compared.pdf"} <= set(paper)
    tables = [file for file in built[1].paper if file.suffix == ".tex"]
    assert {file.stem for file in tables} == {"results", "bounds", "ways"}
    for file in tables:
        text = file.read_text(encoding="utf-8")
        assert text.isascii(), file.name
        assert rf"\label{{tab:{file.stem}}}" in text
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
        assert r"\caption{" in text
        assert "0.000000" not in text
    results = paper["results.tex"].read_text(encoding="utf-8")
    gain = built_gain(built[1])
    assert f"{abs(100 * gain):.1f} (" in results


def built_gain(paths: ReportPaths) -> float:
    headline = json.loads(paths.summary.read_text(encoding="utf-8"))["headline"]
    return float(headline["gain"]["value"])


@pytest.mark.usefixtures("quick")
def test_rebuilding_gives_the_same_page_and_spares_other_files(
    built: tuple[Path, ReportPaths],
) -> None:
    folder, paths = built
    before = text_of(paths)
    mine = [folder / "out" / "notes.txt", folder / "out" / "figures" / "mine.png"]
    for file in mine:
        file.write_text("mine", encoding="utf-8")
    again = build_report([folder / "world", folder / "culture"], folder / "out")
    assert text_of(again) == before
    for file in mine:
        assert file.read_text(encoding="utf-8") == "mine"
        file.unlink()


@pytest.mark.usefixtures("quick")
def test_what_an_earlier_report_wrote_is_gone_but_no_other_file(tmp_path: Path) -> None:
    rows = [row("a", "vanilla"), row("a"), row("a", "noise", False)]
    first = write_run(tmp_path / "one", [item("a")], rows, task={"name": "before"})
    out = build_report([first], tmp_path / "out").page.parent
    mine = out / "pages" / "mine.html"
    mine.write_text("mine", encoding="utf-8")
    outside = tmp_path / "outside.txt"
    outside.write_text("mine", encoding="utf-8")
    listed = json.loads((out / ".files-of-report.json").read_text(encoding="utf-8"))
    (out / ".files-of-report.json").write_text(json.dumps([*listed, "../outside.txt"]))
    assert (out / "pages" / "before.answers.js").exists()
    later = [row("a", "vanilla", None), row("a", correct=None)]
    second = write_run(tmp_path / "two", [item("a", answer=None)], later, task={"name": "after"})
    build_report([second], out)
    assert sorted(page.name for page in (out / "pages").iterdir()) == [
        "after.answers.html",
        "after.answers.js",
        "after.html",
        "mine.html",
    ]
    assert not list((out / "paper").glob("*.tex"))
    assert outside.exists()


@pytest.mark.usefixtures("quick")
def test_luck_compares_the_same_questions(tmp_path: Path) -> None:
    names = [f"q{k}" for k in range(20)]
    rows = [row(name, "vanilla", k < 6) for k, name in enumerate(names)]
    rows += [row(name, correct=k < 10) for k, name in enumerate(names)]
    noise = [row(name, "noise", k < 8) for k, name in enumerate(names)]
    values = {}
    for asked in (20, 15):
        run = write_run(tmp_path / str(asked), map(item, names), rows + noise[:asked])
        out = build_report([run], tmp_path / f"out{asked}")
        (file,) = (one for one in out.figures if one.name.endswith("luck.csv"))
        lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
        values[asked] = {name: float(value) for _, name, value in lines}
    assert values[20] == {"unmodified": 0.3, "noise": 0.4, "true": 0.5}
    # Without noise rows of some questions, these are in no part of the bar.
    assert values[15] == pytest.approx({"noise": 8 / 15, "true": 10 / 15})


@pytest.mark.usefixtures("quick")
def test_an_answer_to_the_counterpart_has_the_text_of_its_own_options(tmp_path: Path) -> None:
    items = [item("a", aux_labels=["no", "yes"], aux_answer="(2)")]
    rows = [row("a", "vanilla"), row("a"), row("a", "translate_test", output="(2)")]
    rows[-1]["prediction"] = "(2)"
    out = build_report([write_run(tmp_path / "run", items, rows)], tmp_path / "out")
    (file,) = (page for page in out.pages if page.suffix == ".js")
    data = json.loads(file.read_text(encoding="utf-8").partition(" = ")[2].rstrip(";\n"))
    (one,) = data["items"]
    assert one["answers"][one["vanilla"]] == ["(1)", "ndiyo", 1]
    assert one["answers"][one["translate_test"]] == ["(2)", "yes", 1]


@pytest.mark.usefixtures("quick")
def test_no_page_is_another_run_s(tmp_path: Path) -> None:
    rows = [row("a", "vanilla"), row("a")]
    names = ["facts", "facts-answers", "together", "facts.answers"]
    runs = [
        write_run(tmp_path / str(k), [item("a", main=f"{name}:")], rows, task={"name": name})
        for k, name in enumerate(names)
    ]
    paths = build_report(runs, tmp_path / "out")
    answers = [page for page in paths.pages if page.name.endswith(".answers.js")]
    assert len(answers) == len(names)
    texts = [page.read_text(encoding="utf-8") for page in answers]
    assert all(sum(f'"{name}"' in text for text in texts) == 1 for name in names)


@pytest.mark.usefixtures("quick")
def test_the_card_is_of_the_run_that_declares_whatever_its_folder_is_called(
    tmp_path: Path,
) -> None:
    names = [f"{split}{k}" for split in ("pilot", "final") for k in range(12)]
    items = [item(name, split=name.rstrip("0123456789")) for name in names]
    runs = []
    for place, repaired in enumerate((0, 6)):
        rows = [row(name, "vanilla", False) for name in names]
        rows += [row(name, correct=k % 12 < repaired) for k, name in enumerate(names)]
        headline = {"headline": declaration(Headline())} if place else {}
        task = {"name": f"task{place}", "title": f"Title {place}"}
        runs.append(write_run(tmp_path / str(place) / "run", items, rows, task=task, **headline))
    front = build_report(runs, tmp_path / "out").page.read_text(encoding="utf-8")
    assert "6 answers repaired, 0 broken" in front
    assert "<bdi>Title 1</bdi>: " in front
    assert 'href="pages/task1.html"' in front.partition('<section class="headline"')[0]


@pytest.mark.usefixtures("quick")
def test_a_failure_leaves_the_report_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", [item("a")], [row("a", "vanilla"), row("a")])
    paths = build_report([run], tmp_path / "out")
    before = text_of(paths)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_tables", fail)
    with pytest.raises(OSError, match="No space left"):
        build_report([run], tmp_path / "out")
    assert text_of(paths) == before
    assert not list((tmp_path / "out").glob(".report-*"))


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [item("a")], [row("a", "vanilla"), row("a")])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="Cannot write the report"):
        build_report([run], tmp_path / "file" / "out")


@pytest.mark.usefixtures("quick")
def test_text_of_a_run_cannot_break_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!-- <b>&amp;"
    items = [
        item("a", main=f"{evil}:", aux=evil, labels=[evil, "x"], lang="sw"),
        item("b", lang=evil, split="final"),
    ]
    rows = [
        row("a", "vanilla", False, output=evil, lang="sw"),
        row("a", output=evil),
        row("b", "vanilla", False),
        row("b"),
    ]
    task = {"name": "../evil", "title": evil, "direction": evil}
    run = write_run(tmp_path / "run", items, rows, task=task)
    paths = build_report([run], tmp_path / "out")
    page = Page(text_of(paths))
    assert page.open == []
    assert "alert(1)</script>" not in text_of(paths)
    assert all(file.parent == tmp_path / "out" / "figures" for file in paths.figures)


def test_a_long_name_of_a_task_mixes_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "FORMATS", ("svg",))
    rows = [row("a", "vanilla"), row("a")]
    names = [
        {
            file.name.lstrip("x")
            for file in build_report(
                [write_run(tmp_path / name[:9], [item("a")], rows, task={"name": name})],
                tmp_path / f"out-{name[:9]}",
            ).figures
        }
        for name in ("x", "x" * 300)
    ]
    assert names[0] == names[1]
    assert len(names[0]) > 4


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gold", [None, "(1)"])
def test_a_bare_run_still_makes_a_report(tmp_path: Path, gold: str | None) -> None:
    correct = None if gold is None else True
    items = [item("a", answer=gold, split=None, options=None, labels=None)]
    rows = [row("a", "vanilla", correct), row("a", correct=correct, output="other")]
    paths = build_report([write_run(tmp_path / "run", items, rows)], tmp_path / "out")
    shown = visible(paths)
    assert "Every pair of layers" in shown
    assert "What was asked" in shown
    assert "Before and after" in shown
    assert ("No accuracy: no question has a gold answer" in shown) == (gold is None)
    assert "the best pair in hindsight" in shown


def test_a_run_of_the_unmodified_model_alone_needs_no_plots(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [item("a")], [row("a", "vanilla")])
    paths = build_report([run], tmp_path / "out")
    assert "map-data" not in visible(paths)
    assert "<script" not in paths.page.read_text(encoding="utf-8")
    assert "No transplants: the run holds no rows of any component." in visible(paths)


@pytest.mark.usefixtures("quick")
def test_a_loss_is_printed_as_plainly_as_a_gain(tmp_path: Path) -> None:
    names = [f"{split}{k}" for split in ("pilot", "final") for k in range(12)]
    items = [item(name, split=name.rstrip("0123456789")) for name in names]
    rows = [row(name, "vanilla", True) for name in names]
    rows += [row(name, correct=k % 3 == 0) for k, name in enumerate(names)]
    run = write_run(tmp_path / "run", items, rows, headline=declaration(Headline()))
    shown = visible(build_report([run], tmp_path / "out"))
    assert "A loss of \u221266.7 points" in shown
    assert "0 answers repaired, 8 broken" in shown
    assert "Not every condition declared beforehand holds." in shown


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, ["The marked token is the only one touched"]),
        (
            {"positions": 3, "strength": 0.5},
            ["at strength 0.5", "The marked token is the last of 3 touched"],
        ),
    ],
)
def test_what_transplants_touch_is_said(
    tmp_path: Path, spec: dict[str, Any], says: list[str]
) -> None:
    rows = [row("a", "vanilla", True), row("a", correct=False)]
    run = write_run(tmp_path / "run", [item("a")], rows, spec={"seed": 0, **spec})
    shown = visible(build_report([run], tmp_path / "out"))
    assert all(text in shown for text in says)


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, n=10, clusters=5, seed=0)


@pytest.mark.parametrize(
    ("gain", "start"),
    [
        (estimate(0.25, 0.13, 0.37), "a gain of +25.0 points"),
        (estimate(-0.25, -0.37, -0.13), "a loss of \u221225.0 points"),
        (estimate(0.04, -0.03, 0.11), "no gain could be shown: +4.0 points"),
        (estimate(0.25), "no gain could be shown: +25.0 points (no variation)"),
        (replace(estimate(1.0), clusters=6), "a gain of +100.0 points (no variation)"),
        (estimate(None), "the gain could not be measured"),
    ],
)
def test_verdict_follows_from_the_interval(gain: Estimate, start: str) -> None:
    assert GAIN.say(gain).startswith(start)


def test_numbers_in_words() -> None:
    assert formatting.points(-0.0001) == "0.0"
    assert formatting.percent(None) == "\u2013"
    assert formatting.interval(estimate(1.0), difference=False) == "no variation"
    assert (
        formatting.interval(replace(estimate(1.0), clusters=1), difference=False) == "no interval"
    )
    assert formatting.listing(["a", "b", "c"]) == "a, b and c"
    assert formatting.listing([]) == ""
    assert formatting.p_value(0.0004) == "< 0.001"


def test_forest_scale_holds_every_mark_and_zero() -> None:
    rows = tuple(line(str(v), "true", estimate(v, v - 0.1, v + 0.1)) for v in (-0.42, 0.05, 0.31))
    forest = Forest(rows, difference=True, caption="")
    low, high = forest.limits
    assert low < -0.52
    assert high > 0.41
    assert any(abs(value) < 1e-9 for value, _ in forest.ticks)
    assert Forest((), difference=True, caption="").limits[0] < 0


def test_heatmap_is_a_figure_of_gains_in_points(tmp_path: Path) -> None:
    rows = [
        row("a", "vanilla", False),
        row("b", "vanilla", False),
        row("a", source=1, target=0),
        row("b", correct=False, source=1, target=0),
        row("b", correct=False, source=0, target=0),
    ]
    items = [item("a", lang="sw"), item("b", lang="hi")]
    reader = RunReader(write_run(tmp_path / "run", items, rows))
    figure = heatmap(reader, "ffn", mark=(1, 0))
    assert list(figure.data[0].z) == [[0.0, None], [50.0, None]]
    assert figure.layout.shapes[0].y0 == 0.5
    assert list(heatmap(reader, "ffn", lang="sw").data[0].z) == [[None, None], [100.0, None]]


def test_pdf_figures_of_users_hold_true_type_fonts(monkeypatch, tmp_path):
    style = drawing._style.__wrapped__()
    assert style["pdf.fonttype"] == 42
    monkeypatch.setattr(drawing, "_style", lambda: style)
    with drawing.styled():
        figure = Figure()
        figure.add_subplot().set_title("Habari")
        drawing.save(figure, tmp_path / "one")
    assert b"/FontFile2" in (tmp_path / "one.pdf").read_bytes()
