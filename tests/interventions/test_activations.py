"""Captured vectors are the module outputs at the last real token, however the batch is made."""

from __future__ import annotations

import pytest
import torch

import crosslatent as xl
from crosslatent.core.specs import OF_EVERY_MODEL
from support.models import FAMILIES
from support.rows import AUX, MAIN, wrapped

TEXTS = [MAIN, "x", AUX, "Habari ya asubuhi, rafiki yangu?"]


@pytest.mark.parametrize("family", FAMILIES)
def test_block_outputs_are_those_that_transformers_reports(family):
    model = wrapped(family)
    captured = xl.capture(model, MAIN, ["block"])["block"]
    ids = model.tokenizer(MAIN, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model.hf(ids, output_hidden_states=True).hidden_states
    for layer in range(model.n_layers - 1):  # the last one comes after the final norm there
        assert torch.allclose(captured[layer], states[layer + 1][0, -1], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("chunk", [None, 5])
def test_padding_batching_and_chunks_change_nothing(family, side, chunk):
    model = wrapped(family)
    alone = [xl.capture(model, text, OF_EVERY_MODEL) for text in TEXTS]
    together = xl.capture(model, TEXTS, OF_EVERY_MODEL, side=side, chunk=chunk, batch_size=3)
    for component in OF_EVERY_MODEL:
        expected = torch.stack([vectors[component] for vectors in alone])
        assert together[component].shape == (len(TEXTS), model.n_layers, model.d_model)
        # Float32 on values that reach 30, whose sums are taken in another order.
        assert torch.allclose(together[component], expected, atol=1e-4)
        assert expected.std() > 0.01


def test_a_capture_does_not_depend_on_what_ran_before():
    model = wrapped()
    first = xl.capture(model, MAIN)
    xl.capture(model, AUX)
    again = xl.capture(model, MAIN)
    assert all(torch.equal(first[kind], again[kind]) for kind in first)


def test_an_empty_prompt_is_refused():
    with pytest.raises(xl.CrosslatentError, match="aux prompt is empty"):
        xl.capture(wrapped(), "  ")
    with pytest.raises(xl.CrosslatentError, match="no prompt"):
        xl.capture(wrapped(), [])


def test_hooks_are_gone_after_an_exception(monkeypatch):
    model = wrapped()

    def fail(*_args, **_kwargs):
        raise RuntimeError("broken forward")

    monkeypatch.setattr(type(model.blocks[2].ffn), "forward", fail)
    with pytest.raises(RuntimeError, match="broken forward"):
        xl.capture(model, MAIN, OF_EVERY_MODEL)
    for module in model.hf.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
