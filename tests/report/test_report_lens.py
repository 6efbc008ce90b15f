"""Reports of Lens: what pages, figures and tables say is what the numbers say, and no more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import FINAL
from crosslatent.core.subspace import fit_means
from crosslatent.lens.evaluation.evaluation_record import ALL, ConditionResult, Evaluation
from crosslatent.lens.space import LayerSeparability, Points, Space, SpaceRecord
from crosslatent.lens.training.record import CurvePoint, TrainRecord
from crosslatent.report import drawing
from crosslatent.report.lens import (
    evaluation,
    evaluation_words,
    layer_figures,
    marks,
    probe_figures,
    probe_words,
    training,
    views,
    write_evaluation_report,
    write_probe_report,
    write_training_figures,
)
from crosslatent.report.safe import in_script
from crosslatent.stats import Estimate

LANGS = ("en", "sw", "zh", "bn")
HOSTILE = (
    "en",
    "<script>alert(1)</script>",
    "$\\frac{$ & 50%_",
    "\u0639\u0631\u0628\u064a",
    "x\ny",
)


@pytest.fixture(autouse=True)
def one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "FORMATS", ("png",))


@pytest.fixture
def page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No files of figures: saving them takes a second."""
    monkeypatch.setattr(drawing, "FORMATS", ())


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, n=40, clusters=20, seed=0)


