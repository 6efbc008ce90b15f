"""The batched engine equals the oracle: same tokens, same probabilities, in float32."""

from __future__ import annotations

import pytest
import torch

from crosslatent import engine, oracle
from crosslatent.edits import Edit
from crosslatent.specs import Site
from support.models import FAMILIES
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped

NEW_TOKENS = 6
PROMPTS = ["A", MAIN, MAIN * 4]


def answers(decoded):
    return [answer.ids for answer in decoded]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("main", PROMPTS, ids=["one-token", "short", "long"])
def test_equals_the_oracle(family, main):
    model = wrapped(family)
    ids = ids_of(model, main)
    rows = all_rows(model, ids_of(model, AUX))
    options = {"max_new_tokens": NEW_TOKENS, "watch": [5, 40, 80]}
    slow = oracle.run_rows(model, ids, rows, **options)
    fast = engine.run_rows(model, ids, rows, **options)
    assert answers(fast) == answers(slow)
    assert len(set(answers(slow))) >= 15
    for one, other in zip(fast, slow, strict=True):
        assert one.watched == pytest.approx(other.watched, abs=1e-3)
        assert one.min_margin == pytest.approx(other.min_margin, abs=1e-3)


def test_sliding_windows_shorter_than_the_prompt_are_right():
    model = wrapped("mistral", sliding_window=5)
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    slow = oracle.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    fast = engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    assert answers(fast) == answers(slow)
    full = wrapped("mistral", sliding_window=None)
    without = oracle.run_rows(full, ids, rows, max_new_tokens=NEW_TOKENS)
    assert answers(without) != answers(slow)


@pytest.mark.parametrize("batch_rows", [1, 7, 64])
@pytest.mark.parametrize("chunk", [None, 4])
def test_batch_size_and_chunks_change_nothing(batch_rows, chunk):
    model = wrapped()
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    usual = engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    other = engine.run_rows(
        model, ids, rows, max_new_tokens=NEW_TOKENS, batch_rows=batch_rows, chunk=chunk
    )
    assert answers(other) == answers(usual)


def test_rows_that_end_early_do_not_disturb_the_others():
    model = wrapped()
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    free = oracle.run_rows(model, ids, rows, max_new_tokens=8)
    # End on a token that some rows say in the middle and others never.
    model.hf.generation_config.eos_token_id = free[1].ids[2]
    slow = oracle.run_rows(model, ids, rows, max_new_tokens=8)
    fast = engine.run_rows(model, ids, rows, max_new_tokens=8)
    assert answers(fast) == answers(slow)
    assert len({len(a) for a in answers(slow)}) > 1


def test_two_edits_in_one_row_equal_the_oracle():
    model = wrapped()
    ids = ids_of(model, MAIN)
    vectors = torch.randn(2, model.d_model, generator=torch.Generator().manual_seed(0))
    row = (Edit(Site("attn", 0), vectors[0]), Edit(Site("ffn", 2), vectors[1]))
    slow = oracle.run_rows(model, ids, [(), row], max_new_tokens=NEW_TOKENS)
    fast = engine.run_rows(model, ids, [(), row], max_new_tokens=NEW_TOKENS)
    assert answers(fast) == answers(slow)
    assert slow[0].ids != slow[1].ids


def _edit_left_out(monkeypatch):
    monkeypatch.setattr(engine, "_replace_rows", lambda rows, vectors: lambda hidden: hidden)


def _wrong_row(monkeypatch):
    """Each edit lands in the row after its own."""
    right = engine._replace_rows
    monkeypatch.setattr(engine, "_replace_rows", lambda rows, v: right((rows + 1) % 65, v))


def _prefix_off_by_one(monkeypatch):
    right = engine._prefix_cache
    monkeypatch.setattr(engine, "_prefix_cache", lambda m, p, c: right(m, p[:-1], c))


def _shared_suffix(monkeypatch):
    """Keys and values of the first row's last token serve all rows."""
    right = engine._last_token

    def stale(*args):
        start = right(*args)
        for layer in start.cache.layers:
            layer.keys.copy_(layer.keys[:1].clone().expand_as(layer.keys))
            layer.values.copy_(layer.values[:1].clone().expand_as(layer.values))
        return start

    monkeypatch.setattr(engine, "_last_token", stale)


@pytest.mark.parametrize(
    "sabotage", [_edit_left_out, _wrong_row, _prefix_off_by_one, _shared_suffix]
)
def test_the_comparison_notices_a_broken_engine(monkeypatch, sabotage):
    model = wrapped()
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    slow = oracle.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    sabotage(monkeypatch)
    broken = engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    assert answers(broken) != answers(slow)
