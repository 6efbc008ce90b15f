"""Models in half precision, on the CPU: loaded, proven, and held to the contracts."""

from __future__ import annotations

import pytest
import torch

import crosslatent as xl
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.engine import best_path
from support.models import save_tiny, tiny_model

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
ROUTERS = ("mixtral", "phimoe")
"""Whose experts are chosen by near-ties that rounding decides."""


@pytest.mark.parametrize("dtype", HALVES)
def test_a_folder_loads_in_half_precision(tmp_path, dtype):
    folder = save_tiny(tmp_path / "model")
    model = xl.load(folder, device="cpu", dtype=dtype)
    assert model.dtype == model.arithmetic == HALVES[dtype]
    assert model.identity["dtype"] == dtype
    assert xl.capture(model, "Mji?")["attn"].dtype == HALVES[dtype]
    assert best_path(model).name == "shared-prefix"
    outcome = run("padding", Subject.of(model))
    assert (outcome.status, outcome.reason) == ("passed", "")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_oss", "falcon", *ROUTERS])
@pytest.mark.parametrize("dtype", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_contracts(family, dtype, contract):
    hf, tokenizer = tiny_model(family)
    outcome = run(contract, Subject.of(xl.wrap(hf.to(dtype), tokenizer)))
    assert (outcome.status, outcome.reason) == ("passed", "")
    if contract == "fast-equals-oracle":
        assert outcome.facts["distinct"] > 3
        # Excuses are for routers, and for few of some fifty rows.
        assert outcome.facts["near_ties"] <= (6 if family in ROUTERS else 0)
