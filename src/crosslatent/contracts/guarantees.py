"""The contracts: what must hold on every model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from crosslatent import engine
from crosslatent.answering.ask import Prompted, ask
from crosslatent.contracts.subject import Broken, NotApplicable, Subject
from crosslatent.core.specs import COMPONENTS, ORACLE, Component, Site
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded, log_probabilities
from crosslatent.engine.prefill import prefill
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.patched import patched
from crosslatent.model import encode_batch
from crosslatent.model.modes import answering, generating
from crosslatent.model.prompts import Side
from crosslatent.model.structure import text_config
from crosslatent.model.trace import after, before, block_input, hidden_of, with_hidden

_IDENTICAL: tuple[Component, ...] = ("attn", "ffn", "block", "cross_attn")


def self_transplant(subject: Subject) -> dict[str, int]:
    """Same prompt, i = j: nothing for ``attn``, ``ffn``, ``block`` and ``cross_attn``.

    For ``attn_residual`` it equals a forward in which the residual is added twice by hand
    (docs/methods.md, 1.1).

    Raises:
        Broken: a number differs.
    """
    kinds = subject.kinds((*_IDENTICAL, "attn_residual"))
    vectors = subject.vectors(subject.main, kinds)
    edits = [Transplant(Site(kind, j), vectors[kind][j]) for kind in kinds for j in subject.layers]
    vanilla, *rows = oracle.run_rows(
        subject.model,
        subject.main,
        [(), *((edit,) for edit in edits)],
        max_new_tokens=subject.new_tokens,
        watch=subject.watch,
    )
    moved = 0
    for edit, row in zip(edits, rows, strict=True):
        what = f"{edit.site.component} of block {edit.site.layer} into itself"
        if edit.site.component in _IDENTICAL:
            subject.check_equal([vanilla], [row], what)
            continue
        by_hand = _residual_twice(subject, edit.site.layer)
        subject.check_close(
            by_hand, torch.tensor(row.watched), f"{what}, against a forward by hand"
        )
        moved += row.watched != vanilla.watched
    if "attn_residual" in kinds and not moved:
        raise Broken("attn_residual of no block changed anything, so its rows prove nothing")
    return {"rows": len(edits)}


def _residual_twice(subject: Subject, layer: int) -> Tensor:
    """Log-probabilities if attention of one block gives residual + output at the last token."""
    block = subject.model.blocks[layer]
    entered: list[Tensor] = []

    def enters(_module: nn.Module, args: Any, kwargs: Any) -> None:
        entered[:] = [block_input(args, kwargs)[0, -1].clone()]

    def leaves(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output).clone()
        hidden[..., -1, :] += entered[0].to(hidden.device)
        return with_hidden(output, hidden)

    with ExitStack() as hooks:
        before(hooks, block.whole, enters)
        after(hooks, block.attn, leaves)
        ((_, inputs),) = encode_batch(subject.model, [subject.main]).parts()
        with answering(subject.model.hf):
            logits = subject.model.hf(**inputs, use_cache=False).logits[:, -1]
    return torch.tensor(log_probabilities(logits, subject.watch)[0])


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
    if len({row.watched for row in slow}) < 2:
        raise Broken("no transplant changed anything, so there is nothing to compare")
    counted = {"rows": len(slow), "distinct": len({row.ids for row in slow})}
    return {"path": path.name, "near_ties": near_ties, **counted, **each}


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
        single, several = ([row.decoded for row in rows] for rows in (apart, together))
        again = partial(_alone, subject, prompted)
        near_ties += subject.check_equal(single, several, what, again)
    return {"rows": len(rows) * len(asked), "near_ties": near_ties}


def _alone(subject: Subject, prompted: Prompted, at: int) -> Decoded:
    """One row in a batch of its own."""
    single = replace(prompted, rows=(prompted.rows[at],))
    ((judged,),) = ask(subject.model, [single], max_new_tokens=subject.new_tokens)
    return judged.decoded


def generate_equals_decoding(subject: Subject) -> dict[str, str | int]:
    """``model.hf.generate`` under `patched` answers what our own decoding answers.

    Raises:
        Broken: it does not.
        NotApplicable: every answer hangs on near-ties.
    """
    first, middle, last = (subject.layers[at] for at in (0, len(subject.layers) // 2, -1))
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
    read = len(model.decoder_reads(subject.main))
    if model.has_encoder:
        _start_alike(plain, model.decoder_reads(subject.main))
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


def _start_alike(config: Any, start: Sequence[int]) -> None:
    """Make a decoder begin with some tokens, of which a second one is forced."""
    config.decoder_start_token_id, *forced = start
    config.forced_bos_token_id = forced[0] if forced else None
    config.max_new_tokens += len(forced)


_SIDES: tuple[Side, ...] = ("left", "right")


def padding_agrees(subject: Subject) -> dict[str, str | int]:
    """Left-padded, right-padded and unpadded: same captures, same logits at the last real token.

    Raises:
        Broken: they differ.
    """
    model, prompts, kinds = subject.model, subject.prompts, subject.kinds(COMPONENTS)

    def alone(kind: Component) -> Tensor:
        return torch.cat([capture_ids(model, [ids], [kind])[kind] for ids in prompts])

    def logits() -> Tensor:
        return torch.cat([_last_logits(subject, (ids,), "left") for ids in prompts])

    for side in _SIDES:
        together = capture_ids(model, prompts, kinds, side=side)
        for kind in kinds:
            again = partial(alone, kind)
            subject.check_close(again(), together[kind], f"{kind}, {side}-padded", again)
        padded = _last_logits(subject, prompts, side)
        subject.check_close(logits(), padded, f"logits, {side}-padded", logits)
    return {"prompts": len(prompts)}


def _last_logits(subject: Subject, prompts: tuple[tuple[int, ...], ...], side: Side) -> Tensor:
    batch = encode_batch(subject.model, prompts, side)
    return prefill(subject.model, batch).logits.cpu()


def captures_are_independent(subject: Subject) -> dict[str, str | int]:
    """A capture gives the same numbers regardless of earlier calls of the model.

    Raises:
        Broken: it does not.
    """
    kinds = subject.kinds(COMPONENTS)
    before = subject.vectors(subject.aux, kinds)
    rows = subject.rows(subject.kinds(("attn", "ffn")))[:6]
    engine.run_rows(subject.model, subject.main, rows, max_new_tokens=subject.new_tokens)
    capture_ids(subject.model, list(reversed(subject.prompts)), kinds, chunk=3)
    after = subject.vectors(subject.aux, kinds)
    for kind in kinds:
        subject.check_close(before[kind], after[kind], f"{kind}, captured again")
    return {"components": len(kinds)}


class _OnPurposeError(Exception):
    """Raised in the middle of a forward."""


def nothing_is_left_behind(subject: Subject) -> dict[str, str | int]:
    """Hooks, `generate` and the attention setting are as before, also after an exception.

    Raises:
        Broken: something is left.
    """
    was = _state(subject)
    acts = _acts(subject)
    for name, act in acts.items():
        act()
        _check(was, _state(subject), f"after {name}")
        with ExitStack() as hooks:
            before(hooks, subject.model.blocks[-1].whole, _fail)
            try:
                act()
            except _OnPurposeError:
                pass
            else:
                raise Broken(f"{name} went on although a block failed")
        _check(was, _state(subject), f"after {name} that failed")
    return {"acts": len(acts)}


def _acts(subject: Subject) -> dict[str, Callable[[], object]]:
    model, asked = subject.model, {"max_new_tokens": 2}
    kinds = subject.kinds(COMPONENTS)
    vectors = subject.vectors(subject.aux, kinds)
    rows: list[tuple[Intervention, ...]] = subject.rows(subject.kinds(("attn", "ffn")))[:4]

    def patch() -> None:
        with patched(model, vectors, component=kinds[0], source=0, target=0):
            oracle.run_rows(model, subject.main, [()], **asked)  # type: ignore[arg-type]

    return {
        "a capture": lambda: subject.vectors(subject.aux, kinds),
        "single rows": lambda: oracle.run_rows(model, subject.main, rows, **asked),  # type: ignore[arg-type]
        "rows in a batch": lambda: engine.run_rows(model, subject.main, rows, **asked),  # type: ignore[arg-type]
        "patched": patch,
    }


def _fail(*_args: Any) -> None:
    raise _OnPurposeError


def _state(subject: Subject) -> tuple[int, bool, object]:
    hf = subject.model.hf
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)  # noqa: SLF001
        for module in hf.modules()
    )
    setting = getattr(text_config(hf), "_attn_implementation", None)
    return hooks, "generate" in vars(hf), setting


def _check(before: tuple[Any, ...], after: tuple[Any, ...], when: str) -> None:
    names = ("hooks", "a generate of its own", "attention")
    for name, was, now in zip(names, before, after, strict=True):
        if was != now:
            raise Broken(f"{when}: {name} was {was}, and is {now}")
