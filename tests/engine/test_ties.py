"""Near-ties are found, and answered again so that they do not depend on the batch."""

from __future__ import annotations

import math

import pytest
import torch

from crosslatent import engine, oracle
from crosslatent.decoding import Decoded
from crosslatent.engine import Answered, TieBreaker, ties
from crosslatent.requests import Request
from crosslatent.specs import near_tie_margin
from support.rows import AUX, MAIN, all_rows, answers, ids_of, wrapped


def request_of(model, options=()):
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    return Request(tuple(ids_of(model, MAIN)), rows, (), options)


def answered_of(model, request):
    (answered,) = engine.run(model, [request], max_new_tokens=4)
    return answered


def test_only_near_ties_are_run_again(monkeypatch):
    model = wrapped()
    request = request_of(model)
    before = answered_of(model, request)
    margins = sorted(row.min_margin for row in before.rows)
    monkeypatch.setattr(ties, "near_tie_margin", lambda dtype: margins[5])
    after = TieBreaker(model, 4).settle(request, before)
    assert after.paths.count("oracle") == 5
    assert [path == "oracle" for path in after.paths] == [
        row.min_margin < margins[5] for row in before.rows
    ]
    slow = oracle.run_rows(model, request.main, request.rows, max_new_tokens=4)
    assert answers(after.rows) == answers(slow)
    for path, one, other in zip(after.paths, after.rows, slow, strict=True):
        assert (one == other) or path != "oracle"


def test_rows_of_the_oracle_are_left_alone(monkeypatch):
    model = wrapped()
    request = request_of(model)
    rows = oracle.run_rows(model, request.main, request.rows, max_new_tokens=4)
    done = Answered(rows, ["oracle"] * len(rows), [0.0] * len(rows))
    monkeypatch.setattr(ties, "near_tie_margin", lambda dtype: math.inf)
    assert TieBreaker(model, 4).settle(request, done).rows == rows


def test_half_precision_is_settled_in_float32(monkeypatch):
    model = wrapped()
    model.hf.to(torch.bfloat16)
    request = request_of(model)
    monkeypatch.setattr(ties, "near_tie_margin", lambda dtype: math.inf)
    settled = TieBreaker(model, 4).settle(request, answered_of(model, request))
    assert model.hf.dtype == torch.bfloat16
    exact = wrapped()
    exact.hf.load_state_dict(model.hf.state_dict())
    slow = oracle.run_rows(exact, request.main, request.rows, max_new_tokens=4)
    assert answers(settled.rows) == answers(slow)


@pytest.mark.parametrize(
    ("scores", "margin", "tie"),
    [
        ((-4.0, -9.0), 5.0, False),
        ((-4.0, -4.0005), 5.0, True),
        # As wholes they are far apart, per token they are not.
        ((-4.0, -8.0001), 5.0, True),
        ((-4.0, -9.0), 0.0005, True),
        ((), 5.0, False),
    ],
)
def test_options_that_are_almost_as_likely_are_near_ties(scores, margin, tie):
    options = ((1, 2), (3, 4, 5, 6))[: len(scores)]
    request = Request((5,), ((),), (), options)
    decoded = Decoded((1,), (), margin, True, scores)
    assert ties.is_near_tie(decoded, request, 1e-3) == tie


def test_margins_are_wider_for_coarser_types():
    known = [near_tie_margin(name) for name in ("float32", "float16", "bfloat16")]
    assert known == sorted(known)
    assert near_tie_margin("unknown") == known[-1]
