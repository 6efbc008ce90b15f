"""Every path of the engine equals the oracle: same tokens, same probabilities, in float32."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from crosslatent import engine
from crosslatent.core.errors import PairError
from crosslatent.core.specs import Site
from crosslatent.engine import Batches, EnginePath, oracle
from crosslatent.engine.requests import Request
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.kinds.transplant import Transplant
from support.models import FAMILIES
from support.rows import AUX, MAIN, all_rows, answers, assert_equal, ids_of, wrapped

SHARED, EXPANDED = EnginePath("shared-prefix"), EnginePath("expanded-cache")
NEW_TOKENS = 6
PROMPTS = {"one-token": "A", "short": MAIN, "long": MAIN * 4}
OPTIONS = ((40, 41, 42), (40, 41, 43), (40, 50), (60,), (70, 71))


DIFFERENT = ("llama", "gemma2", "gpt_oss", "falcon-alibi")
"""Families whose rows differ the most in how they are padded; `make test-contracts` has all."""


ASKED = {"max_new_tokens": NEW_TOKENS, "watch": [5, 40, 80], "options": OPTIONS}


@cache
def right_answers(main):
    """What the oracle gives for rows of a Llama."""
    model = wrapped()
    rows = all_rows(model, ids_of(model, AUX))
    return oracle.run_rows(model, ids_of(model, main), rows, **ASKED)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("main", "step"), [("A", 3), (MAIN, 1), (MAIN * 4, 3)], ids=PROMPTS)
def test_the_best_path_equals_the_oracle(family, main, step):
    """Every pair of one prompt; of the others a third of them, in which every layer is both.

    Every pair of families that differ the most: the contracts have them of all.
    """
    model = wrapped(family)
    ids = ids_of(model, main)
    if family not in DIFFERENT:
        step = 3
    rows = all_rows(model, ids_of(model, AUX))[::step]
    asked = ASKED if family in DIFFERENT else ASKED | {"options": OPTIONS[1:4]}
    slow = oracle.run_rows(model, ids, rows, **asked)
    assert_equal(engine.run_rows(model, ids, rows, **asked), slow)
    # Rows that all give the unmodified answer would prove nothing.
    assert len(set(answers(slow))) >= 15 / step


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in DIFFERENT else [pytest.mark.slow])
        for family in FAMILIES
    ],
)
def test_rows_of_many_prompts_share_batches(family):
    """Prompts of one token, of unequal and of equal length, padded beside each other."""
    model = wrapped(family)
    aux = ids_of(model, AUX)
    prompts = [ids_of(model, text) for text in ("A", MAIN, MAIN[:-1] + "?", AUX, MAIN * 2)]
    rows = tuple(all_rows(model, aux, ["ffn", "attn_residual"])[::3])
    requests = [
        Request(tuple(ids), rows[at:], (5, 40 + at), OPTIONS[at:]) for at, ids in enumerate(prompts)
    ]
    together = list(engine.run(model, requests, max_new_tokens=NEW_TOKENS))
    distinct = set()
    for request, answered in zip(requests, together, strict=True):
        slow = oracle.run_rows(
            model,
            request.main,
            request.rows,
            max_new_tokens=NEW_TOKENS,
            watch=request.watch,
            options=request.options,
        )
        assert_equal(answered.rows, slow)
        distinct |= set(answers(slow))
    assert len(distinct) >= 20


@pytest.mark.parametrize("path", [SHARED, EXPANDED], ids=lambda path: path.name)
@pytest.mark.parametrize("main", PROMPTS.values(), ids=PROMPTS.keys())
def test_both_fast_paths_equal_the_oracle(path, main):
    model = wrapped()
    ids, rows = ids_of(model, main), all_rows(model, ids_of(model, AUX))
    assert_equal(engine.run_rows(model, ids, rows, path=path, **ASKED), right_answers(main))


@pytest.mark.parametrize("path", [SHARED, EXPANDED], ids=lambda path: path.name)
@pytest.mark.parametrize("window", [2, 5, 33])
def test_sliding_windows_shorter_than_the_prompt_are_right(path, window):
    model = wrapped("mistral", sliding_window=window)
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX), ["ffn"])
    asked = {"max_new_tokens": NEW_TOKENS, "options": OPTIONS}
    slow = oracle.run_rows(model, ids, rows, **asked)
    assert_equal(engine.run_rows(model, ids, rows, path=path, **asked), slow)
    full = wrapped("mistral", sliding_window=None)
    assert answers(oracle.run_rows(full, ids, rows, **asked)) != answers(slow)


def test_sliding_windows_of_padded_prompts_are_right():
    model = wrapped("mistral", sliding_window=5)
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    requests = [
        Request(tuple(ids_of(model, text)), rows, (), OPTIONS) for text in ("AB", "ABCDE", MAIN)
    ]
    together = engine.run(model, requests, max_new_tokens=NEW_TOKENS, path=SHARED)
    for request, answered in zip(requests, together, strict=True):
        asked = {"max_new_tokens": NEW_TOKENS, "options": OPTIONS}
        assert_equal(answered.rows, oracle.run_rows(model, request.main, rows, **asked))


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_heads_that_share_keys_are_right(heads):
    model = wrapped(num_attention_heads=heads[0], num_key_value_heads=heads[1])
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX), ["attn"])
    slow = oracle.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    fast = engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS, path=SHARED)
    assert_equal(fast, slow)


@pytest.mark.parametrize("path", [SHARED, EXPANDED], ids=lambda path: path.name)
@pytest.mark.parametrize("batch_rows", [1, 7, 64])
@pytest.mark.parametrize("chunk", [None, 4])
def test_batch_size_and_chunks_change_nothing(path, batch_rows, chunk):
    model = wrapped()
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    settings = {"max_new_tokens": NEW_TOKENS, "options": OPTIONS, "path": path}
    usual = engine.run_rows(model, ids, rows, **settings)
    other = engine.run_rows(model, ids, rows, **settings, batch_rows=batch_rows, chunk=chunk)
    assert_equal(other, usual)


@pytest.mark.parametrize("path", [SHARED, EXPANDED], ids=lambda path: path.name)
def test_rows_that_end_early_leave_and_do_not_disturb_the_others(path):
    model = wrapped()
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX))
    model.hf.generation_config.eos_token_id = list(range(0, 256, 12))
    slow = oracle.run_rows(model, ids, rows, max_new_tokens=12)
    assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=12, path=path), slow)
    assert len({len(answer) for answer in answers(slow)}) >= 5


def test_the_unmodified_answer_can_be_asked_for_more_than_once_or_not_at_all():
    model = wrapped()
    ids = ids_of(model, MAIN)
    edited = all_rows(model, ids_of(model, AUX), ["ffn"])[1:]
    for rows in ([(), (), ()], [edited[3], (), edited[0], ()], edited[:2], edited[5:6], []):
        slow = oracle.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
        assert_equal(engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS), slow)


def rich_rows(model, aux, positions):
    """Rows with several edits, strengths other than 1, and several positions."""
    vectors = capture_ids(model, [aux], ["attn", "ffn", "block"], positions=positions)

    def edit(kind, source, target, strength=1.0):
        return Transplant(Site(kind, target), vectors[kind][0, source], strength)

    rows = [(), (edit("attn", 0, 3), edit("ffn", 2, 1)), (edit("ffn", 1, 1, 0.5),)]
    rows += [(edit("block", 1, 2, -1.0),), (edit("attn", 3, 2, 2.0), edit("attn", 1, 0, 0.25))]
    rows += [(edit("ffn", i, j, 0.25 * (i + 1)),) for i in range(4) for j in range(4)]
    return rows


@cache
def rich_answers(positions, chunk):
    """A model, rows that touch several tokens or one, and what the oracle gives for them."""
    model = wrapped()
    # Rows that touch fewer tokens share the batch.
    rows = rich_rows(model, ids_of(model, AUX), positions)
    rows += all_rows(model, ids_of(model, AUX), ["ffn"])
    return model, rows, oracle.run_rows(model, ids_of(model, MAIN), rows, chunk=chunk, **ASKED)


@pytest.mark.parametrize("path", [SHARED, EXPANDED], ids=lambda path: path.name)
@pytest.mark.parametrize("positions", [1, 2, 5])
@pytest.mark.parametrize("chunk", [None, 3])
def test_several_edits_strengths_and_positions_equal_the_oracle(path, positions, chunk):
    model, rows, slow = rich_answers(positions, chunk)
    assert_equal(engine.run_rows(model, ids_of(model, MAIN), rows, path=path, **ASKED), slow)
    assert len(set(answers(slow))) >= 12


def test_strength_zero_changes_nothing_and_one_is_the_vector_itself():
    model = wrapped()
    ids = ids_of(model, MAIN)
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    rows = [
        (),
        (Transplant(Site("ffn", 1), vector, 0.0),),
        (Transplant(Site("ffn", 1), vector, 1.0),),
    ]
    vanilla, nothing, all_of_it = engine.run_rows(model, ids, rows, max_new_tokens=NEW_TOKENS)
    assert nothing.ids == vanilla.ids != all_of_it.ids


def test_positions_from_prompts_of_different_tails_do_not_share_a_batch_by_mistake():
    model = wrapped()
    aux = ids_of(model, AUX)
    requests = [
        Request(tuple(ids_of(model, "A")), tuple(rich_rows(model, aux, 1))),
        Request(tuple(ids_of(model, MAIN)), tuple(rich_rows(model, aux, 4))),
        Request(tuple(ids_of(model, "ABCD")), tuple(rich_rows(model, aux, 4))),
    ]
    found = list(engine.run(model, requests, max_new_tokens=NEW_TOKENS))
    for request, answered in zip(requests, found, strict=True):
        slow = oracle.run_rows(model, request.main, request.rows, max_new_tokens=NEW_TOKENS)
        assert_equal(answered.rows, slow)


def test_requests_that_touch_fewer_tokens_can_share_a_batch():
    model = wrapped()
    aux = ids_of(model, AUX)
    requests = [
        Request(tuple(ids_of(model, MAIN)), tuple(rich_rows(model, aux, 3))),
        Request(tuple(aux), ((),), (5,), OPTIONS, least_tail=3),
    ]
    (group,) = Batches(model, SHARED, NEW_TOKENS)._groups(requests)
    assert len(group[1]) == 2
    found = list(engine.run(model, requests, max_new_tokens=NEW_TOKENS))
    asked = {"max_new_tokens": NEW_TOKENS, "watch": (5,), "options": OPTIONS}
    assert_equal(found[1].rows, oracle.run_rows(model, aux, [()], **asked))


def test_long_options_are_scored():
    model = wrapped()
    ids = ids_of(model, "Jibu:")
    option = tuple(ids_of(model, MAIN * 6))
    asked = {"max_new_tokens": 1, "options": [option, option[:100], (), option[:1]]}
    fast = engine.run_rows(model, ids, [()], **asked, path=SHARED)
    slow = oracle.run_rows(model, ids, [()], **asked)
    assert fast[0].scores == pytest.approx(slow[0].scores, abs=1e-2)


def test_rows_that_cannot_be_are_refused():
    model = wrapped()
    vector = torch.zeros(model.d_model)
    twice = (Transplant(Site("attn", 0), vector), Transplant(Site("attn_residual", 0), vector))
    with pytest.raises(PairError, match="edits attn of block 0 more than once"):
        engine.run_rows(model, [5, 6], [twice], max_new_tokens=1)
    long = (Transplant(Site("ffn", 0), torch.zeros(3, model.d_model)),)
    with pytest.raises(PairError, match="the last 3 tokens, but the prompt has 2"):
        engine.run_rows(model, [5, 6], [long], max_new_tokens=1)
    with pytest.raises(PairError, match="the last 3 tokens, but the prompt has 2"):
        oracle.run_rows(model, [5, 6], [long], max_new_tokens=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_the_oracle(dtype):
    model = wrapped()
    model.hf.to(dtype)
    ids, rows = ids_of(model, MAIN), all_rows(model, ids_of(model, AUX), ["ffn"])
    asked = {"max_new_tokens": 1, "watch": [5, 40, 80], "options": OPTIONS}
    slow = oracle.run_rows(model, ids, rows, **asked)
    fast = engine.run_rows(model, ids, rows, **asked)
    worst = max(
        abs(x - y)
        for one, other in zip(fast, slow, strict=True)
        for x, y in zip(one.watched + one.scores, other.watched + other.scores, strict=True)
    )
    spread = max(x for one in slow for x in one.watched) - min(
        x for one in slow for x in one.watched
    )
    assert worst < 0.1 * spread


def test_the_model_is_as_it_was_after_success_and_after_an_exception():
    model = wrapped()
    usual = model.hf.config._attn_implementation
    ids = ids_of(model, MAIN)
    wrong = (Transplant(Site("attn", 1), torch.zeros(model.d_model, device="meta")),)
    engine.run_rows(model, ids, [()], max_new_tokens=2, path=SHARED)
    with pytest.raises(RuntimeError):
        engine.run_rows(model, ids, [wrong], max_new_tokens=2, path=SHARED)
    assert model.hf.config._attn_implementation == usual
    for module in model.hf.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
