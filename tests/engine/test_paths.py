"""Which path a model takes is proven, not guessed; what cannot be shared falls back and says so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import transformers
from transformers import DynamicCache

from crosslatent import engine
from crosslatent.core.errors import DeviceError, MemoryShortError
from crosslatent.engine import EnginePath, best_path, oracle, paths, why_not
from crosslatent.engine.expanded import ExpandedPrompts
from crosslatent.engine.prefix_attention import Unshareable
from crosslatent.engine.prefix_cache import Prefix
from crosslatent.engine.prefix_layout import Reach
from crosslatent.engine.requests import Request
from crosslatent.engine.shared import SharedPrompts
from crosslatent.interventions.activations import capture_ids
from support.models import FAMILIES
from support.rows import AUX, MAIN, all_rows, answers, assert_equal, ids_of, wrapped

WITHOUT_INTERFACE = ("falcon", "falcon-alibi")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_the_fastest_path_that_it_can(family):
    path = best_path(wrapped(family))
    if family in WITHOUT_INTERFACE:
        assert path.name == "expanded-cache"
        assert "AttentionInterface" in path.reason
    else:
        assert path == EnginePath("shared-prefix")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_proof_holds_for_the_middle_path_too(family):
    assert not why_not(wrapped(family), "expanded-cache")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_proof_holds_in_half_precision(dtype):
    model = wrapped()
    model.hf.to(dtype)
    assert best_path(model) == EnginePath("shared-prefix")


def wrong(monkeypatch, prompts):
    """Make a path give the answers to another prompt."""
    right = prompts.__init__

    def another(self, model, requests, chunk=None):
        moved = [
            Request(tuple(reversed(request.main)), request.rows, request.watch, request.options)
            for request in requests
        ]
        right(self, model, moved, chunk)

    monkeypatch.setattr(prompts, "__init__", another)


def test_a_path_that_is_wrong_is_not_taken(monkeypatch):
    wrong(monkeypatch, SharedPrompts)
    path = best_path(wrapped())
    assert path.name == "expanded-cache"
    assert "shared-prefix: its log-probabilities differ by" in path.reason
    wrong(monkeypatch, ExpandedPrompts)
    path = best_path(wrapped())
    assert path.name == "oracle"
    assert "expanded-cache: its log-probabilities differ" in path.reason


@pytest.mark.parametrize("argument", [{"chosen_keys": torch.zeros(1)}, {"reach": 7}])
def test_attention_that_is_told_something_unknown_is_not_shared(monkeypatch, argument):
    """It might matter in long prompts alone, where no trial would see it."""
    model = wrapped()
    for block in model.blocks:
        right = block.attn.forward
        monkeypatch.setattr(
            block.attn, "forward", lambda *args, right=right, **kw: right(*args, **kw, **argument)
        )
    path = best_path(model)
    assert path.name == "expanded-cache"
    assert f"its attention receives {next(iter(argument))}" in path.reason


def test_attention_of_an_unknown_kind_is_not_shared():
    kinds = ["full_attention", "chunked_attention", "indexed_attention"]
    with pytest.raises(Unshareable, match="it has indexed_attention"):
        Prefix.of(DynamicCache(), torch.zeros(1, dtype=torch.long), 0, kinds)


def test_a_path_that_fails_is_not_taken(monkeypatch):
    def fails(self, *_args):
        raise TypeError("forward() got an unexpected keyword argument 'position_ids'")

    monkeypatch.setattr(SharedPrompts, "answer", fails)
    path = best_path(wrapped())
    assert path.name == "expanded-cache"
    assert "TypeError in a trial (forward() got an unexpected" in path.reason


DEVICES_SAY = [
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices"),
    RuntimeError("indices should be either on cpu or on the same device as the indexed tensor"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("HIP error: invalid device function"),
    RuntimeError("Tensor for argument #2 'mat2' is on CPU, but expected it to be on GPU"),
    RuntimeError("Placeholder storage has not been allocated on MPS device!"),
    TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first."),
    RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'"),
    ValueError("Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)"),
]


@pytest.mark.parametrize("prompts", [SharedPrompts, ExpandedPrompts])
@pytest.mark.parametrize("error", DEVICES_SAY, ids=lambda error: str(error)[:24])
def test_what_is_wrong_with_a_device_is_no_reason_to_be_slow(monkeypatch, error, prompts):
    def fails(self, *_args):
        raise error

    monkeypatch.setattr(prompts, "answer", fails)
    name = {SharedPrompts: "shared-prefix", ExpandedPrompts: "expanded-cache"}[prompts]
    with pytest.raises(DeviceError, match=f"The engine '{name}' fails on cpu .*no fault of the mo"):
        engine.chosen_path(wrapped(), name)
    if prompts is SharedPrompts:
        with pytest.raises(DeviceError, match="use another --device, or --engine oracle"):
            best_path(wrapped())


def test_a_lack_of_memory_is_no_reason_to_be_slow(monkeypatch):
    def fails(self, *_args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(SharedPrompts, "answer", fails)
    with pytest.raises(MemoryShortError, match="Memory does not suffice to try the engine 'shared"):
        best_path(wrapped())


def test_an_operation_that_a_device_lacks_is_a_reason(monkeypatch):
    def fails(self, *_args):
        raise NotImplementedError("The operator 'aten::x' is not implemented for the MPS device")

    monkeypatch.setattr(SharedPrompts, "answer", fails)
    assert "NotImplementedError in a trial" in best_path(wrapped()).reason


def test_decoding_is_part_of_the_proof(monkeypatch):
    """Right first tokens do not make a path right."""
    right = SharedPrompts.answer

    def stops(self, picks, max_new_tokens, *rest):
        return right(self, picks, 1)

    monkeypatch.setattr(SharedPrompts, "answer", stops)
    assert "shared-prefix: its answers differ" in best_path(wrapped()).reason


def test_the_proof_is_made_once_for_a_model_and_its_dtype(monkeypatch):
    model = wrapped()
    calls = []
    monkeypatch.setattr(paths._Trial, "why_not", lambda *args: calls.append(args) or "")
    best_path(model)
    best_path(model)
    assert len(calls) == 1
    model.hf.to(torch.bfloat16)
    best_path(model)
    assert len(calls) == 2


def test_numbers_that_are_not_finite_prove_nothing(monkeypatch):
    right = SharedPrompts.answer

    def broken(self, *args):
        return [replace(row, scores=(math.nan,) * len(row.scores)) for row in right(self, *args)]

    monkeypatch.setattr(SharedPrompts, "answer", broken)
    assert "shared-prefix: its log-probabilities differ by nan" in best_path(wrapped()).reason
    model = wrapped()
    model.hf.lm_head.weight.data[3] = math.nan
    assert best_path(model).name == "oracle"
    assert "not finite, so there is nothing to compare" in best_path(model).reason


LONG = {"long_factor": [1.0, 2.0, 4.0, 8.0], "short_factor": [1.0] * 4, "factor": 4.0}


def test_long_prompts_do_not_change_what_is_captured_beside_them():
    scaled = {"rope_type": "longrope", "rope_theta": 10000.0, **LONG}
    scaled["original_max_position_embeddings"] = 40
    model = wrapped(rope_parameters=scaled)
    prompts = [ids_of(model, text) for text in (MAIN, MAIN * 2, AUX)]
    together = capture_ids(model, prompts, ["ffn"])["ffn"]
    for ids, vectors in zip(prompts, together, strict=True):
        assert torch.allclose(vectors, capture_ids(model, [ids], ["ffn"])["ffn"][0], atol=1e-4)


@pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 23),
    reason="older versions of transformers fail on LongRoPE for one type of layer",
)
def test_embeddings_of_one_type_of_layer_count_too():
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    scaled = {"rope_type": "longrope", "rope_theta": 10000.0, **LONG}
    scaled["original_max_position_embeddings"] = 40
    model = wrapped(
        "gemma3_text", rope_parameters={"full_attention": scaled, "sliding_attention": plain}
    )
    assert model.rotary_limit == 40
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    request = Request(tuple(ids_of(model, MAIN * 2)), rows)
    (answered,) = engine.run(model, [request], max_new_tokens=4)
    assert_equal(answered.rows, oracle.run_rows(model, request.main, rows, max_new_tokens=4))
    assert set(answered.paths) == {"oracle"}
    assert "change beyond 40 tokens" in answered.reason


def test_attention_that_counts_padding_as_positions_takes_the_oracle_in_long_prompts():
    sharper = {"attn_temperature_tuning": True, "floor_scale": 40, "attn_scale": 2.0}
    model = wrapped("llama4_text", **sharper)
    assert model.rotary_limit == 39
    prompts = [ids_of(model, text) for text in (MAIN, MAIN * 2)]
    together = capture_ids(model, prompts, ["ffn"])["ffn"]
    for ids, vectors in zip(prompts, together, strict=True):
        assert torch.allclose(vectors, capture_ids(model, [ids], ["ffn"])["ffn"][0], atol=1e-4)
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    requests = [Request(tuple(ids), rows) for ids in prompts]
    answered = list(engine.run(model, requests, max_new_tokens=4))
    assert [each.paths[0] for each in answered] == ["shared-prefix", "oracle"]
    for request, each in zip(requests, answered, strict=True):
        slow = oracle.run_rows(model, request.main, rows, max_new_tokens=4)
        assert_equal(each.rows, slow)
    without = wrapped("llama4_text", attn_temperature_tuning=False)
    assert without.rotary_limit is None
    assert answers(oracle.run_rows(without, prompts[1], rows, max_new_tokens=4)) != answers(slow)


def test_chunks_begin_where_the_text_does(monkeypatch):
    """Prompts of other lengths stand padded beside each other, and chunks follow each one's own."""
    model = wrapped("llama4_text")
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn", "attn"])[::3])
    requests = [Request(tuple(ids_of(model, MAIN[:size])), rows) for size in (3, 7, 8, 9, 16, 24)]
    slow = [oracle.run_rows(model, each.main, rows, max_new_tokens=10) for each in requests]
    for expected, found in zip(slow, engine.run(model, requests, max_new_tokens=10), strict=True):
        assert_equal(found.rows, expected)
        assert found.paths[0] == "shared-prefix"
    right = Reach.hides
    monkeypatch.setattr(Reach, "hides", lambda self, *args: right(Reach(self.tokens), *args))
    found = list(engine.run(model, requests, max_new_tokens=10))
    assert any(answers(a.rows) != answers(b) for a, b in zip(found, slow, strict=True))


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_embeddings_that_change_with_the_length_take_the_oracle_beyond_it(rope):
    scaled = {"rope_type": rope, "rope_theta": 10000.0, "factor": 4.0}
    if rope == "longrope":
        scaled |= LONG | {"original_max_position_embeddings": 40}
    model = wrapped(rope_parameters=scaled, max_position_embeddings=40)
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    requests = [Request(tuple(ids_of(model, text)), rows) for text in (MAIN, MAIN * 2, AUX)]
    taken = []
    for request, answered in zip(
        requests, engine.run(model, requests, max_new_tokens=4), strict=True
    ):
        taken.append(answered.paths[0])
        # With "dynamic", long texts change what transformers computes for later ones.
        if rope == "longrope":
            slow = oracle.run_rows(model, request.main, rows, max_new_tokens=4)
            assert_equal(answered.rows, slow)
            assert len(set(answers(slow))) >= 3
    assert taken == ["shared-prefix", "oracle", "oracle"]
