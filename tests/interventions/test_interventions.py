"""Every kind of intervention, on every kind of tokens, is what its formula says, on every path."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from transformers import GenerationConfig

from crosslatent import engine
from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.specs import EXPANDED_CACHE, ORACLE, SHARED_PREFIX, Site
from crosslatent.engine import EnginePath, oracle
from crosslatent.engine.requests import Request
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import (
    ALL,
    BUT_THE_FIRST,
    KINDS,
    LAST,
    PROMPT,
    Intervention,
    Tokens,
    register_intervention,
)
from crosslatent.interventions.kinds.ablate import Ablate
from crosslatent.interventions.kinds.linear_map import LinearMap
from crosslatent.interventions.kinds.push import Push
from crosslatent.interventions.kinds.scale import Scale
from crosslatent.interventions.kinds.steer import Steer
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import everywhere, intervened
from crosslatent.model.trace import hidden_of, with_hidden
from support.rows import ids_of, wrapped
from support.two_stacks import wrapped_stacks

MAIN = "Swali la kwanza ni lipi? Jibu:"
OTHER = "Mji mkuu ni upi? Jibu la swali hili:"
NEW_TOKENS = 5
WATCH = (40, 50, 60, 70, 80, 90)
OPTIONS = ((70, 71, 72), (70, 75), (80,))
SPAN = Tokens("span", start=2, stop=7)
EVERY = {
    "last": LAST,
    "last three": Tokens("last", 3),
    "span": SPAN,
    "prompt": PROMPT,
    "all": ALL,
    "prompt but two": Tokens("prompt", start=2),
    "all but the first": BUT_THE_FIRST,
}


@cache
def model_of(family):
    return wrapped_stacks(family) if family == "t5" else wrapped(family)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_of(model, tokens):
    """One row of each kind, and one of several."""
    d = model.d_model
    ray = drawn(d)
    basis = torch.linalg.qr(drawn(d, 2))[0].T
    steer = Steer(Site("block", 1), drawn(d, seed=1), 2.0, tokens=tokens)
    zero = Ablate(Site("ffn", 2), units=(0, 3, 5, 7), tokens=tokens)
    rows = [
        (steer,),
        (Steer(Site("block", 0), ray / ray.norm(), 3.0, 1.5, tokens=tokens),),
        (zero,),
        (Ablate(Site("attn", 1), scale=4.0, tokens=tokens),),
        (Ablate(Site("ffn", 1), means=drawn(d, seed=2), tokens=tokens),),
        (Ablate(Site("block", 2), directions=basis, tokens=tokens),),
        (
            Push(Site("block", 1), drawn(d, seed=1), 0.7, "relative", tokens=tokens),
            Scale(Site("neurons", 2), 4 * drawn(model.width("neurons")), tokens),
        ),
        (
            LinearMap(Site("attn", 1), drawn(5, d, seed=4), drawn(5, d, seed=5), 0.5, tokens),
            Push(Site("block", 2), drawn(d, seed=3), 4.0, "unit", keep_norm=True, tokens=tokens),
        ),
        (steer, zero),
    ]
    vectors = capture_ids(model, [ids_of(model, OTHER)], ["ffn"])["ffn"][0]
    return [(), *rows, (*rows[0], Transplant(Site("ffn", 3), vectors[0]))]


def close(found, expected):
    assert found.watched == pytest.approx(expected.watched, abs=1e-3)
    assert found.scores == pytest.approx(expected.scores, abs=1e-3)
    assert found.mean_logprob == pytest.approx(expected.mean_logprob, abs=1e-3)
    if expected.min_margin > 1e-3:
        assert found.ids == expected.ids


def one_by_one(model, main, rows):
    return oracle.run_rows(
        model, main, rows, max_new_tokens=NEW_TOKENS, watch=WATCH, options=OPTIONS
    )


@pytest.mark.parametrize("tokens", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("llama", SHARED_PREFIX),
        ("llama", EXPANDED_CACHE),
        ("gemma2", SHARED_PREFIX),
        ("falcon", EXPANDED_CACHE),
    ],
)
def test_every_path_equals_the_oracle(family, path, tokens):
    model = model_of(family)
    mains = [ids_of(model, MAIN), ids_of(model, OTHER)]
    rows = rows_of(model, tokens)
    requests = [Request(tuple(main), tuple(rows), WATCH, OPTIONS) for main in mains]
    answers = list(
        engine.run(model, requests, max_new_tokens=NEW_TOKENS, path=EnginePath(path), chunk=7)
    )
    moved = 0
    for main, answered in zip(mains, answers, strict=True):
        expected = one_by_one(model, main, rows)
        for found, right in zip(answered.rows, expected, strict=True):
            close(found, right)
        moved += sum(right.watched != expected[0].watched for right in expected[1:])
        assert len({right.ids for right in expected}) > 1
    # A window may hide tokens in the middle from the last one.
    assert moved >= 2 * (len(rows) - 1) - (tokens is SPAN)


@pytest.mark.parametrize("tokens", [LAST, PROMPT, ALL], ids=["last", "prompt", "all"])
def test_where_an_encoder_reads_the_prompt(tokens):
    model = model_of("t5")
    main, rows = ids_of(model, MAIN), rows_of(model, tokens)
    found = engine.run_rows(
        model, main, rows, max_new_tokens=NEW_TOKENS, watch=WATCH, options=OPTIONS
    )
    for answer, right in zip(found, one_by_one(model, main, rows), strict=True):
        close(answer, right)


@pytest.mark.parametrize("path", [SHARED_PREFIX, ORACLE])
def test_rows_of_one_request_may_touch_different_tokens(path):
    model = model_of("llama")
    main = ids_of(model, MAIN)
    rows = [row for tokens in EVERY.values() for row in rows_of(model, tokens)[:4]]
    request = Request(tuple(main), tuple(rows), WATCH, OPTIONS)
    found = list(engine.run(model, [request] * 2, max_new_tokens=NEW_TOKENS, path=EnginePath(path)))
    expected = one_by_one(model, main, rows)
    for answered in found:
        for answer, right in zip(answered.rows, expected, strict=True):
            close(answer, right)


def by_hand(model, main, site, change, mask):
    """Log-probabilities of the next token, with a hook of torch alone."""
    block = model.blocks[site.layer]
    module = {"block": block.whole, "ffn": block.ffn, "attn": block.attn}[site.component]

    def hook(_module, _args, output):
        hidden = hidden_of(output).clone()
        hidden[0, mask] = change(hidden[0, mask])
        return with_hidden(output, hidden)

    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(module.register_forward_hook(hook).remove)
        return model.hf(torch.tensor([main])).logits[0, -1].log_softmax(-1)


def formulas(model):
    d = model.d_model
    vector, means = drawn(d, seed=1).float(), drawn(d, seed=2).float()
    ray = drawn(d)
    ray = (ray / ray.norm()).float()
    basis = torch.linalg.qr(drawn(d, 2))[0].T.float()
    square = drawn(d, d).float()
    unit = torch.zeros(d)
    unit[[0, 3]] = 1
    block, ffn = Site("block", 1), Site("ffn", 2)
    return [
        (Steer, block, {"vector": vector, "alpha": 2.0}, lambda h: h + 2 * vector),
        (
            Steer,
            block,
            {"vector": ray, "alpha": 3.0, "place": 1.5},
            lambda h: h + 3 * (1.5 - h @ ray)[:, None] * ray,
        ),
        (Ablate, ffn, {"units": (0, 3)}, lambda h: h * (1 - unit)),
        (Ablate, ffn, {"units": (0, 3), "scale": 2.0}, lambda h: h * (1 + unit)),
        (Ablate, ffn, {"scale": 0.5}, lambda h: h / 2),
        (
            Ablate,
            ffn,
            {"units": (0, 3), "means": means, "scale": 0.25},
            lambda h: h + 0.75 * (means - h) * unit,
        ),
        (Ablate, block, {"directions": basis}, lambda h: h - (h @ basis.T) @ basis),
        (
            Push,
            block,
            {"vector": vector, "alpha": 0.5, "scale": "relative"},
            lambda h: h + 0.5 * h.norm(dim=-1)[:, None] * vector / vector.norm(),
        ),
        (
            Push,
            block,
            {"vector": vector, "alpha": 2.0, "scale": "unit", "keep_norm": True},
            lambda h: same_length(h, h + 2 * vector / vector.norm()),
        ),
        (LinearMap, ffn, {"into": square, "alpha": -0.5}, lambda h: h - 0.5 * h @ square.T),
        (
            LinearMap,
            ffn,
            {"into": square[:3], "out": square[3:6]},
            lambda h: h + h @ (square[3:6].T @ square[:3]).T,
        ),
        (LinearMap, ffn, {"into": None, "alpha": 0.5}, lambda h: 1.5 * h),
        (Scale, ffn, {"factors": means}, lambda h: h * means),
    ]


def same_length(before, after):
    return after * (before.norm(dim=-1) / after.norm(dim=-1))[:, None]


@pytest.mark.parametrize("number", range(13))
@pytest.mark.parametrize("name", EVERY)
def test_numbers_are_those_of_the_formula(name, number):
    model = model_of("llama")
    main, tokens = ids_of(model, MAIN), EVERY[name]
    kind, site, settings, change = formulas(model)[number]
    length = len(main)
    mask = {
        "last": [length - 1],
        "last three": [length - 3, length - 2, length - 1],
        "span": list(range(2, 7)),
        "prompt": list(range(length)),
        "all": list(range(length)),
        "prompt but two": list(range(2, length)),
        "all but the first": list(range(1, length)),
    }[name]
    right = by_hand(model, main, site, change, mask)
    (found,) = oracle.run_rows(
        model, main, [(kind(site, **settings, tokens=tokens),)], max_new_tokens=1, watch=WATCH
    )
    assert found.watched == pytest.approx([float(right[token]) for token in WATCH], abs=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tokens", EVERY.values(), ids=EVERY)
def test_generate_under_interventions_answers_like_the_oracle(tokens, batch):
    model = model_of("llama")
    main = ids_of(model, MAIN)
    plain = GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=sorted(model.eos_ids),
        pad_token_id=0,
    )  # fmt: skip
    texts = [main[4:], main, main[2:]][:batch] if batch > 1 else [main]
    width = max(map(len, texts))
    ids = torch.tensor([[0] * (width - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts])
    for row in rows_of(model, tokens)[1:]:
        with intervened(model, [row]):
            found = model.hf.generate(ids, attention_mask=mask, generation_config=plain)
        for text, answer in zip(texts, found[:, width:].tolist(), strict=True):
            (right,) = oracle.run_rows(model, text, [row], max_new_tokens=NEW_TOKENS)
            if right.min_margin > 1e-3:
                assert tuple(answer[: len(right.ids)]) == right.ids


NEUTRAL = {
    "push": lambda d, scale: Push(Site("block", 1), drawn(d), 0.0, scale),
    "push that keeps lengths": lambda d, scale: Push(Site("block", 1), drawn(d), 0.0, scale, True),
    "push of nothing": lambda d, scale: Push(Site("block", 1), torch.zeros(d), 3.0, scale),
    "map": lambda d, _: LinearMap(Site("block", 1), drawn(d, d), alpha=0.0, tokens=ALL),
    "thin map": lambda d, _: LinearMap(Site("ffn", 1), drawn(3, d), drawn(3, d), 0.0, ALL),
    "scale": lambda d, _: Scale(Site("ffn", 1), torch.ones(d)),
}


@pytest.mark.parametrize("scale", ["raw", "unit", "relative"])
@pytest.mark.parametrize("name", NEUTRAL)
def test_nothing_is_changed_bit_for_bit_by_what_changes_nothing(name, scale):
    model = model_of("llama")
    main = ids_of(model, MAIN)
    row = (NEUTRAL[name](model.d_model, scale),)
    plain, found = one_by_one(model, main, [(), row])
    assert (found.ids, found.watched, found.scores) == (plain.ids, plain.watched, plain.scores)


@pytest.mark.parametrize("scale", ["raw", "unit", "relative"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_push_that_keeps_lengths_does(scale, dtype):
    own = 100 * drawn(9, 32, seed=7).to(dtype)
    push = Push(Site("block", 0), drawn(32), 2.0, scale, keep_norm=True)
    moved = push.change(own)
    assert moved.dtype == dtype
    assert (moved != own).any()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    before, after = own.float().norm(dim=-1), moved.float().norm(dim=-1)
    torch.testing.assert_close(after, before, rtol=tolerance, atol=0)


def test_a_push_of_zeros_stays_finite():
    own = torch.zeros(2, 8)
    for scale in ("raw", "unit", "relative"):
        push = Push(Site("block", 0), torch.zeros(8), 1.0, scale, keep_norm=True)
        assert torch.equal(push.change(own), own)


def test_the_first_token_is_left_alone():
    model = model_of("llama")
    main = ids_of(model, MAIN)
    row = (Push(Site("block", 0), drawn(model.d_model), 1.0, "relative", tokens=BUT_THE_FIRST),)
    short = main[:1]
    plain, found = one_by_one(model, short, [(), row])
    assert found.watched == plain.watched  # The only token of the prompt ...
    assert found.scores != plain.scores  # ... but not of the answer.
    assert row[0].tokens.about == "at every token but the first 1"
    with pytest.raises(PairError, match="where there is no prompt"), everywhere(model, row):
        pass


def test_prompts_of_a_batch_may_have_interventions_of_their_own():
    model = model_of("llama")
    texts = [ids_of(model, MAIN)[-20:], ids_of(model, OTHER)[-20:]]
    rows = [(Steer(Site("block", 1), drawn(model.d_model, seed=at), 3.0),) for at in range(2)]
    with intervened(model, rows), torch.no_grad():
        logits = model.hf(torch.tensor(texts)).logits[:, -1].log_softmax(-1)
    for text, row, found in zip(texts, rows, logits, strict=True):
        (right,) = oracle.run_rows(model, text, [row], max_new_tokens=1, watch=WATCH)
        assert right.watched == pytest.approx([float(found[token]) for token in WATCH], abs=1e-4)


def test_what_cannot_be_done_is_one_sentence():
    model = model_of("llama")
    main = ids_of(model, MAIN)
    with pytest.raises(PairError, match="the last 0 tokens: give 1 or more"):
        Tokens("last", 0)
    with pytest.raises(PairError, match="from 5 up to and without 5"):
        Tokens("span", start=5, stop=5)
    late = Ablate(Site("ffn", 0), tokens=Tokens("span", start=0, stop=len(main) + 1))
    with pytest.raises(PairError, match=f"but the prompt has {len(main)}: end the span within it"):
        oracle.run_rows(model, main, [(late,)], max_new_tokens=1)
    twice = (Ablate(Site("ffn", 0)), Ablate(Site("ffn", 0), units=(1,)))
    with pytest.raises(PairError, match="edits ffn of block 0 more than once"):
        oracle.run_rows(model, main, [twice], max_new_tokens=1)
    different = [(Ablate(Site("ffn", 0)),), (Ablate(Site("ffn", 1)),)]
    with pytest.raises(PairError, match="other sites or tokens"), intervened(model, different):
        pass


def test_kinds_are_registered_once():
    for name, kind in {"transplant": Transplant, "steer": Steer, "push": Push}.items():
        assert KINDS[name] is kind
        assert KINDS.name_of(kind) == name
    with pytest.raises(UsageError, match="'steer' of .* has a name that is taken .by crosslatent"):
        register_intervention("steer")(Ablate)


def test_a_kind_of_ones_own_goes_every_way(monkeypatch):
    """One class, no edit elsewhere: oracle, both fast paths and `generate` take it."""
    monkeypatch.setattr(KINDS, "_kinds", dict(KINDS._kinds))

    @dataclass(frozen=True, slots=True, eq=False)
    class Flip(Intervention):
        site: Site
        tokens: Tokens = LAST

        def change(self, own, _back=None, /):
            return own.flip(-1)

    model = model_of("llama")
    main = ids_of(model, MAIN)
    assert register_intervention("flip-of-a-test")(Flip) is Flip
    rows = [(Flip(Site("block", 1), tokens),) for tokens in EVERY.values()]
    expected = one_by_one(model, main, rows)
    assert len({(answer.watched, answer.min_margin) for answer in expected}) == len(rows)
    for path in (SHARED_PREFIX, EXPANDED_CACHE):
        request = Request(tuple(main), tuple(rows), WATCH, OPTIONS)
        (answered,) = engine.run(model, [request], max_new_tokens=NEW_TOKENS, path=EnginePath(path))
        for found, right in zip(answered.rows, expected, strict=True):
            close(found, right)
    with intervened(model, [rows[0]]), torch.no_grad():
        logits = model.hf(torch.tensor([main])).logits[0, -1].log_softmax(-1)
    assert expected[0].watched == pytest.approx([float(logits[at]) for at in WATCH], abs=1e-4)


def test_an_ablation_that_does_nothing_is_refused_and_others_say_what_they_do():
    site = Site("ffn", 1)
    with pytest.raises(PairError, match="The scale of an ablation is inf"):
        Ablate(site, scale=math.inf)
    with pytest.raises(PairError, match="names no unit"):
        Ablate(site, ())
    projected = Ablate(site, directions=torch.eye(32)[:3])
    assert re.match("3 directions of .* projected out, .*last", projected.about)
    around = Ablate(site, (0, 1), scale=0.5, means=torch.zeros(32))
    assert re.match("2 dimensions of .* scaled by 0.5 around their means, ", around.about)
