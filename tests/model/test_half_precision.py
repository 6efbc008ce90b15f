"""Models in half precision, on the CPU: loaded, proven, and held to the contracts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import crosslatent as xl
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.contracts.subject import Broken, NotApplicable
from crosslatent.engine import best_path, oracle
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


def test_excuses_have_their_limits(monkeypatch):
    subject = Subject.of(xl.wrap(*tiny_model("llama")))
    monkeypatch.setattr("crosslatent.contracts.subject.unstable", lambda *_: True)
    right = oracle.run_rows(subject.model, subject.main, [()] * 4, max_new_tokens=2, watch=[1, 2])
    wrong = [replace(row, watched=(-9.0, -5.0)) for row in right]
    broken = [replace(row, watched=(math.nan, -5.0)) for row in right]

    def compared(expected, found):
        return subject.check_equal(expected, found, "rows", again=right.__getitem__)

    assert compared(right, [*wrong[:2], *right[2:]]) == 2
    with pytest.raises(NotApplicable, match="3 of 4 rows hang on rounding themselves"):
        compared(right, [*wrong[:3], right[3]])
    with pytest.raises(Broken, match="rows: single rows give numbers that are not finite"):
        compared([broken[0], *right[1:]], right)


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
