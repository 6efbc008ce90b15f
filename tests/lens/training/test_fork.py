"""The fork owns its trained blocks, shares the rest, and leaves the original alone."""

from __future__ import annotations

import pytest
import torch

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import Site
from crosslatent.lens.training.fork import fork, make_masters, parameters_of, settle
from crosslatent.model import reading
from support.training import states, tiny

FAMILIES = ("llama", "gemma3_text", "gpt_neox", "falcon", "gpt_oss")


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_the_memory_of_all_but_its_blocks(family):
    model = tiny(family)
    tuned = fork(model, (1, 3))
    there = dict(model.hf.named_parameters())
    own = parameters_of(tuned, (1, 3))
    assert own
    for name, weight in tuned.hf.named_parameters():
        shared = weight.data_ptr() == there[name].data_ptr()
        assert shared != (name in own), name
        assert weight.requires_grad == (name in own), name
        assert torch.equal(weight, there[name])
    inside = {id(w) for block in (1, 3) for w in model.blocks[block].whole.parameters()}
    assert set(own) == {name for name, weight in there.items() if id(weight) in inside}
    buffers = dict(model.hf.named_buffers())
    for name, value in tuned.hf.named_buffers():
        assert value.data_ptr() == buffers[name].data_ptr(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_computes_the_same_and_is_read_at_its_own_blocks(family):
    model = tiny(family)
    tuned = fork(model, (3,))
    ids = [5, 6, 7, 8]
    with torch.no_grad():
        before = states(model, ids)
        assert torch.equal(states(tuned, ids)["final"], before["final"])
        for weight in parameters_of(tuned, (3,)).values():
            weight += 0.1
        assert torch.equal(states(model, ids)["final"], before["final"])
        assert not torch.equal(states(tuned, ids)["final"], before["final"])
        seen = []
        with reading(tuned, [Site("attn", 3)], lambda _site, value: seen.append(value)):
            states(model, ids)
            assert not seen
            states(tuned, ids)
            assert len(seen) == 1


def test_the_original_keeps_flags_mode_and_gradients():
    model = tiny()
    model.hf.train(True)
    weights = list(model.hf.parameters())
    weights[0].requires_grad_(False)
    flags = [weight.requires_grad for weight in weights]
    weights[-1].grad = torch.ones_like(weights[-1])
    tuned = fork(model, (2, 3))
    tuned.hf.train(False)
    tuned.hf(input_ids=torch.tensor([[3, 4]])).logits.sum().backward()
    assert [weight.requires_grad for weight in weights] == flags
    assert all(module.training for module in model.hf.modules())
    assert torch.equal(weights[-1].grad, torch.ones_like(weights[-1]))
    assert all(weight.grad is None for weight in weights[:-1])


def test_tied_weights_stay_tied():
    model = tiny(tie_word_embeddings=True)
    tuned = fork(model, (3,))
    inputs, outputs = tuned.hf.get_input_embeddings(), tuned.hf.get_output_embeddings()
    assert inputs.weight is outputs.weight
    assert inputs.weight.data_ptr() == model.hf.get_input_embeddings().weight.data_ptr()


def test_masters_are_float32_and_settling_goes_back():
    model = tiny()
    model.hf.to(torch.bfloat16)
    tuned = fork(model, (3,))
    own = parameters_of(tuned, (3,))
    make_masters(list(own.values()))
    assert {weight.dtype for weight in own.values()} == {torch.float32}
    assert tuned.hf.get_input_embeddings().weight.dtype == torch.bfloat16
    with torch.no_grad():
        next(iter(own.values())).mul_(1.5)
    done = settle(tuned, model, "new")
    assert {weight.dtype for weight in done.hf.parameters()} == {torch.bfloat16}
    assert [w.requires_grad for w in done.hf.parameters()] == [
        w.requires_grad for w in model.hf.parameters()
    ]
    assert done.name == "new"
    assert done.identity["weights_hash"] != model.identity["weights_hash"]
    assert done.identity["config_hash"] == model.identity["config_hash"]


def test_weights_in_several_places_are_refused():
    model = tiny()
    model.hf.lm_head.to("meta")
    with pytest.raises(ModelError, match="several places .cpu, meta."):
        fork(model, (3,))
