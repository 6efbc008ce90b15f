"""Sampled answers follow the model's distribution, whatever they are batched with."""

from __future__ import annotations

import pytest
import torch

from crosslatent.answering.ask import _drawn, _draws, has_float64, sample
from crosslatent.core.errors import UsageError
from crosslatent.engine import decoding
from crosslatent.engine.decoding import greedy
from crosslatent.engine.prefill import prefill
from crosslatent.model import encode_batch
from support.rows import AUX, MAIN, ids_of, wrapped

TEXTS = [MAIN, "x", AUX, "Habari ya asubuhi?"]


@pytest.fixture(scope="module")
def model():
    return wrapped()


def sampled(model, texts, **settings):
    prompts = [ids_of(model, text) for text in texts]
    settings = {"samples": 5, "max_new_tokens": 4} | settings
    return list(sample(model, prompts, texts, **settings))


def test_batches_change_nothing(model):
    together = sampled(model, TEXTS)
    assert [len(texts) for texts in together] == [5] * 4
    assert sampled(model, TEXTS, batch_rows=5) == together
    assert [sampled(model, [text])[0] for text in TEXTS] == together
    assert len({text for texts in together for text in texts}) > 10


def test_seeds_and_names_decide_the_draws(model):
    first = sampled(model, [MAIN])
    assert sampled(model, [MAIN]) == first
    assert sampled(model, [MAIN], seed=1) != first
    assert sampled(model, [MAIN], samples=3)[0] == first[0][:3]


def test_near_temperature_zero_it_is_greedy(model):
    rows = prefill(model, encode_batch(model, [ids_of(model, MAIN)]))
    answer = model.text_of(list(greedy(rows, 4, model.eos_ids)[0].ids))
    assert sampled(model, [MAIN], temperature=1e-3) == [[answer] * 5]


@pytest.mark.parametrize("vocab", [5, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_draw_is_where_the_summed_probability_passes_it(vocab, dtype, monkeypatch):
    logits = (torch.randn((200, vocab), generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    logits[3, 1:] = -torch.inf
    draws = _draws(0, "any", 1, 200)[0]
    sums = (logits.double() / 0.7).softmax(-1).cumsum(-1)
    expected = [
        next(token for token, one in enumerate(row) if one > draw * row[-1] * (1 - 2**-20))
        for row, draw in zip(sums.tolist(), draws.tolist(), strict=True)
    ]
    assert _drawn(logits, draws, 0.7).tolist() == expected
    assert _drawn(logits, draws.float(), 0.7).tolist() == expected
    monkeypatch.setattr(decoding, "_LOGITS_AT_ONCE", {"cpu": 7 * vocab})
    assert _drawn(logits, draws, 0.7).tolist() == expected


def test_blocks_without_a_chance_are_never_drawn():
    """Nor the padding of the last block, nor a token of no chance beside the drawn one."""
    logits = torch.full((4001, 1100), -torch.inf)
    logits[:, [300, 301, 700]] = torch.tensor([0.2, 0.3, 0.5]).log()
    draws = torch.linspace(0, 1, 4001)
    found = torch.bincount(_drawn(logits, draws, 1.0), minlength=1100)
    assert set(torch.nonzero(found).flatten().tolist()) == {300, 301, 700}
    assert (found[[300, 301, 700]] - torch.tensor([800, 1200, 2001])).abs().max() <= 1


def test_a_device_says_whether_it_has_float64(monkeypatch):
    assert has_float64(torch.device("cpu"))

    def refuse(*_, **__):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch, "ones", refuse)
    assert not has_float64(torch.device("meta"))
    has_float64.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_draws_follow_the_distribution(dtype):
    chances = torch.tensor([0.5, 0.0, 0.3, 0.2])
    draws = _draws(0, "any", 1, 20_000)[0].to(dtype)
    found = _drawn(chances.log().expand(len(draws), -1), draws, 1.0)
    shares = torch.bincount(found, minlength=4) / len(draws)
    assert shares[1] == 0
    assert torch.allclose(shares, chances, atol=0.012)
    # At half the temperature, chances are squared.
    sharp = _drawn(chances.log().expand(len(draws), -1), draws, 0.5)
    expected = chances**2 / (chances**2).sum()
    assert torch.allclose(torch.bincount(sharp, minlength=4) / len(draws), expected, atol=0.012)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_ends_of_the_range_are_tokens_with_a_chance(dtype):
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]]).expand(2, -1)
    draws = torch.tensor([0.0, 1.0], dtype=dtype)
    assert _drawn(logits, draws, 1.0).tolist() == [1, 2]


def test_an_end_token_ends_an_answer(model):
    prompts = [ids_of(model, MAIN)]
    every = frozenset(range(len(model.tokenizer)))
    hf = model.hf
    before = hf.generation_config.eos_token_id
    hf.generation_config.eos_token_id = sorted(every)
    try:
        assert list(sample(model, prompts, ["a"], samples=2, max_new_tokens=4)) == [["", ""]]
    finally:
        hf.generation_config.eos_token_id = before


def test_progress_is_told(model):
    told = []
    sampled(model, TEXTS, batch_rows=10, advance=told.append)
    assert told == [10, 20]


def test_what_cannot_be_sampled_is_refused(model):
    with pytest.raises(UsageError, match="number of samples"):
        sampled(model, TEXTS, samples=0)
    with pytest.raises(UsageError, match="temperature"):
        sampled(model, TEXTS, temperature=0.0)
