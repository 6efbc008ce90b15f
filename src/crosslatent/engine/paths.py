"""Which path a model's rows take, decided by proof: it must give what the oracle gives.

A path is tried on a few tokens before it is used. What it cannot do is found there, and the next
one is taken; nothing is silently wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from crosslatent import oracle
from crosslatent.activations import capture_ids
from crosslatent.decoding import Decoded, Tick, silent
from crosslatent.edits import Edit, Row
from crosslatent.engine import expanded, shared
from crosslatent.engine.contract import Pick, Prompts
from crosslatent.model import Model
from crosslatent.prefix import Unshareable
from crosslatent.requests import Request
from crosslatent.specs import PATHS, Component, Site

ORACLE = oracle.PATH

_PROBES = ((11, 7, 5, 3, 13, 2, 17, 19, 23), (4, 9, 6, 15))
"""Two prompts of different lengths, as token ids (modulo the vocabulary)."""
_NEW_TOKENS = 3
_ROPE_BY_LENGTH = ("dynamic", "longrope")
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_TOLERANCE_ELSEWHERE = 0.1
"""Largest difference of log-probabilities, as a share of their spread."""


@dataclass(frozen=True, slots=True)
class Path:
    """How rows are computed.

    Attributes:
        name: one of `specs.PATHS`.
        reason: why no faster path is taken; empty for the fastest.
    """

    name: str
    reason: str = ""

    @property
    def prompts_together(self) -> int:
        """How many prompts may share a batch."""
        return 1024 if self.name == shared.NAME else 1

    def open(self, model: Model, requests: Sequence[Request], chunk: int | None = None) -> Prompts:
        """Read the prompts of requests."""
        return _OPEN[self.name](model, requests, chunk)


class OraclePrompts:
    """The last resort: every row by itself."""

    def __init__(self, model: Model, requests: Sequence[Request], chunk: int | None = None) -> None:
        """Keep what is asked."""
        self._model, self._requests, self._chunk = model, requests, chunk

    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked rows, one after the other."""
        answers = []
        for number, (at, row) in enumerate(picks):
            tick(number / len(picks))
            request = self._requests[at]
            answers += oracle.run_rows(
                self._model,
                request.main,
                [request.rows[row]],
                max_new_tokens=max_new_tokens,
                watch=request.watch,
                options=request.options,
                chunk=self._chunk,
            )
        return answers


_OPEN: dict[str, Callable[[Model, Sequence[Request], int | None], Prompts]] = {
    shared.NAME: shared.SharedPrompts,
    expanded.NAME: expanded.ExpandedPrompts,
    ORACLE: OraclePrompts,
}

_chosen: WeakKeyDictionary[PreTrainedModel, tuple[Any, Path]] = WeakKeyDictionary()


def best_path(model: Model) -> Path:
    """The fastest path that is proven right for this model; proven once."""
    state = (model.dtype, model.device)
    known = _chosen.get(model.hf)
    if known is None or known[0] != state:
        known = (state, _choose(model))
        _chosen[model.hf] = known
    return known[1]


def _choose(model: Model) -> Path:
    reasons: list[str] = []
    for name in PATHS:
        reason = why_not(model, name)
        if not reason:
            return Path(name, "; ".join(reasons))
        reasons.append(f"{name}: {reason}")
    raise AssertionError("the oracle always serves")


def path_of(model: Model, path: Path, request: Request, max_new_tokens: int) -> Path:
    """The path for one request: the oracle, if its prompt must not be read in parts.

    Some rotary embeddings change with the length of the whole text; keys that were computed for a
    shorter one are then not those of the prompt read at once.
    """
    config = model.hf.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in _ROPE_BY_LENGTH:
        return path
    usual = (
        rope.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        or config.max_position_embeddings
    )
    added = max([max_new_tokens, *map(len, request.options)])
    if len(request.main) + added <= int(usual):
        return path
    return Path(ORACLE, f"its rotary embedding changes beyond {usual} tokens")


def why_not(model: Model, name: str) -> str:
    """Why a path does not serve a model; empty if it does."""
    if name == ORACLE:
        return ""
    requests = _probe_requests(model)
    together = [requests] if name == shared.NAME else [[request] for request in requests]
    expected = [
        OraclePrompts(model, requests).answer([(at, row)], _NEW_TOKENS)[0]
        for at, request in enumerate(requests)
        for row in range(len(request.rows))
    ]
    found: list[Decoded] = []
    try:
        for group in together:
            picks = [(at, row) for at, asked in enumerate(group) for row in range(len(asked.rows))]
            found += _OPEN[name](model, group, None).answer(picks, _NEW_TOKENS)
    except Unshareable as reason:
        return str(reason)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        # Whatever the model's own code stumbles over is a reason to take another path.
        return f"{type(error).__name__} in a trial ({next(iter(str(error).splitlines()), '')})"
    return _difference(expected, found, model.dtype)


def _probe_requests(model: Model) -> list[Request]:
    vocab = model.hf.config.get_text_config().vocab_size
    prompts = [[token % vocab for token in probe] for probe in _PROBES]
    kinds: tuple[Component, ...] = ("attn", "ffn")
    vectors = capture_ids(model, prompts, kinds)
    last = model.n_layers - 1
    requests = []
    for at, prompt in enumerate(prompts):
        other = 1 - at
        rows: list[Row] = [()]
        rows += [
            (Edit(Site(kind, target), vectors[kind][other, source]),)
            for kind in kinds
            for source, target in ((last, 0), (0, last), (last // 2, last // 2))
        ]
        options = tuple(tuple(t % vocab for t in option) for option in ((8, 3, 5), (8, 2), (1,)))
        watch = tuple(range(min(vocab, 64)))
        requests.append(Request(tuple(prompt), tuple(rows), watch, options))
    return requests


def _difference(expected: Sequence[Decoded], found: Sequence[Decoded], dtype: torch.dtype) -> str:
    """How the answers of a path differ from the oracle's beyond rounding; empty if they do not."""
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE_ELSEWHERE)
    for one, other in zip(expected, found, strict=True):
        right, values = (*one.watched, *one.scores), (*other.watched, *other.scores)
        allowed = tolerance * max(max(right) - min(right), 1.0)
        worst = max(abs(a - b) for a, b in zip(right, values, strict=True))
        if not worst <= allowed and all(map(math.isfinite, right)):
            return f"its log-probabilities differ by {worst:.2g} from those of single rows"
        if one.min_margin > allowed and one.ids != other.ids:
            return "its answers differ from those of single rows"
    return ""
