"""`patched`: the user's own generate and forward calls get the transplant, and only there."""

from __future__ import annotations

import pytest
import torch

import crosslatent as xl
from support.models import FAMILIES
from support.rows import AUX, MAIN, wrapped

NEW_TOKENS = 6


def generated(model, texts, **options):
    """New ids of `generate`, cut at the end token, one list per text."""
    tokenizer = model.tokenizer
    tokenizer.padding_side = "left"
    batch = tokenizer(list(texts), return_tensors="pt", padding=True)
    out = model.hf.generate(**batch, do_sample=False, max_new_tokens=NEW_TOKENS, **options)
    rows = []
    for row in out[:, batch["input_ids"].shape[1] :].tolist():
        end = next((k for k, token in enumerate(row) if token in model.eos_ids), len(row))
        rows.append(tuple(row[:end]))
    return rows


@pytest.fixture
def model():
    return wrapped()


def patch(model, component="ffn", source=1, target=2, aux=AUX):
    vectors = xl.capture(model, aux, [component])
    return xl.patched(model, vectors, component=component, source=source, target=target)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", ["attn", "ffn", "attn_residual", "block"])
def test_generate_equals_our_own_decoding(family, component):
    model = wrapped(family)
    differing = 0
    for pair in [(0, 0), (1, 2), (3, 1)]:
        one = xl.transplant(
            model,
            main=MAIN,
            aux=AUX,
            component=component,
            source=pair[0],
            target=pair[1],
            max_new_tokens=NEW_TOKENS,
        )
        with patch(model, component, *pair):
            assert generated(model, [MAIN]) == [one.output_ids]
        assert generated(model, [MAIN]) == [one.vanilla_ids]
        differing += one.output_ids != one.vanilla_ids
    assert differing


def test_each_generate_call_is_armed_again(model):
    with patch(model):
        first, second = generated(model, [MAIN]), generated(model, [MAIN])
    assert first == second != generated(model, [MAIN])


def test_left_padded_batches_agree_with_single_prompts(model):
    texts = [MAIN, "Habari?", MAIN + " Tafadhali jibu:"]
    with patch(model):
        assert generated(model, texts) == [generated(model, [text])[0] for text in texts]


def test_a_vector_for_each_row(model):
    texts, auxes = [MAIN, "Habari?"], [AUX, "How are you?"]
    with patch(model, aux=auxes):
        together = generated(model, texts)
    alone = []
    for text, aux in zip(texts, auxes, strict=True):
        with patch(model, aux=aux):
            alone += generated(model, [text])
    assert together == alone
    with patch(model, aux=auxes), pytest.raises(xl.CrosslatentError, match="2 prompts"):
        generated(model, [MAIN])
    rows = model.tokenizer([MAIN] * 4, return_tensors="pt")
    with patch(model, aux=auxes), pytest.raises(xl.CrosslatentError, match="has 4 rows"):
        model.hf(**rows)


def test_chunked_prefill_changes_nothing(model):
    with patch(model):
        whole = generated(model, [MAIN])
        assert generated(model, [MAIN], prefill_chunk_size=4) == whole
    assert whole != generated(model, [MAIN])


def test_beams_share_the_vector_of_their_prompt(model):
    plain = generated(model, [MAIN], num_beams=3)
    with patch(model, aux=[AUX]):
        per_row = generated(model, [MAIN], num_beams=3)
    with patch(model):
        shared = generated(model, [MAIN], num_beams=3)
    assert shared == per_row != plain


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_forward_is_edited_at_the_last_real_token(model, side):
    texts = [MAIN, "Habari?"]
    tokenizer = model.tokenizer
    tokenizer.padding_side = side
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    with patch(model), torch.no_grad():
        padded = model.hf(**batch, position_ids=positions).logits
        for row, text in enumerate(texts):
            alone = model.hf(**tokenizer(text, return_tensors="pt")).logits[0, -1]
            last = int(batch["attention_mask"][row].nonzero().max())
            assert torch.allclose(padded[row, last], alone, atol=1e-4)


def test_right_padded_generation_is_refused(model):
    tokenizer = model.tokenizer
    tokenizer.padding_side = "right"
    batch = tokenizer([MAIN, "x"], return_tensors="pt", padding=True)
    with patch(model), pytest.raises(xl.CrosslatentError, match="left"):
        model.hf.generate(**batch, max_new_tokens=2)


def test_nothing_is_left_behind_after_an_exception(model):
    vanilla = generated(model, [MAIN])
    with pytest.raises(ZeroDivisionError), patch(model):
        raise ZeroDivisionError
    assert "generate" not in vars(model.hf)
    for module in model.hf.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert generated(model, [MAIN]) == vanilla


def test_a_component_that_was_not_captured_is_named(model):
    vectors = xl.capture(model, AUX, ["attn"])
    with (
        pytest.raises(xl.CrosslatentError, match=r"No 'ffn' vectors.*components=\['ffn'\]"),
        xl.patched(model, vectors, component="ffn", source=0, target=0),
    ):
        pass
