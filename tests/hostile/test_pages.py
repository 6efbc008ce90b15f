"""What models and users wrote is shown as text: in pages, in figures, in tables."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from crosslatent.core.subspace import fit_means
from crosslatent.lens.evaluation.evaluation_record import UNMODIFIED, ConditionResult, Evaluation
from crosslatent.lens.space import Space, SpaceRecord
from crosslatent.report import ReportPaths, drawing
from crosslatent.report.lens import write_evaluation_report, write_probe_report
from crosslatent.report.safe import file_stem, in_csv, in_page, in_script
from crosslatent.stats import Estimate
from support.hostile import BAD, HOST, Page, bad

_ELEMENTS = """
    html head meta title style body main header section nav article figure figcaption div p span
    h1 h2 h3 h4 a ul li dl dt dd table thead tbody tr th td details summary select option label
    input script i em strong mark code bdi pre form button noscript img
    svg g defs path clippath use text rect polygon
"""
ELEMENTS = frozenset(_ELEMENTS.split())
_ATTRIBUTES = """
    class id lang role title style charset name content value type href for min max step
    aria-label aria-hidden aria-live aria-valuetext hidden tabindex data-cell data-layer
    data-component data-answers dir src alt loading autocomplete
    id xmlns xmlns:xlink xlink:href version viewbox d transform clip-path x y width height
"""
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e]")
ADDRESS = re.compile(r"#[\w-]+|(\.\./|pages/|figures/)?[\w%.-]+\.(html|js|png|pdf|svg|csv)")
STYLE = re.compile(r"color:var\(--lang-\d\)|[\w-]+: [\w#.,() -]+(; [\w-]+: [\w#.,() -]+)*;? ?")


def check(page: Path, plain_scripts: int) -> Page:
    """Nothing in a page is anybody's but ours."""
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    assert found.comments == []
    assert found.elements <= ELEMENTS
    assert {name for _, name in found.attributes} <= ATTRIBUTES
    assert all(map(ADDRESS.fullmatch, found.addresses))
    scripts = [script for kind, script in found.scripts if kind is None]
    assert len(scripts) == plain_scripts
    for script in scripts:
        assert "pwned" not in script
    assert not STEERING.search(text)
    return found


def test_the_report_of_a_hostile_run_shows_text(report: ReportPaths) -> None:
    pages = [page for page in report.pages if page.suffix == ".html"]
    assert len(pages) == 5
    check(report.page.parent / "figures" / "index.html", plain_scripts=0)
    # Of a browser of answers, one script is its own and one the data beside it.
    found = [
        check(page, 2 if page.stem.endswith(".answers") else page.stem != "together")
        for page in (report.page, *pages)
    ]
    shown = "".join(text for page in found for text in page.texts)
    assert shown.count("window.pwned=1") > 50, "it is shown, and not left out"
    assert "<img src=http://pwned.invalid/x onerror=window.pwned=1>" in shown
    assert "{{7*7}}" in shown
    styles = re.findall(r' style="([^"]*)"', report.page.read_text(encoding="utf-8"))
    unknown = {style for style in styles if not STYLE.fullmatch(style) and "pwned" not in style}
    assert not unknown
    assert not any("pwned" in style for style in styles)


