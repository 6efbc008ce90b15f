"""Probing equals a plain computation from states of single texts, in any order and batches."""

from __future__ import annotations

import random
from functools import cache, partial

import numpy as np
import pytest
import torch

import crosslatent as xl
from crosslatent.core.errors import ModelError, SpaceError, UsageError
from crosslatent.lens import probing
from crosslatent.lens.lens_settings import HELD_OUT, few_texts
from crosslatent.lens.probing import probe
from crosslatent.lens.space import load_space
from crosslatent.lens.state_statistics import DrawnTexts, Held, key_of, separability
from crosslatent.lens.text_streams import read_texts
from crosslatent.model import PromptBatch
from support.rows import wrapped

LANGS = ("en", "sw", "hi")
WORDS = {"en": "the town of {} is old", "sw": "mji wa {}", "hi": "शहर {} पुराना"}


@cache
def model(double=False):
    made = wrapped()
    if double:
        made.hf.double()
    return made


def texts(n=10, langs=LANGS):
    return {lang: [WORDS[lang].format("x" * (k % 4) + str(k)) for k in range(n)] for lang in langs}


def states_alone(made, text, pooling):
    """States of one text without padding, layers d_model, as transformers reports them."""
    ids = torch.tensor([made.tokenizer(text)["input_ids"]])
    kept = []
    hook = made.blocks[-1].whole.register_forward_hook(lambda _m, _a, out: kept.append(out))
    with torch.no_grad():
        out = made.hf(ids, output_hidden_states=True)
    hook.remove()
    last = kept[0][0] if type(kept[0]) is tuple else kept[0]
    every = torch.stack([*out.hidden_states[1:-1], last, out.hidden_states[-1]])[:, 0]
    return (every[:, -1] if pooling == "last" else every.mean(1)).double().numpy()


def plain(made, given, pooling="last"):
    """METHODS 3.1 in its own words at full rank: means, M_a, P_s and all states, by layer."""
    states = {
        lang: np.stack([states_alone(made, text, pooling) for text in several])
        for lang, several in given.items()
    }
    found = []
    for layer in range(made.n_layers + 1):
        m = np.stack([states[lang][:, layer].mean(0) for lang in given], axis=1)
        inverse = np.linalg.pinv(m).T.sum(1)
        agnostic = inverse / (inverse @ inverse)
        basis = np.linalg.svd(m - agnostic[:, None])[0][:, : len(given) - 1]
        found.append((m, agnostic, basis @ basis.T))
    return found, states


def assert_equal(one, other, tolerance):
    """Two spaces, up to the signs of bases."""
    for a, b in zip(one.subspaces, other.subspaces, strict=True):
        assert difference(a.means, b.means) < tolerance
        assert difference(a.agnostic, b.agnostic) < 20 * tolerance
        assert difference(a.specific @ a.specific.T, b.specific @ b.specific.T) < 20 * tolerance
    assert one.record.between == pytest.approx(other.record.between, rel=100 * tolerance)


def difference(one, other):
    return np.abs(one - other).max() / np.abs(other).max()


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-5), (True, 1e-11)])
def test_it_equals_a_plain_computation(pooling, double, tolerance):
    made = model(double)
    space = probe(made, texts(), held_out=0, pooling=pooling, batch_size=4)
    expected, states = plain(made, texts(), pooling)
    assert space.layers == (0, 1, 2, 3, "final")
    for subspace, (means, agnostic, projection) in zip(space.subspaces, expected, strict=True):
        assert difference(subspace.means.T, means) < tolerance
        assert difference(subspace.agnostic, agnostic) < 20 * tolerance
        assert difference(subspace.specific @ subspace.specific.T, projection) < 20 * tolerance
        towards = projection @ (means[:, 1] - means[:, 0])
        assert difference(subspace.direction("sw"), towards) < 20 * tolerance
    every = np.concatenate(list(states.values()))
    within = np.mean([s.var(0).sum(1) for s in states.values()], axis=0)
    share = 1 - within / every.var(0).sum(1)  # as many texts of each language
    assert space.record.between == pytest.approx(list(share), rel=100 * tolerance)


