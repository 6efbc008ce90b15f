"""What enters the trained blocks: right, computed once, found again, never stale."""

from __future__ import annotations

import pytest
import torch

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import FINAL
from crosslatent.lens.training import frozen_cache as module
from crosslatent.lens.training.frozen_cache import batches, compute_frozen_cache
from crosslatent.lens.training.trained_blocks import Cut, token_mean
from support.training import states, tiny

TEXTS = [list(range(3, 3 + length)) for length in (9, 2, 30, 1, 17, 2)]
CUT = Cut(2, (2, FINAL), "float32")


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "falcon", "gpt_oss"])
def test_states_and_reference_are_those_of_each_text_alone(tmp_path, family):
    model = tiny(family)
    found = compute_frozen_cache(model, TEXTS, CUT, tmp_path)
    assert found.computed == 5  # one text is there twice
    for ids in TEXTS:
        with torch.no_grad():
            whole = states(model, ids)
        key = tuple(ids)
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(found.entering(key), whole[1], **close)
        for layer in (2, FINAL):
            torch.testing.assert_close(
                found.reference(key, layer, "last"), whole[layer][-1], **close
            )
            mean = token_mean(whole[layer][None], torch.tensor([len(ids)]))[0]
            torch.testing.assert_close(found.reference(key, layer, "mean"), mean, **close)


def test_a_second_call_computes_nothing(tmp_path, monkeypatch):
    model = tiny()
    compute_frozen_cache(model, TEXTS, CUT, tmp_path)
    read = []
    whole = module._read
    monkeypatch.setattr(
        module,
        "_read",
        lambda model, batch, cut: read.append(len(batch.ids)) or whole(model, batch, cut),
    )
    shown = []
    again = compute_frozen_cache(model, list(reversed(TEXTS)), CUT, tmp_path, show=shown.append)
    assert again.computed == 0
    assert sum(shown) == 5
    assert read == [1]  # one text, to see that the file is of this model


@pytest.mark.parametrize("what", ["weights", "first", "layers"])
def test_nothing_stale_is_taken(tmp_path, what):
    model, cut, texts = tiny(), CUT, TEXTS
    compute_frozen_cache(model, texts, cut, tmp_path)
    if what == "weights":
        # An edit that the identity, a sample of the weights, does not see.
        with torch.no_grad():
            model.hf.model.layers[0].mlp.down_proj.weight[1, 3:40] += 1.0
    elif what == "first":
        cut = Cut(1, CUT.layers, "float32")
    else:
        cut = Cut(2, (3, FINAL), "float32")
    found = compute_frozen_cache(model, texts, cut, tmp_path)
    assert found.computed == 5
    with torch.no_grad():
        whole = states(model, TEXTS[2])
    torch.testing.assert_close(
        found.entering(tuple(TEXTS[2])), whole[cut.first - 1], rtol=1e-4, atol=1e-4
    )