def space_of(
    languages: tuple[str, ...] = LANGS,
    blocks: int = 3,
    *,
    rank: int | None = None,
    texts: int = 5,
    offset: float = 30.0,
    width: int = 16,
    linear: Estimate | None = None,
    **record: Any,
) -> Space:
    """Means far from the origin, so that the first specific component is not the main axis."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=width) * offset
    found, coordinates = [], []
    for _ in range(blocks + 1):
        means = {lang: base + rng.normal(size=width) for lang in languages}
        subspace = fit_means(means, central=languages[0], rank=rank)
        found.append(subspace)
        states = [means[lang] + 0.3 * rng.normal(size=width) for lang in languages * (texts or 1)]
        coordinates.append(subspace.coordinates(np.stack(states)))
    layers = (*range(blocks), FINAL)
    filled: dict[str, Any] = {
        "model": {"name": "tiny"},
        "texts": dict.fromkeys(languages, 20),
        "held_out": dict.fromkeys(languages, texts),
        "between": [0.1 * (place + 1) for place in range(blocks)] + [0.05],
        "separability": [
            LayerSeparability(layer, estimate(0.5 + 0.1 * place, 0.4, 0.9), estimate(0.6, 0.5, 0.7),
                              1 / len(languages), texts * len(languages), linear)
            for place, layer in enumerate(layers)
        ],
        "seed": 7,
    }  # fmt: skip
    points = Points(languages * (texts or 1), np.stack(coordinates, axis=1).astype(np.float32))
    return Space(
        tuple(found[:-1]), found[-1], SpaceRecord(**{**filled, **record}), points if texts else None
    )


def visible(page: Path) -> str:
    """The page without its scripts and styles."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def layers_of(page: Path) -> list[str]:
    """What the page shows of each layer, one at a time."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r'<div class="layer"[^>]*>(.*?)</figure>\s*</div>', text, flags=re.DOTALL)


def lengths(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


# What figures show


def test_axes_are_those_on_which_the_means_differ_most() -> None:
    space = space_of()
    for view, subspace in zip(views.layer_views(space), space.subspaces, strict=True):
        centred = subspace.means - subspace.means.mean(axis=0)
        main = np.linalg.svd(centred, full_matrices=False)[2][:2]
        np.testing.assert_allclose(np.abs(view.means), np.abs(centred @ main.T), atol=1e-9)
        np.testing.assert_allclose(view.shares, subspace.explained[:2])


def test_texts_are_turned_as_the_means_are() -> None:
    space = space_of(("en", "sw", "zh"))  # two axes hold everything
    assert space.points is not None
    for place, view in enumerate(views.layer_views(space)):
        assert view.texts is not None
        subspace = space.subspaces[place]
        raw = np.concatenate(
            [
                subspace.coordinates(subspace.means),
                space.points.values[views.drawn_texts(space), place],  # noqa: PD011
            ]
        )
        shown = np.concatenate([view.means, view.texts])
        np.testing.assert_allclose(lengths(shown), lengths(raw), atol=1e-4)
        np.testing.assert_allclose(view.means.mean(axis=0), 0, atol=1e-9)


def test_axes_do_not_flip_from_layer_to_layer() -> None:
    shown = views.layer_views(space_of(blocks=6))
    for before, after in pairwise(shown):
        assert ((before.means * after.means).sum(axis=0) >= 0).all()


def test_texts_with_too_few_coordinates_are_shown_on_the_best_of_those() -> None:
    space = space_of(("en", "sw", "zh", "bn", "fr"))
    assert space.points is not None
    kept = space.points.values[:, :, :3]  # noqa: PD011
    short = replace(space, points=Points(space.points.langs, kept))
    for view, subspace in zip(views.layer_views(short), space.subspaces, strict=True):
        spread = subspace.coordinates(subspace.means).var(axis=0)[:3]
        total = (subspace.singular_values**2).sum() / 5
        np.testing.assert_allclose(view.shares, np.sort(spread)[:0:-1] / total)
        assert view.texts is not None
        assert view.texts.shape == (25, 2)


@pytest.mark.usefixtures("page_alone")
def test_many_held_out_texts_are_not_all_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    space = space_of(("en", "sw", "zh"), blocks=1, texts=views.DRAWN_TEXTS + 3)
    write_probe_report(space, tmp_path)
    plane = layers_of(tmp_path / "probe.html")[0].split("</svg>")[0]
    assert plane.count("<use") == 3 * views.DRAWN_TEXTS + 3, "texts, and the means"
    assert "leave out 9 texts" in visible(tmp_path / "probe.html")


def test_texts_far_out_do_not_push_the_means_onto_one_spot() -> None:
    view = views.layer_views(space_of())[0]
    assert view.texts is not None
    assert views.outside(view) == 0
    far = replace(view, texts=view.texts * 1000)
    _, side = views.square(far)
    extent = (view.means.max(axis=0) - view.means.min(axis=0)).max()
    assert side < 3 * extent
    assert views.outside(far) > 0
    assert any("outside the picture" in fact for fact in probe_words.of_layer(far))


def test_labels_stand_apart() -> None:
    points = np.array([[0.5, 0.5], [0.53, 0.5], [0.5, 0.53], [0.98, 0.1]])
    labels = ["en", "sw", "zh", "a long name"]
    places = marks.label_places(points, labels, letter=(0.016, 0.04), mark=0.02)
    assert len(set(places[:3])) == 3
    assert "left" in marks.PLACES[places[3]], "there is no room at the right"
    assert marks.label_places(points[:1], ["en"], letter=(0.016, 0.04), mark=0.02) == [0]


def test_twenty_languages_look_different() -> None:
    looks = marks.marks([f"l{k}" for k in range(20)], "l0")
    assert len({(look.colour, look.symbol) for look in looks}) == 20
    assert [look.lang for look in looks if look.central] == ["l0"]


def test_layers_of_a_deep_model_fit_on_an_axis() -> None:
    layers = (*range(80), FINAL)
    places, ticks = drawing.layer_places(layers), drawing.layer_ticks(layers)
    assert places[-1] - places[-2] > 1.2, "the final norm stands apart"
    assert len(ticks) <= 10
    assert ticks[0][1] == "0"
    assert ticks[-1][1] == "final"
    gaps = np.diff([place for place, _ in ticks])
    assert gaps.min() > 0.05 * places[-1]


def test_small_multiples_take_first_and_last_layer() -> None:
    layers = (*range(80), FINAL)
    shown = views.some_layers(layers, 9)
    assert len(shown) == 9
    assert (shown[0], shown[-2], shown[-1]) == (0, 79, 80)
    assert views.some_layers((0, 1, FINAL), 9) == [0, 1, 2]


def test_static_small_multiples_say_which_layers() -> None:
    space = space_of(blocks=30, texts=2)
    with drawing.styled():
        figure = probe_figures.languages(space, views.layer_views(space))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert len(titles) == 9
    assert titles[0] == "block 0"
    assert titles[-1] == "final norm"
    assert "9 of 31 layers" in figure.get_suptitle()


def test_angle_scale_has_its_middle_where_languages_are_equally_far_apart() -> None:
    assert views.even_angle(3) == pytest.approx(120)
    scale = [(0.0, "orange"), (0.25, "o"), (0.5, "page"), (0.75, "b"), (1.0, "blue")]
    stops = probe_figures.angle_scale(3, scale)
    assert stops[2] == (pytest.approx(120 / 180), "page")
    assert stops[0] == (0.0, "blue")


# What sentences say


def test_opening_names_the_layers_and_the_numbers() -> None:
    space = space_of(cut={"sw": 3, "en": 0}, empty={"zh": 1}, max_tokens=64)
    first, second, texts, rest = probe_words.summary(space, views.layer_views(space))
    assert "most after block 2: 30.0\u202f%" in first
    assert "least after the final norm, with 5.0\u202f%" in first
    assert "after the final norm: 80.0\u202f%" in second
    assert "guessing gives 25.0\u202f%" in second
    assert "best of 4 layers" in second
    assert "every layer" in second
    assert "80 texts in 4 languages (20 a language; 5 were held out)" in texts
    assert "Seed of the split: 7." in texts
    assert "Longer than 64 tokens and cut there: 3 texts in Swahili." in rest
    assert "left out: 1 text in Chinese" in rest


def separable(low: float | None, value: float = 0.6) -> list[LayerSeparability]:
    one = estimate(value, low, None if low is None else 0.9)
    return [LayerSeparability(layer, one, one, 0.5, 40) for layer in (0, FINAL)]


def test_an_interval_that_holds_chance_is_not_called_better_than_guessing() -> None:
    space = space_of(("en", "sw"), blocks=1, separability=separable(0.45))
    said = probe_words.summary(space, views.layer_views(space))[1]
    assert "In no layer could it be shown" in said
    space = space_of(("en", "sw"), blocks=1, separability=separable(0.55))
    said = probe_words.summary(space, views.layer_views(space))[1]
    assert "better than guessing in every layer" in said


def test_the_learned_rule_comes_first_and_the_nearest_mean_beside_it(tmp_path: Path) -> None:
    space = space_of(linear=estimate(0.95, 0.9, 1.0))
    opening = " ".join(probe_words.summary(space, views.layer_views(space)))
    assert "A linear rule that is learned from other texts" in opening
    assert "95.0" in opening
    assert "The nearest mean alone gets" in opening
    assert list(layer_figures.kinds(views.layer_views(space))) == ["linear", "full", "specific"]
    write_probe_report(space, tmp_path)
    assert "The learned rule (blue)" in visible(tmp_path / "probe.html")
    table = (tmp_path / "tables" / "layers.csv").read_text(encoding="utf-8")
    assert "separability_linear" in table.splitlines()[0]


def test_without_variation_the_texts_are_counted() -> None:
    space = space_of(("en", "sw"), blocks=1, separability=separable(None, 1.0))
    said = probe_words.summary(space, views.layer_views(space))[1]
    assert "after block 0 and in 1 other layer as well: every one of 40 texts" in said
    assert "luck" not in said


def test_equal_rules_are_one_line_and_different_ones_two() -> None:
    same = views.layer_views(space_of(("en", "sw"), blocks=1, separability=separable(0.5)))
    assert layer_figures.kinds(same) == {"full": "nearest mean"}
    both = views.layer_views(space_of())
    assert list(layer_figures.kinds(both)) == ["full", "specific"]
    none = views.layer_views(space_of(separability=[]))
    assert layer_figures.kinds(none) == {}


# The probe's page


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probe")
    (out / "space.json").write_text("kept", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "FORMATS", ("png",))
        files = write_probe_report(space_of(), out)
    assert all(file.is_file() for file in files)
    assert files[-1] == out / "probe.html"
    return out


def test_probe_writes_page_figures_and_tables(probed: Path) -> None:
    figures = {"languages", "singular-values", "explained", "between", "separability", "angles"}
    found = {file.name for file in (probed / "figures").iterdir()}
    assert found == {f"{name}.png" for name in figures}
    assert (probed / "space.json").read_text(encoding="utf-8") == "kept"
    assert not [file for file in probed.iterdir() if file.name.startswith(".")]


def test_probe_page_stands_alone(probed: Path) -> None:
    text = (probed / "probe.html").read_text(encoding="utf-8")
    assert not re.search(r'<(script|link|img)[^>]+(src|href)\s*=\s*"', text)
    assert 'name="color-scheme" content="light dark"' in text


def test_every_layer_has_its_figures_and_its_line(probed: Path) -> None:
    text = (probed / "probe.html").read_text(encoding="utf-8")
    names = json.loads(re.search(r'id="layers-data">(.*?)</script>', text)[1])
    assert [layer["name"] for layer in names] == ["block 0", "block 1", "block 2", "final norm"]
    shown = layers_of(probed / "probe.html")
    assert [part.count("<svg") for part in shown] == [2] * 4
    assert [text.count(f'data-layer="{layer}"') for layer in range(4)] == [4] * 4
    assert len(re.findall(r'<div class="layer" hidden>', text)) == 3
    assert "plotly" not in text.lower()


def test_colours_of_figures_are_variables_of_the_page(probed: Path) -> None:
    text = (probed / "probe.html").read_text(encoding="utf-8")
    wanted = set(re.findall(r"var\((--[\w-]+)\)", "".join(layers_of(probed / "probe.html"))))
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert style is not None
    assert {"--ink", "--lang-0", "--lang-3"} <= wanted
    assert {name for name in wanted if f"{name}:" not in style[1]} == set()


def test_page_opens_where_languages_differ_most(probed: Path) -> None:
    assert re.search(r'id="layer" [^>]* value="2"', (probed / "probe.html").read_text("utf-8"))


def test_angles_and_means_in_figures_are_those_of_the_space(probed: Path) -> None:
    space = space_of()
    drawn = re.findall(r">(\d+)</text>", layers_of(probed / "probe.html")[1])
    cells = [f"{cell:.0f}" for k, line in enumerate(space.at(1).angles())
             for other, cell in enumerate(line) if k != other]  # fmt: skip
    assert drawn[: len(cells)] == cells
    with drawing.styled():
        figure = probe_figures.languages(space, views.layer_views(space))
    marked = [line.get_xydata()[0] for line in figure.axes[1].lines if line.get_markersize() == 7]
    np.testing.assert_allclose(marked, views.layer_views(space)[1].means)


def test_labels_are_where_they_hide_least() -> None:
    looks = marks.marks(LANGS, "en")
    places = [
        probe_figures.label_places(view, [look.label for look in looks], large=True)
        for view in views.layer_views(space_of())
    ]
    assert len({place for line in places for place in line}) > 1
    shown = views.layer_views(space_of())
    with drawing.styled():
        figure = probe_figures.languages(space_of(), shown)
    labels = [[look.lang for look in looks]] * len(shown)
    small = [
        probe_figures.label_places(*one, large=False) for one in zip(shown, labels, strict=True)
    ]
    aside = {"left": "right", "center": "center", "right": "left"}
    for axes, spots in zip(figure.axes, small, strict=True):
        drawn = [text.get_ha() for text in axes.texts]
        assert drawn == [aside[spot.split()[1]] for spot in spots]


def test_tables_have_a_row_for_every_layer_and_pair(probed: Path) -> None:
    layers = pd.read_csv(probed / "tables" / "layers.csv")
    assert list(layers["layer"]) == ["0", "1", "2", FINAL]
    np.testing.assert_allclose(layers["singular_value_1"][1], space_of().at(1).singular_values[0])
    np.testing.assert_allclose(layers.filter(like="explained").sum(axis=1), 1)
    assert layers["separability_full_low"][0] == 0.4
    angles = pd.read_csv(probed / "tables" / "angles.csv")
    assert len(angles) == 4 * 6
    row = angles[(angles.layer == FINAL) & (angles.lang == "sw") & (angles.other == "bn")]
    assert row.degrees.item() == pytest.approx(space_of().final.angles()[1, 3])


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    drawing.FORMATS = ("png", "pdf", "svg")
    space = space_of(("en", "sw"), blocks=1)
    with drawing.styled():
        for name in ("a", "b"):
            drawing.save(layer_figures.between(space, views.layer_views(space)), tmp_path / name)
    for kind in drawing.FORMATS:
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.slow
def test_the_same_space_gives_the_same_bytes(tmp_path: Path) -> None:
    drawing.FORMATS = ("png", "pdf", "svg")
    space = space_of(("en", "sw", "zh"), blocks=1, separability=[], texts=1)
    first = write_probe_report(space, tmp_path / "a")
    write_probe_report(space, tmp_path / "b")
    for file in first:
        again = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == again.read_bytes(), file.name


def test_two_languages_are_shown_on_one_axis(tmp_path: Path) -> None:
    write_probe_report(space_of(("en", "sw")), tmp_path)
    assert [part.count("<svg") for part in layers_of(tmp_path / "probe.html")] == [1] * 4
    assert not (tmp_path / "figures" / "angles.png").exists()
    heights = probe_figures.jitter(1000)
    assert np.abs(heights).max() < 0.5, "texts stay in their language's row"
    assert "only axis" in visible(tmp_path / "probe.html")


@pytest.mark.usefixtures("page_alone")
def test_rank_one_of_many_languages_keeps_the_angles(tmp_path: Path) -> None:
    write_probe_report(space_of(rank=1), tmp_path)
    drawn = layers_of(tmp_path / "probe.html")[0]
    assert set(re.findall(r">(\d+)</text>", drawn.split("<svg")[2])) == {
        "0",
        "180",
        "45",
        "90",
        "135",
    }
    assert "1 of 3" in visible(tmp_path / "probe.html")


def test_what_was_not_measured_is_said_and_not_drawn(tmp_path: Path) -> None:
    space = space_of(texts=0, separability=[], between=[None] * 4, held_out={})
    write_probe_report(space, tmp_path)
    assert not (tmp_path / "figures" / "separability.png").exists()
    assert not (tmp_path / "figures" / "between.png").exists()
    text = visible(tmp_path / "probe.html")
    assert "was not measured: no texts were held out" in text
    assert "means alone" in text
    assert "classified by a learned rule:" not in text


def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    drawing.FORMATS = ("svg",)
    write_probe_report(space_of(HOSTILE, blocks=1, model={"name": "<b>m</b>"}), tmp_path)
    text = (tmp_path / "probe.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>m</b>" not in text
    assert "&lt;script&gt;alert(1)" in visible(tmp_path / "probe.html")
    assert "\u2068\u0639\u0631\u0628\u064a\u2069" in text, "a right-to-left name stays inside"
    drawn = (tmp_path / "figures" / "languages.svg").read_text(encoding="utf-8")
    assert "&lt;script" in drawn
    assert "$\\frac{" in drawn, "no formula"


def test_json_in_a_page_cannot_end_its_element() -> None:
    plain = {"name": "</script><script>alert(1)</script>"}
    assert "<" not in in_script(plain)
    assert json.loads(in_script(plain)) == plain


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="Cannot write the report"):
        write_probe_report(space_of(blocks=1), blocked)


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "probe.html").write_text("old", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_figures, "languages", None)
        with pytest.raises(TypeError):
            write_probe_report(space_of(blocks=1), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["probe.html"]
    assert (tmp_path / "probe.html").read_text(encoding="utf-8") == "old"


# Training


def record_of(
    steps: int = 4, *, held_out: bool = True, fall: float = 100.0, **changes: Any
) -> TrainRecord:
    curve = []
    for step in range(1, steps + 1):
        align, retain = fall ** (-(step - 1) / (steps - 1)), 0.5
        terms = {"align": align, "retain": retain}
        curve.append(CurvePoint(step, step / steps, "train", 1e-5, align + retain, terms))
        if held_out and step % 2 == 0:
            curve.append(CurvePoint(step, step / steps, "held_out", None, align + retain, terms))
    filled: dict[str, Any] = {"steps": steps, "best_step": 4 if held_out else None, "curve": curve}
    return TrainRecord("lens", {}, {}, ["sw"], "en", [2, 3], **{**filled, **changes})


def test_curve_has_every_point_and_term(tmp_path: Path) -> None:
    drawing.FORMATS = ("png", "pdf", "svg")
    files = write_training_figures(record_of(), tmp_path)
    assert {file.name for file in files} == {"curve.csv", "curve.png", "curve.pdf", "curve.svg"}
    table = pd.read_csv(tmp_path / "curve.csv")
    assert list(table.columns) == [
        "step", "epoch", "split", "lr", "loss", "term_align", "term_retain",
    ]  # fmt: skip
    assert len(table) == 6
    held = table[table.split == "held_out"]
    assert list(held.step) == [2, 4]
    assert held.lr.isna().all()


def panels(record: TrainRecord) -> dict[str, Any]:
    with drawing.styled():
        figure = training.figure(record)
    return {axis.get_title(loc="left"): axis for axis in figure.axes}


def test_a_log_scale_where_a_loss_falls_far() -> None:
    shown = panels(record_of())
    assert len(shown) == 3
    scales = {title.split(":")[0]: axis.get_yscale() for title, axis in shown.items()}
    assert scales["align"] == "log"
    assert scales["retain"] == "linear"


def test_best_step_is_marked_in_every_panel() -> None:
    for axis in panels(record_of()).values():
        assert [line.get_xdata()[0] for line in axis.lines if line.get_label() == "best step"] == [
            4
        ]
    for axis in panels(record_of(held_out=False)).values():
        assert [line.get_label() for line in axis.lines] == ["training rows of the step"]


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        ("finished", "After 4 steps: all epochs done. Lowest held-out loss at step 4."),
        ("early", "stopped early"),
        ("interrupted", "interrupted"),
        ("nan", "not a number"),
    ],
)
def test_the_figure_says_how_training_ended(stopped: str, said: str) -> None:
    figure = training.figure(record_of(stopped=stopped))
    assert said in figure.get_suptitle().replace("\n", " ")


def test_a_single_term_is_not_drawn_twice() -> None:
    curve = [CurvePoint(1, 0.5, "train", 1e-5, 2.0, {"cross_entropy": 2.0})]
    assert list(panels(record_of(curve=curve, best_step=None))) == ["loss (cross_entropy)"]


def test_a_run_without_a_step_gives_the_table_alone(tmp_path: Path) -> None:
    files = write_training_figures(record_of(curve=[], best_step=None, steps=0), tmp_path)
    assert [file.name for file in files] == ["curve.csv"]


# Evaluation


def condition(
    name: str = "tuned",
    change: Estimate | None = None,
    central: Estimate | None = None,
    *,
    p_value: float | None = 0.001,
    flips: tuple[int, int] = (9, 2),
    **other: Any,
) -> ConditionResult:
    keys = {ALL: change, "sw": change, "en": central}
    known = {key: one for key, one in keys.items() if one is not None}
    filled: dict[str, Any] = {
        "kind": "tuned",
        "about": "A trained model.",
        "accuracy": dict.fromkeys(known, estimate(0.6, 0.5, 0.7)),
        "change": known,
        "repaired": dict.fromkeys(known, flips[0]),
        "broken": dict.fromkeys(known, flips[1]),
        "p_value": dict.fromkeys(known, p_value),
        "fidelity": dict.fromkeys(known, estimate(0.9, 0.8, 1.0)),
        "fidelity_change": {},
        "kl": None,
        "seconds": 1.0,
    }
    return ConditionResult(name=name, **{**filled, **other})


def evaluation_of(*conditions: ConditionResult, **changes: Any) -> Evaluation:
    right = estimate(0.48, 0.4, 0.5)
    first = replace(
        condition("unmodified", kind="unmodified"),
        accuracy={ALL: right, "sw": right, "en": estimate(0.8, 0.7, 0.9)},
    )
    filled: dict[str, Any] = {
        "task": "quiz", "splits": ["test"], "rule": "option", "central": "en", "languages": ["sw"],
        "model": {"name": "tiny"}, "conditions": [first, *conditions],
        "questions": {"sw": 40, "en": 40}, "central_texts": 12, "seed": 3, "failures": {},
        "versions": {}, "created": "", "command": [],
    }  # fmt: skip
    return Evaluation(**{**filled, **changes})


def said(one: ConditionResult, **changes: Any) -> str:
    return evaluation_words.verdict(evaluation_of(one, **changes), one)


GAIN, LOSS = estimate(0.12, 0.05, 0.19), estimate(-0.06, -0.1, -0.01)
NOTHING, SAME = estimate(0.01, -0.03, 0.05), estimate(0.0)


def test_a_gain_that_costs_nothing() -> None:
    text = said(condition(change=GAIN, central=NOTHING))
    assert text.startswith("Gains +12.0 points (+5.0 to +19.0) in Swahili")
    assert "and loses nothing measurable in English: +1.0 points (\u22123.0 to +5.0)." in text


def test_a_gain_that_costs_something() -> None:
    text = said(condition(change=GAIN, central=LOSS))
    assert "Swahili (p\u00a0=\u00a00.001), but loses \u22126.0 points" in text


@pytest.mark.parametrize("central", [GAIN, LOSS, NOTHING, SAME, None])
def test_an_interval_with_zero_in_it_is_never_a_gain(central: Estimate | None) -> None:
    for low in (-0.01, 0.0):
        text = said(condition(change=estimate(0.2, low, 0.4), central=central))
        assert "nothing measurable in Swahili: +20.0 points" in text
        assert "ains" not in text.split(" in Swahili")[0]


def test_a_gain_that_fails_its_test_is_only_possible() -> None:
    one = condition(change=GAIN, central=SAME, p_value=0.03)
    assert said(one).startswith("Gains")
    others = [condition(f"other {k}", NOTHING, p_value=0.9) for k in range(3)]
    found = evaluation_of(one, *others)
    text = evaluation_words.verdict(found, one)
    assert text.startswith("May gain +12.0 points")
    assert "p\u00a0=\u00a00.120 after correction for 4 conditions" in text
    assert evaluation_words.state(found, one) == "open"


def test_a_loss_that_fails_its_test_is_only_possible() -> None:
    one = condition(change=NOTHING, central=LOSS, p_value=0.125)
    assert (
        "may lose \u22126.0 points (\u221210.0 to \u22121.0) in English (p\u00a0=\u00a00.125)"
        in said(one)
    )


def test_no_claim_about_what_was_not_asked() -> None:
    text = said(condition(change=NOTHING), questions={"sw": 40})
    assert "was not measured in English" in text
    assert "loses" not in text
    assert "was not measured in Swahili" in said(condition(central=NOTHING)).lower().replace(
        "swahili", "Swahili"
    )


def test_a_condition_that_changes_no_answer() -> None:
    text = said(condition(change=SAME, central=SAME, flips=(0, 0), p_value=None))
    assert text == (
        "Turns no answer in Swahili right or wrong, and leaves the accuracy on 40 questions in "
        "English as it was."
    )


def test_kl_is_said_only_if_measured() -> None:
    assert "nats" not in said(condition(change=GAIN, central=SAME))
    measured = condition(change=GAIN, central=SAME, kl=estimate(0.0123, 0.01, 0.02))
    assert "0.0123 (0.0100 to 0.0200) nats per token" in said(measured)
    assert "does not move" in said(condition(change=GAIN, central=SAME, kl=estimate(0.0)))


def test_several_languages_are_the_target_languages() -> None:
    text = said(condition(change=GAIN, central=SAME), languages=["sw", "zh"])
    assert "in the target languages" in text


def test_evaluation_page_opens_with_a_sentence_each(tmp_path: Path) -> None:
    tuned = condition("tuned", GAIN, NOTHING, kl=estimate(0.012, 0.01, 0.02), notes=["One note."])
    found = evaluation_of(
        tuned, condition("steered", LOSS, SAME), failures={"q9": "too long"}, notes=["Read this."]
    )
    files = write_evaluation_report(found, tmp_path)
    assert files[-1] == tmp_path / "evaluation.html"
    text = visible(tmp_path / "evaluation.html")
    places = [
        text.index(part)
        for part in ("Answers 48.0", "Gains +12.0", "Loses \u22126.0", "2 conditions of", "<h2>")
    ]
    assert places == sorted(places)
    assert "Read this." in text
    assert "One note." in text
    assert "too long" in text
    drawn = {file.name for file in (tmp_path / "figures").iterdir()}
    names = {"changes-target", "changes-central", "kl", "languages-tuned", "languages-steered"}
    assert drawn == {f"{name}.{kind}" for name in names for kind in ("png", "csv")}


def test_panels_show_the_target_languages_beside_the_central_one() -> None:
    found = evaluation_of(condition("tuned", GAIN, NOTHING))
    shown = evaluation.changes(found, found.conditions[1:])
    assert list(shown) == ["Swahili", "English"]
    forests = list(shown.values())
    assert [forest.rows[0].marks[0].estimate for forest in forests] == [GAIN, NOTHING]
    assert [forest.rows[0].marks[0].kind for forest in forests] == ["true", "base"]
    assert forests[0].limits == forests[1].limits, "two panels, one scale"


@pytest.mark.usefixtures("page_alone")
def test_tables_of_an_evaluation(tmp_path: Path) -> None:
    write_evaluation_report(evaluation_of(condition("tuned", GAIN, NOTHING)), tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "conditions.csv").set_index("condition")
    assert table.target_change["tuned"] == pytest.approx(0.12)
    assert table.central_change_high["tuned"] == pytest.approx(0.05)
    assert pd.isna(table.target_change["unmodified"])
    assert table.target_repaired["tuned"] == 9
    assert table.p_target_holm["tuned"] == pytest.approx(0.001)
    langs = pd.read_csv(tmp_path / "tables" / "languages.csv")
    assert list(zip(langs.lang, langs.condition, strict=True)) == [
        (lang, name) for lang in ("sw", "en") for name in ("unmodified", "tuned")
    ]
    tex = (tmp_path / "tables" / "conditions.tex").read_text(encoding="utf-8")
    line = next(line for line in tex.splitlines() if line.startswith("tuned"))
    assert "+12.0 (+5.0 to +19.0)" in line
    assert "9~/~2" in line
    assert "60.0\\,\\% (50.0 to 70.0\\,\\%)" in line


def test_hostile_names_in_an_evaluation(tmp_path: Path) -> None:
    drawing.FORMATS = ("svg",)
    name = "<script>alert(1)</script> $x_1$ & 50% \\input{a}"
    found = evaluation_of(
        condition(name, GAIN, SAME, about="<img src=x>", notes=["<i>note</i>"]),
        task="<u>task</u>",
        languages=["<b>"],
        central="en",
        failures={"<q>": "<why>"},
    )
    write_evaluation_report(found, tmp_path)
    text = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    for raw in ("<script>alert", "<img", "<i>note", "<u>task", "<q>", "<why>"):
        assert raw not in text
    tex = (tmp_path / "tables" / "conditions.tex").read_text(encoding="utf-8")
    assert "\\textgreater{} \\$x\\_1\\$ \\& 50\\% \\textbackslash{}input\\{a\\}" in tex


@pytest.mark.usefixtures("page_alone")
def test_hostile_central_language_in_latex(tmp_path: Path) -> None:
    write_evaluation_report(
        evaluation_of(condition("tuned", GAIN, NOTHING), central="e_n%"), tmp_path
    )
    tex = (tmp_path / "tables" / "conditions.tex").read_text(encoding="utf-8")
    assert "e\\_n\\% accuracy" in tex


def test_the_unmodified_model_alone(tmp_path: Path) -> None:
    files = write_evaluation_report(evaluation_of(), tmp_path)
    assert not [file for file in files if file.parent.name == "figures"]
    text = visible(tmp_path / "evaluation.html")
    assert "The unmodified model of tiny alone" in text
    assert "Change in accuracy" not in text


@pytest.mark.slow
def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    drawing.FORMATS = ("pdf", "svg")
    found = evaluation_of(condition("tuned", GAIN, NOTHING, kl=estimate(0.1, 0.05, 0.2)))
    first = write_evaluation_report(found, tmp_path / "a")
    write_evaluation_report(found, tmp_path / "b")
    for file in first:
        again = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == again.read_bytes(), file.name


def test_reports_need_no_torch() -> None:
    code = "import sys, crosslatent.report.lens; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
