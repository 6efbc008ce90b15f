"""Batches hold what memory allows, and shrink when it runs out, without loss or change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from crosslatent import engine
from crosslatent.core.errors import DeviceError, ModelError
from crosslatent.core.specs import EXPANDED_CACHE, SHARED_PREFIX
from crosslatent.engine import EnginePath, memory, oracle, shared
from crosslatent.engine.expanded import PrefixRows
from crosslatent.engine.requests import Request
from crosslatent.engine.shared import Growth
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped

SIZES: list[tuple[int, int]] = []
"""(prompts, rows) of every batch that was answered or tried."""


@pytest.fixture
def limited(monkeypatch):
    """Memory that holds so many rows and prompt tokens at once, and a record of what was tried."""
    SIZES.clear()

    def limit(rows, tokens=10_000, error=None):
        error = error or torch.OutOfMemoryError("CUDA out of memory.")
        grow, read = Growth.__init__, shared._read_prefixes

        def limited_growth(self, n_groups, groups, first):
            # What a batch really holds: its rows, and an unmodified one for every prompt.
            SIZES.append((n_groups, n_groups + len(groups)))
            if n_groups + len(groups) > rows:
                raise error
            grow(self, n_groups, groups, first)

        def limited_read(model, starts, *rest):
            if sum(map(len, starts)) > tokens:
                raise error
            return read(model, starts, *rest)

        monkeypatch.setattr(Growth, "__init__", limited_growth)
        monkeypatch.setattr(shared, "_read_prefixes", limited_read)

    return limit


def requests_of(model, texts=(MAIN, AUX, MAIN[:9])):
    rows = tuple(all_rows(model, ids_of(model, AUX), ["ffn"]))
    return [Request(tuple(ids_of(model, text)), rows) for text in texts]


def check(model, requests, **settings):
    found = engine.run(
        model, requests, max_new_tokens=4, path=EnginePath(SHARED_PREFIX), **settings
    )
    for request, answered in zip(requests, found, strict=True):
        slow = oracle.run_rows(model, request.main, request.rows, max_new_tokens=4)
        assert_equal(answered.rows, slow)
        assert answered.paths == [SHARED_PREFIX] * len(slow)
        assert all(seconds > 0 for seconds in answered.seconds)


def test_small_requests_share_a_batch_and_large_ones_are_cut_evenly(limited):
    model = wrapped()
    limited(rows=1000)
    check(model, requests_of(model), batch_rows=40)
    assert SIZES == [(2, 34), (1, 17)]
    SIZES.clear()
    check(model, requests_of(model), batch_rows=1000)
    assert SIZES == [(3, 51)]
    SIZES.clear()
    check(model, requests_of(model)[:1], batch_rows=15)
    assert SIZES == [(1, 9), (1, 9)]  # 9 rows, the unmodified one among them; then 8 and that one


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


SHORT = [
    *ERRORS,
    RuntimeError("UR error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 60.97 GiB total)"),
    RuntimeError("RESOURCE_EXHAUSTED: Attempting to reserve 14.34G at the bottom of memory."),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("HIP error: hipErrorOutOfMemory: out of memory"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:24])
def test_what_devices_say_when_memory_is_short(error):
    assert memory.is_out_of_memory(error)
    assert not memory.is_out_of_memory(RuntimeError("shape mismatch: 3 rows, 4 memories"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20])
def test_batches_halve_until_they_fit(limited, error):
    model = wrapped()
    limited(rows=10, error=error)
    check(model, requests_of(model), batch_rows=40)
    # Two prompts together, each by itself, then parts of one; the third is small from the start.
    assert SIZES[:2] == [(2, 34), (1, 17)]
    assert max(rows for _, rows in SIZES[2:]) <= 9
    assert {prompts for prompts, _ in SIZES[1:]} == {1}


def test_many_prompts_of_few_rows_are_taken_apart(limited):
    model = wrapped()
    limited(rows=4)
    rows = requests_of(model)[0].rows[:2]
    requests = [Request(tuple(ids_of(model, f"Swali {n}?")), rows) for n in range(12)]
    check(model, requests, batch_rows=40)
    assert SIZES[0] == (12, 24)
    assert max(rows for _, rows in SIZES[-6:]) <= 4


def test_prompts_that_do_not_fit_together_are_read_apart(limited):
    model = wrapped()
    limited(rows=1000, tokens=45)
    check(model, requests_of(model), batch_rows=1000)
    assert [prompts for prompts, _ in SIZES] == [1, 2, 2]


@pytest.mark.parametrize("limits", [{"rows": 0}, {"rows": 10, "tokens": 3}])
def test_too_little_memory_for_one_row_is_said(limited, limits):
    model = wrapped()
    limited(**limits)
    with pytest.raises(ModelError, match="Memory does not suffice for one row of this model"):
        check(model, requests_of(model))


def test_expanded_batches_shrink_with_their_buffers(monkeypatch):
    model = wrapped()
    sizes, make = [], PrefixRows.__init__

    def limited_rows(self, prefix, max_rows, room):
        sizes.append(max_rows)
        if max_rows > 8:
            raise MemoryError
        make(self, prefix, max_rows, room)

    monkeypatch.setattr(PrefixRows, "__init__", limited_rows)
    request = requests_of(model)[0]
    path = EnginePath(EXPANDED_CACHE)
    fast = engine.run_rows(model, request.main, request.rows, max_new_tokens=4, path=path)
    assert_equal(fast, oracle.run_rows(model, request.main, request.rows, max_new_tokens=4))
    assert sizes[0] == 17
    assert sizes[-1] <= 8


def test_other_errors_are_not_taken_for_want_of_memory(limited):
    model = wrapped()
    limited(rows=5, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        check(model, requests_of(model))


def test_the_estimate_grows_with_what_a_row_takes():
    model = wrapped()
    (short,), (long,) = (requests_of(model, [text]) for text in (MAIN, MAIN * 3))
    scored = Request(short.main, short.rows, (), ((1, 2, 3), (4, 5)))
    small = memory.bytes_per_row(model, [short], 1)
    assert small < memory.bytes_per_row(model, [short], 20)
    assert small < memory.bytes_per_row(model, [long], 1)
    assert small < memory.bytes_per_row(model, [scored], 1)
    copied = memory.bytes_per_row(model, [long], 1, copies_prefix=True)
    added = copied - memory.bytes_per_row(model, [long], 1)
    # Keys and values of four blocks with two heads of width 8, in float32, for all its tokens.
    assert added == 2 * 4 * 2 * 8 * 4 * len(long.main)


@pytest.mark.parametrize(("free", "rows"), [(0, 1), (10**6, None), (10**12, 512)])
def test_rows_follow_free_memory(monkeypatch, free, rows):
    model = wrapped()
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    fit = memory.rows_that_fit(model, requests_of(model), 4)
    assert fit == rows if rows is not None else 1 < fit < 512


def test_free_memory_of_this_machine_is_known():
    assert memory.free_bytes(torch.device("cpu")) > 10**7


def test_free_memory_of_an_accelerator_counts_what_torch_holds_unused(monkeypatch):
    told = {
        "mem_get_info": lambda device: (500, 1000),
        "memory_reserved": lambda device: 80,
        "memory_allocated": lambda device: 30,
    }
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(**told))
    assert memory.free_bytes(torch.device("xpu")) == 550
    del told["mem_get_info"]
    monkeypatch.setattr(torch, "accelerator", SimpleNamespace())
    with pytest.raises(DeviceError, match="xpu does not say how much memory is free"):
        memory.free_bytes(torch.device("xpu"))


def test_memory_is_given_back_once_for_each_kind_of_device(monkeypatch):
    emptied = []

    def of_kind(kind):
        return SimpleNamespace(empty_cache=lambda: emptied.append(kind))

    monkeypatch.setattr(torch, "get_device_module", of_kind)
    memory.release(map(torch.device, ("cpu", "xpu:0", "xpu:1", "meta")))
    assert emptied == ["xpu"]
