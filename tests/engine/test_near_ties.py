"""Near-ties are found, and answered again so that they do not depend on the batch."""

from __future__ import annotations

import math

import pytest
import torch

from crosslatent import engine
from crosslatent.core.errors import ModelError
from crosslatent.core.specs import EXACT, near_tie_margin
from crosslatent.engine import Answered, EnginePath, near_ties, oracle
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.requests import Request
from support.rows import AUX, MAIN, all_rows, answers, ids_of, wrapped


def request_of(model, options=()):
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    return Request(tuple(ids_of(model, MAIN)), rows, (), options)


def answered_of(model, request):
    (answered,) = engine.run(model, [request], max_new_tokens=4)
    return answered


def margins_of(answered):
    return [row.min_margin for row in answered.rows]


def test_only_near_ties_are_given_again(monkeypatch):
    model = wrapped()
    request = request_of(model)
    before = answered_of(model, request)
    threshold = sorted(margins_of(before))[5]
    monkeypatch.setattr(near_ties, "near_tie_margin", lambda dtype: threshold)
    after = TieBreaker(model, 4).settle(request, before, margins_of(before))
    assert after.paths.count(EXACT) == 5
    assert [path == EXACT for path in after.paths] == [
        margin < threshold for margin in margins_of(before)
    ]
    slow = oracle.run_rows(model, request.main, request.rows, max_new_tokens=4)
    assert answers(after.rows) == answers(slow)
    for path, one, other in zip(after.paths, after.rows, slow, strict=True):
        assert (one == other) or path != EXACT


def test_rows_of_the_oracle_are_exact_already(monkeypatch):
    model = wrapped()
    request = request_of(model)
    rows = oracle.run_rows(model, request.main, request.rows, max_new_tokens=4)
    done = Answered(rows, ["oracle"] * len(rows), [0.0] * len(rows))
    monkeypatch.setattr(near_ties, "near_tie_margin", lambda dtype: math.inf)
    settled = TieBreaker(model, 4).settle(request, done, margins_of(done))
    assert settled.rows == rows
    assert set(settled.paths) == {EXACT}
    assert settled.seconds == done.seconds


@pytest.mark.parametrize("path", ["shared-prefix", "oracle"])
def test_half_precision_is_settled_in_float32(monkeypatch, path):
    model = wrapped()
    model.hf.to(torch.bfloat16)
    request = request_of(model)
    monkeypatch.setattr(near_ties, "near_tie_margin", lambda dtype: math.inf)
    (before,) = engine.run(model, [request], max_new_tokens=4, path=EnginePath(path))
    settled = TieBreaker(model, 4).settle(request, before, margins_of(before))
    assert model.hf.dtype == torch.bfloat16
    exact = wrapped()
    exact.hf.load_state_dict(model.hf.state_dict())
    slow = oracle.run_rows(exact, request.main, request.rows, max_new_tokens=4)
    assert answers(settled.rows) == answers(slow)
    assert set(settled.paths) == {EXACT}


def test_too_little_memory_for_float32_is_said(monkeypatch):
    model = wrapped()
    model.hf.to(torch.bfloat16)

    def fails(_model):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(near_ties.copy, "deepcopy", fails)
    with pytest.raises(ModelError, match="the model in float32 beside itself, which --exact needs"):
        TieBreaker(model, 4)


def test_margins_are_wider_for_coarser_types():
    known = [near_tie_margin(name) for name in ("float32", "float16", "bfloat16")]
    assert known == sorted(known)
    assert near_tie_margin("unknown") == known[-1]
