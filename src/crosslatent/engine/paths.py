"""Which path a model's rows take, decided by trial: it must give what the oracle gives.

A path is tried on a few tokens before it is used. What it cannot do is found there, and the next
one is taken; the reason goes with it. The trial is short: what shows only in long texts (windows,
rotary embeddings that change with the length) is known beforehand or tested on small models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from crosslatent.core.errors import DeviceError, MemoryShortError, UsageError
from crosslatent.core.specs import (
    AUTO,
    EXPANDED_CACHE,
    ORACLE,
    PATHS,
    SHARED_PREFIX,
    Component,
    Site,
    check_engine,
)
from crosslatent.engine import expanded, oracle, shared
from crosslatent.engine.decoding import Decoded, Tick, silent
from crosslatent.engine.memory import is_device_error, is_out_of_memory
from crosslatent.engine.prefix_attention import Unshareable
from crosslatent.engine.requests import Pick, Prompts, Request
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.model import Model
from crosslatent.model.modes import answering
from crosslatent.model.structure import text_config
from crosslatent.model.unwrapping import adapters_of

_PROBES = ((11, 7, 5, 3, 13, 2, 17, 19, 23), (4, 9, 6, 15))
"""A long prompt and a short one, as token ids (modulo the vocabulary)."""
_OPTIONS = ((8, 3, 5), (8, 2))
_NEW_TOKENS = 3
_WATCHED = 64
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_TOLERANCE_ELSEWHERE = 0.1
"""Largest difference of log-probabilities, as a share of their spread."""


@dataclass(frozen=True, slots=True)
class EnginePath:
    """How rows are computed.

    Attributes:
        name: one of `core.specs.PATHS`.
        reason: why no faster path is taken; empty for the fastest.
    """

    name: str
    reason: str = ""

    @property
    def prompts_together(self) -> int:
        """How many prompts may share a batch."""
        return 1024 if self.name == SHARED_PREFIX else 1

    @property
    def copies_prefix(self) -> bool:
        """Whether every row holds keys and values of the whole prompt."""
        return self.name != SHARED_PREFIX

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
                options=request.options_of(row),
                chunk=self._chunk,
            )
        return answers


_OPEN: dict[str, Callable[[Model, Sequence[Request], int | None], Prompts]] = {
    SHARED_PREFIX: shared.SharedPrompts,
    EXPANDED_CACHE: expanded.ExpandedPrompts,
    ORACLE: OraclePrompts,
}

_chosen: WeakKeyDictionary[PreTrainedModel, tuple[Any, EnginePath]] = WeakKeyDictionary()


def best_path(model: Model) -> EnginePath:
    """The fastest path that passes its trial on this model as it is now; tried once."""
    attention = getattr(text_config(model.hf), "_attn_implementation", None)
    state = (model.dtype, model.device, attention, adapters_of(model.hf))
    if _chosen.get(model.hf, (None,))[0] != state:
        _chosen[model.hf] = (state, _choose(model))
    return _chosen[model.hf][1]


def path_of(model: Model, path: EnginePath, request: Request, max_new_tokens: int) -> EnginePath:
    """The path for one request: the oracle, if its prompt must not be read in parts.

    Some rotary embeddings change with the length of the whole text; keys that were computed for a
    shorter one are then not those of the prompt read at once.
    """
    limit = model.rotary_limit
    added = max([max_new_tokens, *map(len, request.options)])
    if limit is None or path.name == ORACLE or len(request.main) + added <= limit:
        return path
    return EnginePath(ORACLE, f"rotary embeddings of this model change beyond {limit} tokens")


def why_not(model: Model, name: str) -> str:
    """Why a path does not serve a model; empty if it does."""
    return "" if name == ORACLE else _Trial(model).why_not(name)


def _choose(model: Model) -> EnginePath:
    trial = _Trial(model)
    reasons: list[str] = []
    for name in PATHS:
        if name == ORACLE or not (reason := trial.why_not(name)):
            break
        reasons.append(f"{name}: {reason}")
    return EnginePath(name, "; ".join(reasons))


class _Trial:
    """A few rows of two short prompts, and what the oracle says to them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._requests = _probe_requests(model)
        self._expected = self._answers(ORACLE, self._requests)

    def why_not(self, name: str) -> str:
        """Why a path does not serve the model; empty if it does.

        Raises:
            DeviceError: a device fails on it, or tensors on several devices meet.
            MemoryShortError: memory does not suffice for a few tokens.
        """
        groups = [self._requests] if name == SHARED_PREFIX else [[one] for one in self._requests]
        try:
            found = [row for group in groups for row in self._answers(name, group)]
        except Unshareable as reason:
            return str(reason)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            _refuse_what_devices_say(name, self._model, error)
            # Whatever the model's own code stumbles over is a reason to take another path.
            return f"{type(error).__name__} in a trial ({next(iter(str(error).splitlines()), '')})"
        return difference(self._expected, found, self._model.arithmetic)

    def _answers(self, name: str, requests: Sequence[Request]) -> list[Decoded]:
        picks = [(at, row) for at, asked in enumerate(requests) for row in range(len(asked.rows))]
        with answering(self._model.hf):
            return _OPEN[name](self._model, requests, None).answer(picks, _NEW_TOKENS)