@pytest.mark.parametrize("held_out", [0, 0.3])
@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-5), (True, 1e-11)])
def test_order_batches_and_padding_change_nothing(monkeypatch, held_out, double, tolerance):
    made = model(double)
    space = probe(made, texts(), held_out=held_out, seed=3)
    shuffled = {
        lang: random.Random(k).sample(several, len(several))
        for k, (lang, several) in enumerate(texts().items())
    }
    for batch_size in (1, 3, 30):
        other = probe(made, shuffled, held_out=held_out, seed=3, batch_size=batch_size)
        assert_equal(space, other, tolerance)
        assert other.record.held_out == space.record.held_out
        for one, again in zip(space.record.separability, other.record.separability, strict=True):
            assert one.full.value == again.full.value
    monkeypatch.setattr(probing, "read_states", partial(probing.read_states, side="right"))
    assert_equal(space, probe(made, texts(), held_out=held_out, seed=3), tolerance)


def test_reading_the_last_column_would_be_noticed(monkeypatch):
    space = probe(model(), texts(), held_out=0)
    last = property(lambda self: torch.full((len(self.ids),), self.ids.shape[1] - 1))
    monkeypatch.setattr(PromptBatch, "last", last)
    monkeypatch.setattr(probing, "read_states", partial(probing.read_states, side="right"))
    broken = probe(model(), texts(), held_out=0)
    assert difference(space.final.means, broken.final.means) > 0.01


class TestHeldOut:
    @pytest.mark.parametrize(("most", "share"), [(64, 0.3), (3, 0.3), (3, 0.9)])
    def test_separability_is_told_by_means_of_the_others(self, monkeypatch, most, share):
        monkeypatch.setattr(probing, "HELD_OUT", most)
        told_by = []

        def told(states, langs, rows, subspaces, *args, **kwargs):
            told_by.extend(subspaces)
            return separability(states, langs, rows, subspaces, *args, **kwargs)

        monkeypatch.setattr(probing, "separability", told)
        space = probe(model(True), texts(), held_out=share, seed=5)
        assert space.record.texts == dict.fromkeys(LANGS, 10)
        assert space.record.held_out == dict.fromkeys(LANGS, 3)
        fit, out = {}, {}
        for lang, several in texts().items():
            ranked = sorted(several, key=lambda text: key_of(text, 5))
            out[lang], fit[lang] = ranked[:3], ranked[3:]
        for given, found in ((fit, told_by[-1]), (texts(), space.final)):
            expected, _ = plain(model(True), given)
            assert difference(found.means.T, expected[-1][0]) < 1e-11
        assert space.points.langs == ("en",) * 3 + ("sw",) * 3 + ("hi",) * 3
        assert space.points.values.shape == (9, 5, 2)
        state = states_alone(model(True), out["sw"][1], "last")
        for layer, subspace in enumerate(space.subspaces):
            assert space.points.values[4, layer] == pytest.approx(
                subspace.coordinates(state[layer]), rel=1e-5, abs=1e-5
            )
        assert [one.n for one in space.record.separability] == [9] * 5
        assert space.record.separability[0].chance == pytest.approx(1 / 3)

    def test_there_is_a_most_and_a_none(self):
        given = {"en": [f"e{k}" for k in range(HELD_OUT * 2)], "sw": ["a", "b", "c"]}
        record = probe(model(), given, held_out=0.9).record
        assert record.held_out == {"en": HELD_OUT, "sw": 1}
        assert record.texts == {"en": HELD_OUT * 2, "sw": 3}
        space = probe(model(), given, held_out=0)
        assert (space.points, space.record.separability) == (None, [])
        assert space.record.texts == record.texts
        assert [sentence[:21] for sentence in few_texts(record)] == ["the mean states of 's"]

    def test_the_seed_chooses(self):
        one, other = (probe(model(), texts(), held_out=0.3, seed=seed) for seed in (0, 1))
        assert difference(one.final.means, other.final.means) < 1e-6
        assert not np.array_equal(one.points.values, other.points.values)

    def test_what_is_drawn_does_not_depend_on_the_order_and_is_bounded(self):
        held = [Held(key_of(f"t{k}", 0), k, np.full((1, 2, 3), float(k))[0]) for k in range(500)]
        expected = sorted(held, key=lambda one: one.key)[:10]
        for order in (held, held[::-1]):
            drawn = DrawnTexts(10)
            given_back = [drawn.put(one) for one in order]
            assert [one.row for one in drawn.smallest_first()] == [one.row for one in expected]
            back = {one.row for one in given_back if one is not None}
            assert back == {one.row for one in held} - {one.row for one in expected}
            assert all(one.state.base is None for one in drawn.smallest_first())


