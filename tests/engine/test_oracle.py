"""The oracle gives the authors' released results, and a self-transplant changes nothing."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from crosslatent.core.specs import OF_EVERY_MODEL, Site
from crosslatent.engine import oracle
from crosslatent.engine.prefill import prefill
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.rewrites import Window, rewrites
from crosslatent.model import encode_batch, rewriting
from support.models import FAMILIES, PLAIN_FAMILIES
from support.released_scheme import released_answer
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped

NEW_TOKENS = 6


@pytest.mark.parametrize("family", PLAIN_FAMILIES)
@pytest.mark.parametrize("component", OF_EVERY_MODEL)
def test_answers_equal_the_released_scheme_token_for_token(family, component):
    model = wrapped(family)
    main, aux = ids_of(model, MAIN), ids_of(model, AUX)
    rows = all_rows(model, aux, [component])[1:]
    ours = [r.ids for r in oracle.run_rows(model, main, rows, max_new_tokens=NEW_TOKENS)]
    pairs = [(i, j) for i in range(model.n_layers) for j in range(model.n_layers)]
    theirs = [
        tuple(released_answer(model.hf, main, aux, component, i, j, NEW_TOKENS)) for i, j in pairs
    ]
    assert ours == theirs
    # Rows that all equal the unmodified answer would prove nothing.
    assert len(set(ours)) >= 5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", ["attn", "ffn", "block"])
def test_self_transplant_is_the_identity(family, component):
    model = wrapped(family)
    main = ids_of(model, MAIN)
    vectors = capture_ids(model, [main], [component])[component][0]
    rows = [
        (Transplant(Site(component, layer), vectors[layer]),) for layer in range(model.n_layers)
    ]
    vanilla, *edited = oracle.run_rows(
        model, main, [(), *rows], max_new_tokens=NEW_TOKENS, watch=range(20)
    )
    for answer in edited:
        assert answer.ids == vanilla.ids
        assert answer.watched == pytest.approx(vanilla.watched, abs=1e-4)


def test_self_transplant_of_attn_residual_adds_the_residual_twice():
    model = wrapped()
    prompt = encode_batch(model, [ids_of(model, MAIN)])
    layer = 2
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    block = model.blocks[layer]
    handles = [
        block.whole.register_forward_pre_hook(
            lambda _m, args, kwargs: inputs.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        ),
        block.attn.register_forward_hook(lambda _m, _a, out: outputs.append(out[0])),
    ]
    prefill(model, prompt)
    for handle in handles:
        handle.remove()
    captured = capture_ids(model, [prompt.ids[0].tolist()], ["attn_residual"])
    by_hand = outputs[0][0, -1] + inputs[0][0, -1]
    assert torch.equal(captured["attn_residual"][0, layer], by_hand)

    window = Window(prompt.last)
    row = (Transplant(Site("attn_residual", layer), by_hand),)
    entered: list[torch.Tensor] = []
    norm = block.whole.post_attention_layernorm
    handle = norm.register_forward_pre_hook(lambda _m, args: entered.append(args[0]))
    with rewriting(model, rewrites(row, window)):
        prefill(model, prompt, window=window)
    handle.remove()
    assert torch.allclose(entered[0][0, -1], by_hand + inputs[0][0, -1], atol=1e-6)


@cache
def in_chunks(chunk):
    model = wrapped()
    main, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    chunked = oracle.run_rows(model, main, rows, max_new_tokens=NEW_TOKENS, chunk=chunk)
    return [answer.ids for answer in chunked]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_prefill_chunking_changes_nothing(chunk):
    assert in_chunks(chunk) == in_chunks(None)


def test_hooks_are_gone_after_an_exception():
    model = wrapped()
    main = ids_of(model, MAIN)
    wrong = (Transplant(Site("attn", 1), torch.zeros(5)),)
    with pytest.raises(RuntimeError):
        oracle.run_rows(model, main, [wrong], max_new_tokens=2)
    for module in model.hf.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_logit_that_is_not_a_number_is_flagged():
    model = wrapped()
    bad = (Transplant(Site("block", 3), torch.full((model.d_model,), torch.nan)),)
    good, flagged = oracle.run_rows(
        model, ids_of(model, MAIN), [(), bad], max_new_tokens=2, watch=[5]
    )
    assert good.finite
    assert not flagged.finite


def test_answers_stop_before_the_end_token():
    model = wrapped()
    main = ids_of(model, MAIN)
    (free,) = oracle.run_rows(model, main, [()], max_new_tokens=8)
    assert len(free.ids) == 8
    model.hf.generation_config.eos_token_id = free.ids[3]
    (stopped,) = oracle.run_rows(model, main, [()], max_new_tokens=8)
    first = free.ids.index(free.ids[3])
    assert stopped.ids == free.ids[:first]
