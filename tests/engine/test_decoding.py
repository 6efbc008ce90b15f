"""Greedy decoding: the right token, its margin, and rows that leave when they have ended."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.engine.decoding import greedy, log_probabilities, top_two


@pytest.mark.parametrize("vocab", [2, 100, 128, 129, 1000, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_highest_logit_and_the_next(vocab, dtype):
    # Coarse numbers, so that there are many ties.
    logits = torch.randn(64, vocab, generator=torch.Generator().manual_seed(vocab)).to(dtype)
    token, best, second = top_two(logits)
    expected = logits.float().topk(2).values
    assert torch.equal(token, logits.argmax(-1))
    assert torch.equal(best.float(), expected[:, 0])
    assert torch.equal(second.float(), expected[:, 1])


@given(st.lists(st.integers(-2, 2), min_size=2, max_size=40), st.integers(2, 9))
def test_the_lowest_id_wins_a_tie(values, width):
    token, best, second = top_two(torch.tensor([values], dtype=torch.float32), width)
    ordered = sorted(values, reverse=True)
    assert int(token) == values.index(ordered[0])
    assert [float(best), float(second)] == ordered[:2]


def test_what_is_not_a_number_is_seen():
    logits = torch.zeros(2, 300)
    logits[0, 77] = torch.nan
    _, best, _ = top_two(logits)
    assert best.isnan().tolist() == [True, False]


class Scripted:
    """Rows whose tokens are known beforehand; keeps a record of how many are fed."""

    def __init__(self, texts, vocab=10):
        self.texts, self.vocab, self.step = list(texts), vocab, 0
        self.sizes = []
        self._show()

    def _show(self):
        tokens = torch.tensor([text[self.step] for text in self.texts])
        self.logits = torch.nn.functional.one_hot(tokens, self.vocab).float() * (self.step + 1)

    def feed(self, tokens):
        assert tokens.tolist() == [text[self.step] for text in self.texts]
        self.sizes.append(len(tokens))
        self.step += 1
        self._show()

    def keep(self, rows):
        self.texts = [self.texts[row] for row in rows.tolist()]


def test_rows_leave_when_they_have_ended():
    texts = [[1, 2, 3, 4], [5, 0, 9, 9], [0, 9, 9, 9], [6, 7, 0, 9], [3, 3, 3, 0]]
    rows = Scripted(texts)
    found = greedy(rows, 4, frozenset({0}))
    assert [row.ids for row in found] == [(1, 2, 3, 4), (5,), (), (6, 7), (3, 3, 3)]
    assert rows.sizes == [4, 3, 2]
    assert [row.min_margin for row in found] == [1, 1, 1, 1, 1]
    assert all(row.finite for row in found)


def test_the_margin_is_the_smallest_until_the_end():
    rows = Scripted([[1, 2, 0, 5], [1, 2, 3, 4]])
    rows.logits[0] *= 9
    found = greedy(rows, 4, frozenset({0}))
    assert [row.min_margin for row in found] == [2, 1]


def test_log_probabilities_are_those_of_a_softmax():
    logits = torch.randn(3, 50)
    found = torch.tensor(log_probabilities(logits, [4, 9]))
    assert torch.allclose(found, logits.log_softmax(-1)[:, [4, 9]], atol=1e-6)
    assert log_probabilities(logits, []) == [()] * 3


class Shown:
    """Rows of which only the first token is asked."""

    def __init__(self, logits):
        self.logits = logits


def test_how_sure_the_first_token_is():
    logits = torch.randn((5, 300), generator=torch.Generator().manual_seed(0)) * 3
    logits[4, 7:] = -torch.inf
    answers = greedy(Shown(logits), 1, frozenset())
    for row, first in zip(logits, (answer.first for answer in answers), strict=True):
        chances = row.double().softmax(-1)
        best = row.topk(2).values
        assert first.logprob == pytest.approx(float(chances.max().log()), abs=1e-5)
        assert first.entropy == pytest.approx(float(torch.special.entr(chances).sum()), abs=1e-4)
        assert first.margin == pytest.approx(float(best[0] - best[1]), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_how_sure_where_logits_are_not_finite(dtype):
    """To the last bit, row by row: what is impossible is left out only where there is such."""
    logits = (torch.randn((9, 300), generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    logits[0, 7:] = logits[1, :299] = logits[2] = -torch.inf
    logits[3, 5], logits[4, 5], logits[5, [3, 9]] = torch.inf, torch.nan, torch.inf
    logits[6, :290], logits[7, 3] = torch.finfo(dtype).min, torch.finfo(dtype).max
    found = [answer.first for answer in greedy(Shown(logits), 1, frozenset())]
    for row, first in zip(logits.float(), found, strict=True):
        probs = row.softmax(-1)
        mean = (probs * row).sum()
        if mean.isnan():
            mean = (probs * row.masked_fill(torch.isneginf(row), 0.0)).sum()
        likeliest = probs.amax().log()
        expected = [float(likeliest), float(row.amax() - likeliest - mean)]
        assert repr([first.logprob, first.entropy]) == repr(expected)


def test_what_is_not_a_number_is_no_sureness():
    logits = torch.zeros((1, 300))
    logits[0, 3] = torch.nan
    (answer,) = greedy(Shown(logits), 1, frozenset())
    assert not any(math.isfinite(value) for value in answer.first)


class Drawn:
    """Rows whose logits are drawn beforehand, by step and row."""

    def __init__(self, table):
        self.table, self.step, self.rows = table, 0, torch.arange(table.shape[1])

    @property
    def logits(self):
        return self.table[self.step][self.rows]

    def feed(self, _tokens):
        self.step += 1

    def keep(self, rows):
        self.rows = self.rows[rows]


def test_of_rows_that_are_measured_the_mean_is_that_of_their_own_tokens():
    """The end token is no part of an answer; rows that have ended leave the batch on the way."""
    table = torch.randn((4, 6, 20), generator=torch.Generator().manual_seed(0)) * 2
    table[1, 1, 0] = table[0, 2, 0] = table[2, 4, 0] = 50.0
    found = greedy(Drawn(table), 4, frozenset({0}), measured=(1, 2, 3, 4))
    assert [len(answer.ids) for answer in found[1:5]] == [1, 0, 4, 2]
    for row, answer in enumerate(found):
        if row in (1, 3, 4):
            logprobs = table[:, row].double().log_softmax(-1)
            own = [float(logprobs[step, token]) for step, token in enumerate(answer.ids)]
            assert answer.mean_logprob == pytest.approx(sum(own) / len(own), abs=1e-5)
        else:
            assert answer.mean_logprob is None