def test_texts_are_read_lazily_and_memory_is_bounded():
    taken, ahead = 0, []

    def some(lang):
        nonlocal taken
        for k in range(80):
            taken += 1
            yield WORDS[lang].format(k)

    def tell(done):
        ahead.append(taken - done)

    given = {lang: some(lang) for lang in LANGS}
    space = probe(model(), given, batch_size=2, held_out=0.2, progress=tell)
    assert len(ahead) == 240 / 16  # a chunk is eight batches
    assert max(ahead) <= 16
    assert space.record.texts == dict.fromkeys(LANGS, 80)


def test_the_record_says_what_was_done(tmp_path):
    given = texts(4) | {"sw": ["", *texts(4)["sw"], "  "], "en": ["y" * 70, *texts(4)["en"]]}
    space = probe(model(), given, max_tokens=50, rank=1, seed=2)
    record = space.record
    assert (record.texts, record.held_out) == (
        {"en": 5, "sw": 4, "hi": 4},
        {"en": 2, "sw": 2, "hi": 2},
    )
    assert (record.cut, record.empty) == (
        {"en": 1, "sw": 0, "hi": 0},
        {"en": 0, "sw": 2, "hi": 0},
    )
    assert (record.pooling, record.max_tokens, record.seed, space.rank) == ("last", 50, 2, 1)
    assert record.versions["crosslatent"] == xl.__version__
    space.save(tmp_path / "space")
    again = load_space(tmp_path / "space")
    assert again.record == record
    assert np.array_equal(again.points.values, space.points.values)


def test_a_stream_from_a_file_gives_what_lists_give(tmp_path):
    given = texts()
    folder = tmp_path / "texts"
    folder.mkdir()
    for lang, several in given.items():
        (folder / f"{lang}.txt").write_text("\n".join(several), "utf-8")
    assert_equal(probe(model(), given), probe(model(), read_texts(folder, LANGS)), 1e-12)


@pytest.mark.parametrize(
    ("given", "changes", "error", "words"),
    [
        ({}, {}, SpaceError, "two languages or more, and there is none"),
        (texts(3, ["en"]), {}, SpaceError, "two languages or more, and there is en"),
        (texts(3), {"central": "fr"}, SpaceError, "central language 'fr' is not among"),
        (texts(3), {"rank": 3}, SpaceError, "rank is 3, but 3 languages .* 1 to 2"),
        (texts(3), {"rank": 0}, SpaceError, "rank is 0"),
        (texts(3) | {"sw": []}, {}, SpaceError, "no text in 'sw'"),
        (texts(3) | {"sw": ["a", ""]}, {}, SpaceError, "There is 1 text of 'sw' to fit on"),
        (texts(3) | {"sw": "abc"}, {}, SpaceError, "one string"),
        (texts(3), {"pooling": "max"}, UsageError, "'max'"),
        (texts(3), {"batch_size": 0}, UsageError, "batch_size is 0"),
        (texts(3), {"max_tokens": 0}, UsageError, "max_tokens is 0"),
        (texts(3), {"held_out": 1.0}, UsageError, "held_out is 1"),
        (texts(3), {"held_out": -0.1}, UsageError, "held_out is -0.1"),
        (texts(3), {"chat": True}, ModelError, "no chat template"),
    ],
)
def test_refused(given, changes, error, words):
    with pytest.raises(error, match=words):
        probe(model(), given, **changes)


def test_states_that_are_no_numbers_are_refused_with_their_language():
    made = wrapped()
    token = made.tokenizer("m")["input_ids"][0]  # in Swahili texts alone
    with torch.no_grad():
        made.hf.get_input_embeddings().weight[token] = torch.inf
    given = {"en": ["the town", "a city"], "sw": ["jiji", "mji"]}
    words = r"states of 'sw' are not finite in block 0 \(text of row 2\).*float32"
    with pytest.raises(SpaceError, match=words):
        probe(made, given)
