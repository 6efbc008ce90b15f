"""How often the host waits for a device: not more often for more rows or more blocks."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from crosslatent import engine
from crosslatent.answering import ask
from crosslatent.core.specs import EXPANDED_CACHE, SHARED_PREFIX
from crosslatent.engine import EnginePath, decoding
from crosslatent.engine.decoding import logsumexp
from crosslatent.engine.prefix_attention import shared_attention
from crosslatent.engine.prefix_cache import SharedCache
from crosslatent.engine.prefix_layout import Copies, Reach, Step
from crosslatent.engine.requests import Request
from crosslatent.engine.shared import SharedRows, _read_prefixes
from crosslatent.interventions.rewrites import Window
from crosslatent.model import Model
from support import accelerator
from support.rows import AUX, MAIN, all_rows, ids_of, wrapped

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("nothing_refused")]


def waits_of(work):
    """The operators for which the host waited meanwhile, and the result."""
    accelerator.waits.clear()
    result = work()
    return list(accelerator.waits), result


def logits_of(rows, vocab=300):
    logits = torch.randn((rows, vocab), generator=torch.Generator().manual_seed(rows)) * 3
    logits[1, 7:] = -torch.inf
    logits[2] = torch.nan
    logits[3, 5] = torch.inf
    return logits


@pytest.mark.parametrize("at_once", [300, 2**25])
def test_first_steps_wait_once_however_many_rows(at_once, monkeypatch):
    monkeypatch.setattr(decoding, "_LOGITS_AT_ONCE_ELSEWHERE", at_once)
    for rows in (4, 40):
        logits = logits_of(rows)
        expected = decoding._first_steps(logits)
        there = logits.to(accelerator.device())
        waits, found = waits_of(partial(decoding._first_steps, there))
        assert len(waits) == 1
        assert repr(found) == repr(expected)
        waits, mass = waits_of(partial(logsumexp, there))
        assert waits == []
        torch.testing.assert_close(mass.cpu(), logsumexp(logits), rtol=0, atol=0, equal_nan=True)


def test_what_the_accelerator_counts():
    on = torch.arange(6).to("mockgpu")
    for work, wanted in (
        (lambda: on + 1, 0), (lambda: on[2:], 0), (lambda: on[on], 0), (lambda: on.tolist(), 1),
        (lambda: on[on > 2], 1), (lambda: int(on[0]), 1), (lambda: torch.nonzero(on), 1),
        (lambda: on[torch.tensor([1])], 1), (lambda: torch.zeros(2, device="mockgpu"), 0),
        (lambda: torch.tensor([1], device="mockgpu"), 1), (lambda: on.to("mockgpu:1"), 0),
    ):  # fmt: skip
        assert len(waits_of(work)[0]) == wanted


def on_device(family="llama", **overrides):
    model = wrapped(family, **overrides)
    model.hf.to(accelerator.device())
    return model


@pytest.mark.parametrize("float64", [True, False])
def test_samples_are_those_of_the_cpu(float64, monkeypatch):
    """Without float64, a draw differs only where it hits the border of two tokens."""
    texts = [MAIN, "x", AUX]
    asked = {"samples": 6, "max_new_tokens": 5}
    plain, model = wrapped(), on_device()
    prompts = [ids_of(plain, text) for text in texts]
    expected = list(ask.sample(plain, prompts, texts, **asked))
    monkeypatch.setattr(ask, "has_float64", lambda _: float64)
    assert list(ask.sample(model, prompts, texts, **asked)) == expected
    assert len({text for found in expected for text in found}) > 10


def test_of_a_step_of_samples_the_tokens_alone_cross(monkeypatch):
    model = on_device()
    counts = []
    for samples in (2, 8):
        for steps in (3, 7):
            rows = ask.prefill(model, ask.encode_batch(model, [ids_of(model, MAIN)]))
            ask._repeat(rows, samples)
            draws = ask._draws(0, "any", samples, steps)
            waits, ids = waits_of(partial(ask._sampled, rows, draws, 1.0, frozenset()))
            assert [len(row) for row in ids] == [steps] * samples
            counts.append(len(waits))
    few, more, *others = counts
    assert others == [few, more]
    assert (more - few) / 4 <= 2, waits


STEPS = 4
TREES = Step(
    torch.tensor([[3, 3, 4], [3, 4, 4]]),
    torch.tensor([[[1, 0, 0], [0, 1, 0], [1, 0, 1]], [[1, 0, 0], [1, 1, 0], [1, 0, 1]]]).bool(),
)
"""Tokens of the options of two prompts."""


def waits_of_steps(model, path, texts, *, copies=1):
    """How often the host waits in a step of decoding in which no row ends."""
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"])) * copies
    requests = [Request(tuple(ids_of(model, text)), rows) for text in texts]
    counts = []
    for new in (2, 2 + STEPS):
        work = partial(engine.run, model, requests, max_new_tokens=new, path=EnginePath(path))
        waits, found = waits_of(lambda work=work: list(work()))
        assert all(len(row.ids) == new for answered in found for row in answered.rows)
        counts.append(len(waits))
    return (counts[1] - counts[0]) / STEPS


@pytest.fixture
def endless(monkeypatch):
    """Models without an end token."""
    monkeypatch.setattr(Model, "eos_ids", frozenset())


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_step_over_shared_prefixes_waits_once(family):
    """Whatever the number of blocks, rows and prompts, and where windows hide what is far away."""
    for layers in (2, 4):
        model = on_device(family, num_hidden_layers=layers)
        for texts, copies in (([MAIN], 1), ([MAIN, AUX, MAIN[:9]], 1), ([MAIN, AUX], 2)):
            assert waits_of_steps(model, SHARED_PREFIX, texts, copies=copies) == 1


@pytest.mark.usefixtures("endless")
def test_a_step_over_copied_prefixes_waits_as_often_for_any_rows():
    for layers in (2, 4):
        model = on_device(num_hidden_layers=layers)
        for copies in (1, 3):
            assert waits_of_steps(model, EXPANDED_CACHE, [MAIN], copies=copies) <= 2


@pytest.mark.parametrize("reach", [None, Reach(4), Reach(3, chunked=True)])
@pytest.mark.parametrize(
    "step", [Step.chain(2, 1), Step.chain(1, 3), TREES], ids=["one", "three", "trees"]
)
def test_masks_are_those_of_the_cpu(step, reach):
    """What is made on the device waits for no copy but those of several tokens, made once."""
    pads = Copies(torch.tensor([0, 3]))
    starts = Copies(7 - pads.here)
    past = int(step.depths.min())
    there = accelerator.device()
    masks = []
    for device in (torch.device("cpu"), there):
        fresh = Step(step.depths, step.seen)
        pads.on(device), starts.on(device)
        waits, found = waits_of(
            lambda fresh=fresh, device=device: (
                fresh.hides_prefix(pads, 7, 6, reach, device),
                fresh.hides_suffix(starts, past, reach, device),
            )
        )
        masks.append(found)
    assert len(waits) <= (0 if step.depths.numel() == 1 else 4)
    for one, other in zip(*masks, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert other.device == there
            assert torch.equal(one, other.cpu())
    assert masks[0][0] is not None


def test_rows_that_leave_wait_as_often_for_any_blocks():
    counts = []
    for layers in (2, 4):
        model = on_device(num_hidden_layers=layers)
        lengths = torch.tensor([5, 3])
        cache = SharedCache(prefix_of(model, lengths), torch.tensor([0, 1, 0, 1, 1]), 4)
        rows = SharedRows(model, cache, lengths)
        with torch.inference_mode(), shared_attention(model, cache):
            rows.feed(torch.tensor([4, 9, 6, 7, 8]))
            before = rows.logits.cpu()
            waits, _ = waits_of(partial(rows.keep, torch.tensor([0, 3, 4])))
            counts.append(len(waits))
            assert torch.equal(rows.logits.cpu(), before[[0, 3, 4]])
            rows.feed(torch.tensor([9, 9, 9]))
    assert counts[0] == counts[1] <= 3


def prefix_of(model, lengths):
    starts = [list(range(4, 4 + length)) for length in lengths.tolist()]
    return _read_prefixes(model, starts, None, Window(lengths - 1))