def check_states(found, model, texts):
    for ids in texts:
        with torch.no_grad():
            whole = states(model, ids)
        key, close = tuple(ids), {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(found.entering(key), whole[1], **close)
        torch.testing.assert_close(found.reference(key, 2, "last"), whole[2][-1], **close)


def test_texts_are_found_whatever_they_were_computed_with(tmp_path, monkeypatch):
    model = tiny()
    monkeypatch.setattr(module, "SHARD_BYTES", 20 * 32 * 4)
    monkeypatch.setattr(module, "MOST_SHARDS", 100)
    assert compute_frozen_cache(model, TEXTS[:3], CUT, tmp_path).computed == 3
    kept = {path: path.read_bytes() for path in tmp_path.glob("*/shard-*")}
    more = [*TEXTS[1:], [8, 8, 8]]
    found = compute_frozen_cache(model, more, CUT, tmp_path)
    assert found.computed == 3  # [3], [8, 8, 8] and 17 tokens; three were there, one of them twice
    check_states(found, model, more)
    assert all(path.read_bytes() == content for path, content in kept.items())
    every = compute_frozen_cache(model, [*TEXTS, [8, 8, 8]], CUT, tmp_path)
    assert every.computed == 0
    check_states(every, model, [*TEXTS, [8, 8, 8]])


def test_runs_that_share_a_folder_do_not_disturb_each_other(tmp_path, monkeypatch):
    """Another run writes the same texts, and others, between this one's look and its writing."""
    model, whole = tiny(), module._states

    def states_later(*arguments):
        monkeypatch.setattr(module, "_states", whole)
        compute_frozen_cache(model, [*TEXTS, [8, 8, 8]], CUT, tmp_path)
        compute_frozen_cache(model, TEXTS, CUT, tmp_path)
        return whole(*arguments)

    monkeypatch.setattr(module, "_states", states_later)
    found = compute_frozen_cache(model, TEXTS, CUT, tmp_path)
    assert found.computed == 5
    check_states(found, model, TEXTS)
    assert not list(tmp_path.glob("*/.*"))
    assert compute_frozen_cache(model, [*TEXTS, [8, 8, 8]], CUT, tmp_path).computed == 0


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="Cannot keep states in .*file.*Not a directory"):
        compute_frozen_cache(tiny(), TEXTS, CUT, tmp_path / "file")


def test_a_damaged_file_is_computed_again(tmp_path):
    model = tiny()
    found = compute_frozen_cache(model, TEXTS, CUT, tmp_path)
    (file,) = found.folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    assert compute_frozen_cache(model, TEXTS, CUT, tmp_path).computed == 5


def test_many_files_hold_the_same(tmp_path, monkeypatch):
    model = tiny()
    one = compute_frozen_cache(model, TEXTS, CUT, tmp_path / "one")
    monkeypatch.setattr(module, "SHARD_BYTES", 20 * 32 * 4)
    monkeypatch.setattr(module, "MOST_SHARDS", 100)
    many = compute_frozen_cache(model, TEXTS, CUT, tmp_path / "many")
    assert len(list(many.folder.glob("*.safetensors"))) == 3
    for ids in map(tuple, TEXTS):
        torch.testing.assert_close(one.entering(ids), many.entering(ids), rtol=1e-4, atol=1e-4)
    # A missing file alone is made again.
    last = many.place[tuple(TEXTS[2])][0].path
    before = last.read_bytes()
    last.unlink()
    assert compute_frozen_cache(model, TEXTS, CUT, tmp_path / "many").computed == 1
    assert last.read_bytes() == before


def test_no_states_are_kept_where_nothing_lies_below(tmp_path):
    model = tiny()
    found = compute_frozen_cache(model, TEXTS, Cut(0, (FINAL,), "float32"), tmp_path)
    assert found.reference((3,), FINAL, "last").shape == (model.d_model,)
    (file,) = found.folder.glob("*.safetensors")
    assert file.stat().st_size < 20_000


def test_batches_fill_their_room_and_keep_order():
    model = tiny()
    ordered = sorted(TEXTS, key=len)
    found = list(batches(ordered, model, 40))
    assert [text for batch in found for text in batch] == ordered
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 40
    assert [len(batch) for batch in found] == [4, 1, 1]


def test_texts_beyond_the_rotary_limit_are_alone(monkeypatch):
    model = tiny()
    monkeypatch.setattr(type(model), "rotary_limit", property(lambda _self: 10))
    found = list(batches(sorted(TEXTS, key=len), model))
    assert [len(batch) for batch in found] == [4, 1, 1]


def test_bfloat16_is_kept_as_it_is(tmp_path):
    model = tiny()
    model.hf.to(torch.bfloat16)
    found = compute_frozen_cache(model, TEXTS, Cut(2, (FINAL,), "bfloat16"), tmp_path)
    assert found.entering(tuple(TEXTS[0])).dtype == torch.bfloat16
    assert found.reference(tuple(TEXTS[0]), FINAL, "last").dtype == torch.float32
