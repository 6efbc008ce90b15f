"""Rows are answered alike on every path, in any batch, and under the user's own ``generate``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig

from crosslatent import engine
from crosslatent.answering.ask import JudgedRow, Prompted, ask
from crosslatent.contracts.outcome import Broken, NotApplicable
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import ORACLE, Component, Site
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import patched
from crosslatent.model.conditions import generating

COMPARED: tuple[Component, ...] = ("attn", "ffn", "attn_residual", "cross_attn")
"""What rows are compared on, where the model has it."""
_SURE = 1e-2
"""Least gap between the two highest logits at which two ways to decode must agree."""


def fast_equals_oracle(subject: Subject) -> dict[str, str | int]:
    """The best path gives the answers, log-probabilities and options of single rows, all pairs.

    Raises:
        Broken: it does not, or the rows are all alike, so that nothing is compared.
        NotApplicable: the model takes no other path than the oracle.
    """
    path = engine.best_path(subject.model)
    if path.name == ORACLE:
        raise NotApplicable(f"its rows are answered one by one ({path.reason})")
    rows = subject.rows(subject.kinds(COMPARED))
    options = (subject.aux[:3], subject.aux[:2] + subject.main[:1], subject.main[1:2])
    asked = {"max_new_tokens": subject.new_tokens, "watch": subject.watch, "options": options}
    started = time.monotonic()
    slow = oracle.run_rows(subject.model, subject.main, rows, **asked)  # type: ignore[arg-type]
    between = time.monotonic()
    fast = engine.run_rows(subject.model, subject.main, rows, path=path, **asked)  # type: ignore[arg-type]
    times = {"ms_alone": between - started, "ms": time.monotonic() - between}

    def again(at: int) -> Decoded:
        return oracle.run_rows(subject.model, subject.main, [rows[at]], **asked)[0]  # type: ignore[arg-type]

    near_ties = subject.check_equal(slow, fast, path.name, again)
    each = {name: round(1000 * seconds / len(rows)) for name, seconds in times.items()}
    return {"path": path.name, "near_ties": near_ties, **_counted(slow), **each}


def _counted(rows: Sequence[Decoded]) -> dict[str, str | int]:
    distinct = len({row.ids for row in rows})
    if len({row.watched for row in rows}) < 2:
        raise Broken("no transplant changed anything, so there is nothing to compare")
    return {"rows": len(rows), "distinct": distinct}


def batches_agree(subject: Subject) -> dict[str, str | int]:
    """A batch of one row, or of one prompt, gives what a batch of many gives.

    Raises:
        Broken: it does not.
    """
    model = subject.model
    rows = tuple(subject.rows(subject.kinds(COMPARED))[:: 2 * len(subject.layers) - 1])
    asked = [Prompted(prompt, rows, watch=subject.watch) for prompt in subject.prompts]
    many = list(ask(model, asked, max_new_tokens=subject.new_tokens))
    what, near_ties = "rows in a batch of one and of many", 0
    for prompted, together in zip(asked, many, strict=True):
        (apart,) = ask(model, [prompted], max_new_tokens=subject.new_tokens, batch_rows=1)
        again = partial(_alone, subject, prompted)
        near_ties += subject.check_equal(_decoded(apart), _decoded(together), what, again)
    return {"rows": len(rows) * len(asked), "near_ties": near_ties}


def _alone(subject: Subject, prompted: Prompted, at: int) -> Decoded:
    """One row in a batch of its own."""
    single = replace(prompted, rows=(prompted.rows[at],))
    ((judged,),) = ask(subject.model, [single], max_new_tokens=subject.new_tokens)
    return judged.decoded


def _decoded(rows: Sequence[JudgedRow]) -> list[Decoded]:
    return [row.decoded for row in rows]


def generate_equals_decoding(subject: Subject) -> dict[str, str | int]:
    """``model.hf.generate`` under `patched` answers what our own decoding answers.

    Raises:
        Broken: it does not.
        NotApplicable: every answer hangs on near-ties.
    """
    first, middle, last = (
        subject.layers[0],
        subject.layers[len(subject.layers) // 2],
        subject.layers[-1],
    )
    pairs = [(first, first), (middle, last), (last, first)]
    kinds = subject.kinds((*COMPARED, "block"))
    vectors = subject.vectors(subject.aux, kinds)
    compared = differing = 0
    for kind in kinds:
        rows = [(), *((Transplant(Site(kind, j), vectors[kind][i]),) for i, j in pairs)]
        answers = oracle.run_rows(
            subject.model, subject.main, rows, max_new_tokens=subject.new_tokens
        )
        for (i, j), answer in zip(pairs, answers[1:], strict=True):
            if answer.min_margin < _SURE:
                continue
            with patched(subject.model, vectors, component=kind, source=i, target=j):
                found = _generated(subject)
            if found != answer.ids:
                raise Broken(f"{kind} {i}->{j}: generate gives {found}, our decoding {answer.ids}")
            compared += 1
            differing += answer.ids != answers[0].ids
    if not compared:
        raise NotApplicable("every answer hangs on near-ties")
    return {"rows": compared, "differing": differing}


def _generated(subject: Subject) -> tuple[int, ...]:
    """New ids of greedy `generate` without anything that the model's own settings add."""
    model = subject.model
    ends = sorted(model.eos_ids)
    plain = GenerationConfig(
        do_sample=False,
        max_new_tokens=subject.new_tokens,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
    )
    read = len(subject.main)
    if model.has_encoder:
        read = _start_alike(plain, model.decoder_reads(subject.main))
    ids = torch.tensor([subject.main], device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.reads_both_ways:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    hf: Any = model.hf
    with generating(hf, plain):
        whole = hf.generate(**inputs, generation_config=plain)
    new = whole[0, read : read + subject.new_tokens].tolist()
    end = next((at for at, token in enumerate(new) if token in model.eos_ids), len(new))
    return tuple(new[:end])


def _start_alike(config: Any, start: Sequence[int]) -> int:
    """Make a decoder begin with some tokens, of which a second one is forced; returns how many."""
    config.decoder_start_token_id, *forced = start
    config.forced_bos_token_id = forced[0] if forced else None
    config.max_new_tokens += len(forced)
    return len(start)
