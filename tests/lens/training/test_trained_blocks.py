"""The top on cached states gives what the whole model gives, for every kind of architecture."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from crosslatent.core.specs import FINAL
from crosslatent.lens.training.fork import fork
from crosslatent.lens.training.frozen_cache import compute_frozen_cache
from crosslatent.lens.training.trained_blocks import (
    Cut,
    TrainedBlocks,
    autocast,
    gather,
    resolve_precision,
)
from crosslatent.model import encode_batch
from support.training import states, tiny

FAMILIES = (
    "llama", "qwen3", "gemma2", "gemma3_text", "olmo2", "gpt_neox", "falcon", "falcon-alibi",
    "phi3", "gpt_oss",
)  # fmt: skip
TEXTS = [list(range(3, 15)), [40, 41, 42], list(range(60, 95)), [7]]


def top_states(model, first, layers, texts, cache, **options):
    """By layer, a list of pos d_model for each text, in one padded batch."""
    top = TrainedBlocks(model, Cut(first, layers, "float32"))
    trunk = compute_frozen_cache(model, texts, top.cut, cache)
    batch = encode_batch(model, texts, "right")
    with top.standing_in(**options), torch.no_grad():
        found = top(batch, gather(trunk, texts, model.device) if first else None)
    return {
        layer: [value[row, : len(ids)] for row, ids in enumerate(texts)]
        for layer, value in found.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_top_on_the_trunk_equals_the_whole_model(tmp_path, family):
    model = fork(tiny(family), (2, 3))
    layers = (2, 3, FINAL)
    found = top_states(model, 2, layers, TEXTS, tmp_path)
    for row, ids in enumerate(TEXTS):
        with torch.no_grad():
            whole = states(model, ids)
        for layer in layers:
            scale = whole[layer].abs().max()
            assert (found[layer][row] - whole[layer]).abs().max() < 1e-5 * max(scale, 1.0)


@pytest.mark.parametrize("family", ["llama", "falcon", "gemma3_text"])
def test_what_enters_is_what_decides(tmp_path, family):
    # With other cached states, other states come out: the blocks below really do not run.
    model = fork(tiny(family), (2, 3))
    top = TrainedBlocks(model, Cut(2, (FINAL,), "float32"))
    batch = encode_batch(model, TEXTS[:1], "right")
    entering = torch.randn(1, len(TEXTS[0]), model.d_model)
    seen = []
    handle = model.blocks[0].attn.register_forward_hook(lambda *_: seen.append(1))
    with top.standing_in(), torch.no_grad():
        seen.clear()  # finding out how a block returns its states runs one
        one, other = (top(batch, scale * entering)[FINAL] for scale in (1.0, -1.0))
    handle.remove()
    assert not seen
    assert (one - other).abs().max() > 0.1


def test_first_block_zero_runs_the_whole_model(tmp_path):
    model = fork(tiny(), (0,))
    found = top_states(model, 0, (FINAL,), TEXTS, tmp_path)
    with torch.no_grad():
        whole = states(model, TEXTS[0])[FINAL]
    torch.testing.assert_close(found[FINAL][0], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recompute", [(), (2, 3)])
def test_stand_ins_leave_also_after_an_exception(recompute):
    model = fork(tiny(), (2, 3))
    top = TrainedBlocks(model, Cut(2, (FINAL,), "float32"))
    with suppress(KeyError), top.standing_in(recompute=recompute):
        assert "forward" in vars(model.blocks[0].whole)
        raise KeyError
    for block in model.blocks:
        assert "forward" not in vars(block.whole)
        assert not block.whole._forward_hooks
    with torch.no_grad():
        states(model, TEXTS[0])


def test_a_forward_that_was_there_before_comes_back():
    model = fork(tiny(), (3,))
    whole = model.blocks[1].whole
    before = whole.forward
    whole.forward = before
    with TrainedBlocks(model, Cut(3, (FINAL,), "float32")).standing_in():
        assert vars(whole)["forward"] is not before
    assert vars(whole)["forward"] is before


@pytest.mark.parametrize("family", ["llama", "falcon", "gpt_oss"])
def test_gradient_checkpointing_gives_the_same_gradient(tmp_path, family):
    model = fork(tiny(family), (2, 3))
    top = TrainedBlocks(model, Cut(2, (2, FINAL), "float32"))
    trunk = compute_frozen_cache(model, TEXTS, Cut(2, (FINAL,), "float32"), tmp_path)
    batch = encode_batch(model, TEXTS, "right")
    entering = gather(trunk, TEXTS, model.device)
    gradients, runs = [], []
    handle = model.blocks[2].attn.register_forward_hook(lambda *_: runs.append(1))
    for recompute in ((), (2, 3)):
        runs.clear()
        for block in (2, 3):
            model.blocks[block].whole.train(True)
        with top.standing_in(recompute=recompute):
            runs.clear()
            found = top(batch, entering)
            (found[FINAL][:, 0].square().sum() + found[2][:, 0].sum()).backward()
        assert len(runs) == (2 if recompute else 1)
        own = [w for block in (2, 3) for w in model.blocks[block].whole.parameters()]
        gradients.append([None if w.grad is None else w.grad.clone() for w in own])
        model.hf.zero_grad()
    handle.remove()
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert any(one is not None and one.abs().max() > 0 for one in gradients[0])


def test_precision_follows_the_weights():
    model = tiny()
    assert resolve_precision(model, "auto") == "float32"
    assert resolve_precision(model, "bfloat16") == "bfloat16"
    model.hf.to(torch.bfloat16)
    assert resolve_precision(model, "auto") == "bfloat16"
    with autocast(model, "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
    with autocast(model, "float32"):
        assert not torch.is_autocast_enabled("cpu")