def texts_in(plain: object) -> Iterator[str]:
    """Every text in a value of JSON, names too."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield name
            yield from texts_in(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from texts_in(value)
    elif isinstance(plain, str):
        yield plain


def test_the_data_of_answers_is_one_value_that_ends_no_script(report: ReportPaths) -> None:
    files = [page for page in report.pages if page.suffix == ".js"]
    assert len(files) == 2
    for file in files:
        text = file.read_text(encoding="utf-8")
        start, _, value = text.partition(" = ")
        assert start == "window.crosslatentAnswers"
        assert not STEERING.search(text)
        assert not re.search("[<\u2028\u2029]", text)
        data = json.loads(value.rstrip().removesuffix(";"))
        assert any("window.pwned=1" in "".join(one["main"]) for one in data["items"]), "it is there"
        # As the page decodes it.
        assert not [one for one in texts_in(data) if STEERING.search(one)]


def test_the_summary_is_json_that_a_terminal_can_show(report: ReportPaths) -> None:
    text = report.summary.read_text(encoding="utf-8")
    assert not STEERING.search(text)
    summary = json.loads(text)
    assert summary["runs"][0]["title"] == bad("title"), "and yet nothing is lost"


def test_figures_are_drawn_without_formulas_or_elements(report: ReportPaths) -> None:
    assert len(report.figures) == len(set(report.figures)) > 20
    for file in report.figures:
        assert file.parent == report.page.parent / "figures"
        assert not file.name.startswith(("-", "."))
        assert len(file.name.encode()) < 150
        if file.suffix == ".svg":
            names = {each.tag.rpartition("}")[2] for each in ET.parse(file).iter()}
            assert not names & {"script", "a", "image", "iframe", "foreignObject"}


def test_tables_neither_compute_nor_run_commands(report: ReportPaths) -> None:
    kinds = {file.suffix for file in report.tables}
    assert kinds == {".csv"}
    tex = [file for file in report.paper if file.suffix == ".tex"]
    assert tex
    for file in (*report.tables, *tex):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".tex":
            assert not re.search(
                r"\\(input|write|frac)(?![a-z])", text.replace("textbackslash", "")
            )
            assert not STEERING.search(text)
            assert text.count(r"\\") == text.count("\\\\\n"), "a row is a line"
        else:
            cells = [cell for line in csv.reader(text.splitlines(keepends=True)) for cell in line]
            assert not any(cell.startswith(("=", "@", "\t", "\r")) for cell in cells)
            assert any(cell.startswith("'=cmd|") for cell in cells)


def test_what_is_harmless_stays_as_it_is() -> None:
    text = "\u0939\u093f\u0928\u094d\u200d\u0926\u0940 \u0627\u0631\u062f\u0648\n\tx\u00a0y"
    assert in_page(text) == text
    assert in_page(3) == 3
    assert in_csv("-5.5") == "-5.5"
    assert in_csv(-5.5) == -5.5
    assert in_csv("en->x") == "en->x"
    assert in_csv("-x") == "'-x"
    assert file_stem("demo-facts") == "demo-facts"
    assert json.loads(in_script({"a": [BAD]})) == {"a": [in_page(BAD)]}
    assert not re.search("[<\u2028\u2029\u202e]", in_script({"a": BAD}))


@pytest.mark.parametrize(
    "name", ["", "..", "/", "---", "\x00", "a/../../b", "CON", "x" * 5000, "é" * 500]
)
def test_names_of_files_lead_nowhere(tmp_path: Path, name: str) -> None:
    stem = file_stem(name)
    (tmp_path / f"{stem}-over-controls.png").touch()
    assert [file.stem for file in tmp_path.iterdir()] == [f"{stem}-over-controls"]
    assert file_stem(name, [stem]) == f"{stem}-2"


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, n=10, clusters=5, seed=0)


def hostile_space() -> Space:
    rng = np.random.default_rng(0)
    langs = ("en", bad("lang"), BAD)
    layers = [fit_means({lang: rng.normal(size=8) for lang in langs}, central="en") for _ in "abc"]
    model = {"name": bad("model"), "identity": {bad("key"): bad("value")}}
    record = SpaceRecord(model=model, versions={bad("x"): bad("y")}, created=bad("z"))
    return Space(tuple(layers[:-1]), layers[-1], record)


def hostile_evaluation() -> Evaluation:
    lang = bad("lang")
    values = {"all": estimate(0.5), "en": estimate(0.9), lang: estimate(0.5)}
    counts = dict.fromkeys(values, 1)
    results = [
        ConditionResult(
            name=name,
            kind="tuned" if changes else "unmodified",
            about=bad("about"),
            accuracy=values,
            change=values if changes else {},
            repaired=counts if changes else {},
            broken=counts if changes else {},
            p_value=dict.fromkeys(values, 0.5) if changes else {},
            fidelity=values,
            fidelity_change=values if changes else {},
            kl=estimate(0.1) if changes else None,
            seconds=1.0,
            notes=[bad("note")],
            settings={bad("key"): bad("value")},
        )
        for name, changes in ((UNMODIFIED, False), (bad("condition"), True))
    ]
    return Evaluation(
        task=bad("task"),
        splits=[bad("split")],
        rule=bad("rule"),
        central="en",
        languages=[lang],
        model={"name": bad("model")},
        conditions=results,
        questions=dict.fromkeys(values, 10),
        central_texts=5,
        seed=0,
        failures={bad("item"): bad("reason")},
        versions={bad("software"): bad("version")},
        created=bad("created"),
        command=[bad("command")],
        notes=[bad("note")],
    )


@pytest.fixture(scope="session")
def lens_pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Pages of Lens, of hostile names."""
    out = tmp_path_factory.mktemp("lens")
    formats, drawing.FORMATS = drawing.FORMATS, ("svg",)
    try:
        write_probe_report(hostile_space(), out / "probe")
        write_evaluation_report(hostile_evaluation(), out / "evaluation")
    finally:
        drawing.FORMATS = formats
    return {
        "probe": out / "probe" / "probe.html",
        "evaluation": out / "evaluation" / "evaluation.html",
    }