def _refuse_what_devices_say(name: str, model: Model, error: Exception) -> None:
    """What is wrong with a device is no reason to answer rows one by one, a hundred times slower.

    Raises:
        DeviceError: a device fails, or tensors on several devices meet.
        MemoryShortError: memory does not suffice.
    """
    said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    if is_out_of_memory(error):
        raise MemoryShortError(
            f"Memory does not suffice to try the engine {name!r} on a few tokens ({said}): use a "
            "smaller dtype or model, or another device."
        ) from error
    if is_device_error(error):
        where = ", ".join(sorted(map(str, model.devices)))
        raise DeviceError(
            f"The engine {name!r} fails on {where} ({said}), which is no fault of the model: use "
            f"another --device, or --engine {ORACLE} to answer the rows one by one, much more "
            "slowly."
        ) from error


def _probe_requests(model: Model) -> list[Request]:
    """Two prompts, whose rows edit vectors of the other one into first, middle and last blocks.

    Options are scored after the shorter prompt only, which is padded.
    """
    vocab = text_config(model.hf).vocab_size
    long, short = (tuple(token % vocab for token in probe) for probe in _PROBES)
    options = tuple(tuple(token % vocab for token in option) for option in _OPTIONS)
    watch = tuple(range(min(vocab, _WATCHED)))
    last = model.n_layers - 1
    vectors = capture_ids(model, [long, short], ["attn", "ffn"])

    def row(kind: Component, source: int, target: int, at: int) -> tuple[Intervention, ...]:
        return (Transplant(Site(kind, target), vectors[kind][at, source]),)

    middle = last // 2
    of_long = ((), row("attn", last, 0, 1), row("ffn", 0, last, 1))
    of_short = ((), row("ffn", middle, middle, 0))
    return [Request(long, of_long, watch), Request(short, of_short, watch, options)]


def difference(expected: Sequence[Decoded], found: Sequence[Decoded], dtype: torch.dtype) -> str:
    """How the answers of a path differ from the oracle's beyond rounding; empty if they do not."""
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE_ELSEWHERE)
    for one, other in zip(expected, found, strict=True):
        right, values = (*one.watched, *one.scores), (*other.watched, *other.scores)
        if not all(map(math.isfinite, right)):
            return "single rows give numbers that are not finite, so there is nothing to compare"
        allowed = tolerance * max(max(right) - min(right), 1.0)
        distances = [abs(a - b) for a, b in zip(right, values, strict=True)]
        if not all(distance <= allowed for distance in distances):
            worst = next((d for d in distances if math.isnan(d)), max(distances))
            return f"its log-probabilities differ by {worst:.2g} from those of single rows"
        if one.min_margin > allowed and one.ids != other.ids:
            return "its answers differ from those of single rows"
    return ""


def chosen_path(model: Model, name: str) -> EnginePath:
    """The path called `name`, or the fastest that serves the model.

    Raises:
        UsageError: there is no such path, or it does not serve the model.
    """
    if check_engine(name) == AUTO:
        return best_path(model)
    reason = why_not(model, name)
    if reason:
        raise UsageError(
            f"The engine {name!r} does not serve this model ({reason}): use {AUTO!r}, which takes "
            "the fastest that does."
        )
    return EnginePath(name)
