"""What notebooks show of models, captures, transplants, runs, choosers and findings."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.analysis.accuracy import PairGrid
from crosslatent.api.choosers import Chooser
from crosslatent.core.specs import TransplantSpec
from crosslatent.report.notebook import thumbnail
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.saved import SavedSelector
from crosslatent.stats import Estimate
from support.hostile import HOST, Page, hostile_run
from support.rows import AUX, MAIN, wrapped
from support.runs import item, row, write_run
from support.two_stacks import ENCODED, wrapped_stacks

MOST_BYTES = 50_000
ARABIC = "ما نوع هذا الحيوان؟ الجواب"
HINDI = "यह किस प्रकार का जानवर है? उत्तर"


def shown(one):
    """The HTML and the text of what a notebook shows, after checks that hold for all."""
    bundle = one._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/plain", "text/html"}
    html = bundle["text/html"]
    assert one._repr_html_() == html
    page = Page(html)
    assert page.open == page.scripts == page.addresses == page.comments == []
    assert len(html.encode()) < MOST_BYTES
    assert "prefers-color-scheme:dark" in html
    assert "url(" not in html.partition("</style>")[0]
    assert not any(name == "style" or name.startswith("on") for _, name in page.attributes)
    return html, bundle["text/plain"]


def test_a_model_says_what_was_found_in_which_blocks():
    model = wrapped("gpt2")
    _, text = shown(model)
    assert "GPT2LMHeadModel, 4 blocks of width 32" in text
    assert re.search(r"^0-3 +attn \(GPT2Attention\) +mlp \(GPT2MLP\)$", text, re.MULTILINE)
    size = sum(each.numel() for each in model.hf.parameters())
    assert f"{size:,} in float32, " in text


def test_blocks_of_other_attention_are_apart():
    _, text = shown(wrapped("gemma2"))
    kinds = wrapped("gemma2").layer_kinds
    assert kinds is not None
    assert len(set(kinds)) == 2
    assert all(kind in text for kind in kinds)


def test_captures_are_a_dict_with_norms_by_block():
    model = wrapped()
    alone, both = xl.capture(model, AUX), xl.capture(model, [AUX, AUX], positions=2)
    assert set(alone) == {"attn", "ffn"}
    assert "4 \u00d7 32" in shown(alone)[1]
    assert "2 \u00d7 4 \u00d7 2 \u00d7 32" in shown(both)[1]
    norms = [f"{each:.3g}" for each in np.linalg.norm(alone["ffn"].numpy(), axis=1)]
    assert " ".join(norms) in shown(alone)[1]
    last = shown(xl.capture(model, [AUX, AUX]))[1]
    assert " ".join(norms) in last


def test_a_transplant_is_shown_with_the_touched_tokens_marked():
    one = xl.transplant(wrapped(), main=MAIN, aux=AUX, component="ffn", source=3, target=0)
    html, text = shown(one)
    assert html.count("<mark>:</mark>") == 2
    assert f"{AUX[:-1]}[:]" in text
    assert "feed-forward 3 \u2192 0" in text
    assert one.vanilla != one.output
    assert "changed" in text
    assert "".join(one.main_pieces) == MAIN
    assert not {"main_pieces", "aux_pieces"} & set(one.to_dict())


@pytest.mark.parametrize(
    ("main", "aux", "ways"),
    [
        (ARABIC, HINDI, [' dir="auto"', ' lang="ar" dir="rtl"']),
        (HINDI, ARABIC, [' lang="ar" dir="rtl"', ' dir="auto"']),
    ],
    ids=["ar", "hi"],
)
def test_letters_of_several_tokens_are_whole_and_in_their_direction(main, aux, ways):
    model = wrapped()
    one = xl.transplant(
        model, main=main, aux=aux, component="attn", source=0, target=0, positions=3
    )
    html, text = shown(one)
    # A few words in Devanagari may be Hindi or Marathi: their letters decide.
    assert re.findall(r'<p class="tokens"([^>]*)>', html) == ways
    assert len("".join(one.main_pieces)) > 20
    assert main.endswith("".join(one.main_pieces))
    # Three tokens of two or three bytes a letter.
    assert main.endswith("".join(one.main_pieces[-3:]))
    assert one.main_pieces[-1] == main[-1]
    assert "\ufffd" not in "".join((*one.main_pieces, *one.aux_pieces))
    assert "last 3 tokens" in text


def test_an_encoder_decoder_shows_what_its_decoder_begins_with():
    name = next(iter(ENCODED))
    model = wrapped_stacks(name)
    one = xl.transplant(model, main=MAIN, aux=AUX, component="ffn", source=0, target=0)
    assert len(one.main_pieces) == one.main_length + len(model.decoder_reads(()))
    assert shown(one)[0].count("<mark>") == 2
    assert "cross-attention" in shown(model)[1]


def test_a_run_shows_its_maps_and_its_bound_beside_the_strongest_control(tmp_path):
    names = [f"q{number}" for number in range(24)]
    items = [
        item(name, split="pilot" if place % 2 else "final") for place, name in enumerate(names)
    ]
    rows = []
    for place, name in enumerate(names):
        rows += [row(name, "vanilla", correct=place % 3 == 0)]
        rows += [row(name, target=1, correct=True), row(name, correct=place % 3 == 0)]
        rows += [row(name, "noise", correct=place % 4 == 0)]
        rows += [row(name, "noise", target=1, correct=place % 4 == 0)]
    write_run(tmp_path / "run", items, rows, spec={"components": ["ffn"]})
    run = xl.Run(tmp_path / "run")
    html, text = shown(run)
    assert re.search(r"^folder +run$", text, re.MULTILINE)
    assert repr(run) == f"Run({str(tmp_path / 'run')!r})"
    assert html.count("<svg") == 1
    # Source 0 is the lower line; 0 -> 1 repairs two thirds, 0 -> 0 nothing; source 1 was not run.
    assert re.findall(r'<path class="(\w+)" [^>]*d="([^"]+)"', html) == [
        ("none", "M0 1h1v1h-1z"),
        ("gain", "M1 1h1v1h-1z"),
    ]
    assert 'class="line" fill="none"' in html
    assert "gain from 0.0 to +66.7 points; n = 24; outlined: 0 \u2192 1" in text
    assert "Copying feed-forward 0 of the English prompt into 1" in text
    assert re.search(r"feed-forward +100\.0.%.*random noise: 25\.0.%", text)
    assert run.plot("ffn").to_dict() == run.heatmap("ffn").to_dict()


def test_a_run_without_controls_says_so_and_one_without_pairs_has_no_map(tmp_path):
    names = ["a", "b", "c"]
    plain = [row(name, "vanilla", correct=False) for name in names]
    pairs = [row(name) for name in names]
    items = [item(name) for name in names]
    write_run(tmp_path / "pairs", items, plain + pairs, spec={"components": ["ffn"]})
    write_run(tmp_path / "plain", items, plain, spec={"components": []})
    assert "none was run" in shown(xl.Run(tmp_path / "pairs"))[1]
    html, text = shown(xl.Run(tmp_path / "plain"))
    assert "<svg" not in html
    assert "The run has no pairs of layers." in text


def test_a_hostile_run_is_shown_as_text(tmp_path):
    html, text = shown(xl.Run(hostile_run(tmp_path / "run")))
    assert HOST in text
    assert "\x1b" not in html + text


def _grid(size, seed=0):
    numbers = np.random.default_rng(seed).uniform(-0.3, 0.3, (size, size)).tolist()
    known = Estimate(0.5, 0.4, 0.6, n=100, clusters=100, seed=0)
    return PairGrid("ffn", "all", "all", known, *[numbers] * 5, n=100, clusters=100, seed=0)


@pytest.mark.parametrize(
    ("size", "among", "step"), [(32, 2, 1), (32, 5, 2), (80, 2, 3), (126, 5, 6)]
)
def test_maps_of_deep_models_stay_small(size, among, step):
    grids = [thumbnail(_grid(size, seed), (size - 1, 0), among) for seed in range(among)]
    assert sum(len(one.html().encode()) for one in grids) < MOST_BYTES - 10_000
    coarse = f"a cell is the mean of {step} \u00d7 {step} pairs"
    assert (coarse in grids[0].caption) == (step > 1)


def test_a_coarse_cell_is_the_mean_of_its_known_pairs():
    gain = [[0.4, 0.0, None, None], [0.0, 0.0, None, None], [-0.2] * 4, [-0.2] * 4]
    one = thumbnail(replace(_grid(4), gain=gain), among=600)
    assert "gain from \u221220.0 to +10.0 points" in one.caption
    assert re.findall(r'<path class="(\w+)" [^>]*d="([^"]+)"', one.svg) == [
        ("loss", "M0 0h1v1h-1zM1 0h1v1h-1z"),
        ("gain", "M0 1h1v1h-1z"),
    ]


def test_a_chooser_and_its_answers_are_shown():
    model = wrapped()
    pair = TransplantSpec("ffn", 3, 0)
    chooser = Chooser(SavedSelector("fixed", "one pair for all", FixedPairs(pair, {}), {}))
    text = shown(chooser)[1]
    assert "one pair for all" in text
    assert "feed-forward 3 \u2192 0" in text
    (answer,) = chooser.answer(model, [(MAIN, AUX)], force=True)
    html, text = shown(answer)
    assert "transplant feed-forward 3 \u2192 0" in text
    assert "as chosen" in html