def test_pages_of_lens_show_text(lens_pages: Mapping[str, Path]) -> None:
    check(lens_pages["probe"], plain_scripts=1)
    check(lens_pages["evaluation"], plain_scripts=0)
    for file in lens_pages["evaluation"].parent.rglob("*.csv"):
        cells = csv.reader(file.read_text(encoding="utf-8").splitlines(keepends=True))
        assert not any(cell.startswith("=") for line in cells for cell in line)


DRIVER = """
<script>
addEventListener("load", function () { setTimeout(function () {
  document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  document.querySelectorAll("select, input").forEach(function (one) {
    var last = one.options ? one.options.length - 1 : Number(one.max || 0);
    for (var k = 0; k <= last; k++) {
      one.value = String(k);
      one.dispatchEvent(new Event("change"));
      one.dispatchEvent(new Event("input"));
    }
  });
  var cells = document.querySelectorAll("[data-cell]");
  cells.forEach(function (cell) {
    cell.dispatchEvent(new Event("mouseover", { bubbles: true }));
  });
  var shown = document.querySelectorAll("svg").length > 0;
  console.log("driven: " + cells.length + " cells, " + shown);
  console.log("pwned: " + (window.pwned === undefined ? "no" : "YES"));
}, 2000); });
</script>
"""


@pytest.mark.parametrize(
    "name",
    [
        "report",
        "run",
        "answers",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("probe", "evaluation")),
    ],
)
def test_a_browser_finds_nothing_to_run(
    name: str, report: ReportPaths, lens_pages: Mapping[str, Path], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    of_report = {"report": report.page}
    for page in report.pages:
        if page.suffix == ".html" and page.stem != "together":
            of_report["answers" if page.stem.endswith(".answers") else "run"] = page
    source = {**of_report, **lens_pages}[name]
    # Beside its data.
    page = source.with_name("driven.html")
    page.write_text(source.read_text(encoding="utf-8") + DRIVER, encoding="utf-8")
    log = tmp_path / "net.json"
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}"),
            *("--dump-dom", page.as_uri()),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    told = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert any("pwned: no" in line for line in told), told or done.stderr[-2000:]
    said = next((line for line in told if "driven: " in line), "")
    page.unlink()
    assert ("driven: 0 cells, true" in said) == (name not in of_report), told
    assert len(told) == 2, told
    assert f"//{HOST}" not in log.read_text(encoding="utf-8", errors="replace"), (
        "it asks for nothing"
    )
