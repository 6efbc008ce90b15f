"""What a model is made of, with the evidence for it, and what checking it costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import transformers
from torch import nn

from crosslatent.contracts.guarantees import COMPARED
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import COMPONENTS
from crosslatent.engine import best_path
from crosslatent.engine.prefill import prefill
from crosslatent.model import Model, encode_batch
from crosslatent.model.blocks import Block
from crosslatent.model.proof import same
from crosslatent.model.structure import FAMILIES, Names, text_config
from crosslatent.model.tokenizers import difference_from_source
from crosslatent.model.trace import Trace, probe


@dataclass(frozen=True, slots=True)
class PartPlace:
    """Where a kind of module is.

    Attributes:
        paths: from the model for blocks, from a block for what is in it; more than one if blocks
            differ.
        how: how that is known.
    """

    paths: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was found in a model.

    Attributes:
        model: its name.
        model_type: of the text decoder, as transformers names it.
        architecture: class of the model.
        transformers: version.
        dtype: of the weights.
        devices: where the weights are.
        blocks: how many decoder blocks.
        d_model: width of the residual stream.
        places: by part: blocks, attn, ffn and, with an encoder, cross_attn.
        norms: by part, paths in a block of what norms its output before it is added.
        path: how rows are computed (`core.specs.PATHS`).
        reason: why no faster path is taken; empty for the fastest.
        tokenizer: class of the tokenizer.
        tokenizer_differs: how it reads texts otherwise than the tokenizer.json of where it comes
            from; empty if it does not.
    """

    model: str
    model_type: str
    architecture: str
    transformers: str
    dtype: str
    devices: tuple[str, ...]
    blocks: int
    d_model: int
    places: Mapping[str, PartPlace]
    norms: Mapping[str, tuple[str, ...]]
    path: str
    reason: str
    tokenizer: str
    tokenizer_differs: str


def found(model: Model) -> ModelReport:
    """Say what a model is made of; runs one forward, and the trial of the engine's paths."""
    path = best_path(model)
    return ModelReport(
        model=model.name,
        model_type=str(text_config(model.hf).model_type),
        architecture=type(model.hf).__name__,
        transformers=transformers.__version__,
        dtype=str(model.dtype).removeprefix("torch."),
        devices=tuple(sorted(map(str, model.devices))),
        blocks=model.n_layers,
        d_model=model.d_model,
        places=_places(model),
        norms=_norms(model),
        path=path.name,
        reason=path.reason,
        tokenizer=type(model.tokenizer).__name__,
        tokenizer_differs=difference_from_source(model.tokenizer) or "",
    )


def _places(model: Model) -> dict[str, PartPlace]:
    names = {module: name for name, module in model.hf.named_modules()}
    parents = _once(names[block.whole].rpartition(".")[0] for block in model.blocks)
    places = {"blocks": PartPlace(parents, _how(model, "blocks"))}
    for part in _parts(model.blocks[0]):
        paths = _once(_inside(block, _parts(block)[part]) for block in model.blocks)
        places[part] = PartPlace(paths, _how(model, part))
    return places


def _parts(block: Block) -> dict[str, nn.Module]:
    """The modules of a block that there are, by what they are."""
    parts = {"attn": block.attn, "ffn": block.ffn, "cross_attn": block.cross_attn}
    return {part: module for part, module in parts.items() if module is not None}


def _how(model: Model, part: str) -> str:
    if part in (model.modules or {}):
        return "named by you, proven by a probe forward"
    row = FAMILIES.get(text_config(model.hf).model_type, Names())
    if getattr(row, part, None) is not None:
        return f"named in the table of odd families ({text_config(model.hf).model_type})"
    if part == "blocks":
        return "the list that is as long as the config says"
    return "found by its name, proven by a probe forward"


def _inside(block: Block, module: nn.Module) -> str:
    return next(str(name) for name, each in block.whole.named_modules() if each is module)


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _norms(model: Model) -> dict[str, tuple[str, ...]]:
    """By module, the norms after it: children that were given just what it returned.

    A norm is a child without any matrix of weights.
    """
    trace, children = Trace(), [dict(block.whole.named_children()) for block in model.blocks]
    with ExitStack() as hooks:
        for block, inside in zip(model.blocks, children, strict=True):
            trace.watch(hooks, [block.whole, *_parts(block).values(), *inside.values()])
        probe(model.hf)
    norms: dict[str, list[str]] = {}
    for block, inside in zip(model.blocks, children, strict=True):
        parts = {part: _inside(block, module) for part, module in _parts(block).items()}
        seen = trace.seen(block.whole, dict.fromkeys((*inside, *parts.values())))
        for part, path in parts.items():
            left = seen.calls[path][-1].left
            norms.setdefault(part, []).extend(
                name
                for name in inside
                if name in seen.norms and any(same(call.entered, left) for call in seen.calls[name])
            )
    return {part: _once(names) for part, names in norms.items() if names}


_OPTIONS = 3
"""Continuations that `guarantees.fast_equals_oracle` scores for every row, a forward each."""
_TRIAL = 140
"""Forwards in which the engine tries its paths on a model that has not been tried yet."""
_PAIRS = 3
"""Pairs of layers that `guarantees.generate_equals_decoding` compares for each component."""


@dataclass(frozen=True, slots=True)
class CheckCost:
    """What running the contracts takes at most, if no answer ends early and nothing is broken.

    Attributes:
        forwards: passes through the model, each over one prompt or one new token; those of a
            batch are counted by its rows.
        tokens: of the longest prompt.
        seconds: what one pass over a prompt took just now.
    """

    forwards: int
    tokens: int
    seconds: float

    @property
    def total(self) -> float:
        """Estimated seconds of all forwards; an upper estimate, since most read a single token."""
        return self.forwards * self.seconds


def cost(subject: Subject) -> CheckCost:
    """Estimate what the contracts take on a subject; runs two forwards."""
    seconds = min(_forward(subject) for _ in range(2))
    longest = max(map(len, subject.prompts))
    return CheckCost(sum(forwards(subject).values()), longest, seconds)


def forwards(subject: Subject) -> Mapping[str, int]:
    """How many forwards each contract makes at most; a batch counts as the rows in it."""
    layers, new, prompts = len(subject.layers), subject.new_tokens, len(subject.prompts)
    every, compared = len(subject.kinds(COMPONENTS)), len(subject.kinds(COMPARED))
    rows = 1 + compared * layers**2
    some = -(-rows // (2 * layers - 1))
    return {
        "self-transplant": 1 + (1 + every * layers) * new + layers,
        "fast-equals-oracle": _TRIAL + 1 + rows * (2 * new + _OPTIONS + 1),
        "padding": 2 * (prompts * (every + 3) + 1),
        "batch-size": 1 + prompts * (1 + some * (2 * new + 1)),
        "hooks-removed": 40,
        "generate": 1 + every * (new + 1) * (1 + 2 * _PAIRS),
        "independent-capture": 3 + prompts + 6 * new,
    }


def _forward(subject: Subject) -> float:
    started = time.monotonic()
    logits = prefill(subject.model, encode_batch(subject.model, [subject.main])).logits
    logits.flatten()[0].item()  # waits for an accelerator
    return time.monotonic() - started
