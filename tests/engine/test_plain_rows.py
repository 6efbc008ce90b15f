"""What is measured of unmodified rows alone: their options as wholes, and their own answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from crosslatent import engine
from crosslatent.engine import EnginePath, memory
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.requests import Request
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped

PATHS = [EnginePath(name) for name in ("shared-prefix", "expanded-cache", "oracle")]
OPTIONS = ((40, 41, 42), (40, 41, 43), (40, 50), (60,))
NEW_TOKENS = 4


@pytest.fixture(scope="module")
def model():
    return wrapped()


@torch.no_grad()
def logprobs_of(model, prompt, answer):
    """Log-probability of every token of `answer`, from one plain forward over both."""
    ids = torch.tensor([[*prompt, *answer]])
    logits = model.hf(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0].tolist()


def requests_of(model):
    """Two prompts with an unmodified row and one without, which share a batch."""
    main, aux = ids_of(model, MAIN), ids_of(model, AUX)
    rows = tuple(all_rows(model, aux, ["ffn"])[:5])
    asked = {"watch": (5,), "options": OPTIONS, "plain_only": True}
    return [
        Request(tuple(main), (rows[1], rows[0], *rows[2:]), **asked),
        Request(tuple(main[:-2]), rows[1:4], **asked),
        Request(tuple(aux), ((),), **asked | {"options": OPTIONS[:2]}),
        Request(tuple(aux), rows[:2], (5,), OPTIONS[1:]),
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_path_measures_them_as_a_plain_forward_does(model, path):
    for request, answered in zip(
        requests_of(model),
        engine.run(model, requests_of(model), max_new_tokens=NEW_TOKENS, path=path),
        strict=True,
    ):
        whole = [sum(logprobs_of(model, request.main, option)) for option in request.options]
        for row, found in zip(request.rows, answered.rows, strict=True):
            if row:
                assert found.mean_logprob is None
                assert len(found.scores) == (0 if request.plain_only else len(OPTIONS[1:]))
            else:
                assert found.scores == pytest.approx(whole, abs=1e-4)
                chosen = logprobs_of(model, request.main, found.ids)
                assert found.mean_logprob == pytest.approx(sum(chosen) / len(chosen), abs=1e-4)


@pytest.mark.parametrize("path", PATHS[:2], ids=lambda path: path.name)
def test_answers_and_watched_tokens_stay_as_they_were(model, path):
    """Reading options beside a batch leaves what follows untouched."""
    asked = requests_of(model)
    bare = [replace(one, options=(), plain_only=False) for one in asked]
    with_them, without = (
        list(engine.run(model, some, max_new_tokens=NEW_TOKENS, path=path))
        for some in (asked, bare)
    )
    for one, other in zip(with_them, without, strict=True):
        assert [row.ids for row in one.rows] == [row.ids for row in other.rows]
        for row, alone in zip(one.rows, other.rows, strict=True):
            assert row.watched == pytest.approx(alone.watched, abs=1e-5)
            assert row.min_margin == pytest.approx(alone.min_margin, abs=1e-5)


def test_near_ties_that_are_answered_again_keep_what_was_asked_of_them(model):
    (request, *_) = requests_of(model)
    (answered,) = engine.run(model, [request], max_new_tokens=NEW_TOKENS)
    again = TieBreaker(model, NEW_TOKENS).settle(request, answered, [0.0] * len(request.rows))
    for one, other in zip(again.rows, answered.rows, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_options_of_one_row_in_many_take_no_memory_in_all_of_them(model):
    (request, *_) = requests_of(model)
    sides = [memory.bytes_per_row(model, [replace(request, plain_only=only)], NEW_TOKENS)
             for only in (True, False)]  # fmt: skip
    assert sides[0] < sides[1]
