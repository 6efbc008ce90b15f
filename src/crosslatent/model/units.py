"""Neurons and heads: what enters the last projection of feed-forward and attention, proven.

``neurons`` are the inputs of the matrix whose product is what the feed-forward returns, ``heads``
those of the one whose product is what attention returns, in slices of one head each. Both are found
in a probe forward when they are first asked for, and proven there:

- the projection returns what its module returns, and it is affine in what enters it;
- with attention that gives nothing but one head, only the slice of that head is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from crosslatent.core.errors import PairError
from crosslatent.core.specs import Component
from crosslatent.model import proof
from crosslatent.model.blocks import Block
from crosslatent.model.model import Model
from crosslatent.model.modes import answering
from crosslatent.model.structure import attention_called, text_config
from crosslatent.model.trace import Call, Trace, copied, has_matrix, hidden_of, input_device, probe

_STUMBLES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)

_ONE_HEAD = "crosslatent_one_head"
_OWNERS: Mapping[Component, tuple[str, Callable[[Block], nn.Module]]] = {
    "neurons": ("feed-forward", lambda block: block.ffn),
    "heads": ("attention", lambda block: block.attn),
}


@dataclass(frozen=True, slots=True)
class Units:
    """What enters the last projection of one block's feed-forward or attention.

    Attributes:
        projection: the module; its input holds the units.
        width: of its input.
        groups: units that make up one: 1 for neurons, the width of a head for heads.
    """

    projection: nn.Module
    width: int
    groups: int = 1

    @property
    def name(self) -> str:
        """What one of them is called."""
        return "neuron" if self.groups == 1 else "head"

    @property
    def count(self) -> int:
        """How many neurons or heads there are."""
        return self.width // self.groups

    def places(self, number: int) -> range:
        """Where a neuron or a head is in what enters the projection.

        Raises:
            PairError: there is no such one.
        """
        if not 0 <= number < self.count:
            raise PairError(
                f"There is no {self.name} {number}: this block has {self.count}, so use 0 to "
                f"{self.count - 1}."
            )
        return range(number * self.groups, (number + 1) * self.groups)


_found: WeakKeyDictionary[PreTrainedModel, dict[Component, tuple[Units, ...]]] = WeakKeyDictionary()


def units_of(model: Model, kind: Component) -> tuple[Units, ...]:
    """The neurons or the heads of every block, looked for once.

    Raises:
        PairError: they cannot be found in the model, or not be verified; says why.
    """
    known = _found.setdefault(model.hf, {})
    if kind not in known:
        with answering(model.hf):
            projections = _projections(model, kind)
            known[kind] = _heads(model, projections) if kind == "heads" else projections
    return known[kind]


def _projections(model: Model, kind: Component) -> tuple[Units, ...]:
    word, owner_of = _OWNERS[kind]
    owners = [owner_of(block) for block in model.blocks]
    inside = {owner: set(filter(has_matrix, owner.modules())) for owner in owners}
    trace = Trace()
    with ExitStack() as hooks:
        trace.watch(hooks, [*owners, *chain.from_iterable(inside.values())])
        probe(model.hf)
    found = []
    for layer, owner in enumerate(owners):
        # The one that ended last: an adapter around a matrix is a part of the product, and in a
        # block that writes nothing (pruned, or added by depth expansion) many give the same.
        ended = [each for each in reversed(trace.calls) if each in inside[owner] - {owner}]
        proven = (each for each in [*ended, owner] if _is_projection(trace.calls, each, owner))
        projection = next(proven, None)
        if projection is None:
            raise PairError(
                f"{type(model.hf).__name__} has no {kind!r} that could be proven: no single matrix "
                f"gives what the {word} of block {layer} returns. Use another component."
            )
        found.append(Units(projection, trace.calls[projection][0].entered.shape[-1]))
    return tuple(found)


def _is_projection(
    calls: Mapping[nn.Module, list[Call]], module: nn.Module, owner: nn.Module
) -> bool:
    """Whether a module was called once, gave what its owner gave, and is affine."""
    if len(calls.get(module, ())) != 1 or owner not in calls:
        return False
    call, whole = calls[module][0], calls[owner][-1]
    return (
        call.left.numel() == whole.left.numel()
        and proof.same(call.left.reshape(whole.left.shape), whole.left)
        and _is_affine(module, call)
    )


@torch.no_grad()
def _is_affine(module: nn.Module, call: Call) -> bool:
    value = call.entered.to(call.device or "cpu")
    try:
        zero, one, two = (
            copied(hidden_of(module(scale * value))).double() for scale in (0.0, 1.0, 2.0)
        )
    except _STUMBLES:
        return False  # it takes more than one tensor, so it is no matrix
    allowed = 4 * proof.tolerance(value.dtype)
    return proof.relative(two - zero, 2 * (one - zero)) < allowed


def _heads(model: Model, projections: tuple[Units, ...]) -> tuple[Units, ...]:
    """The same, cut into heads, after a proof that each slice holds one head and no other."""
    config = text_config(model.hf)
    count = int(getattr(config, "num_attention_heads", 0) or 0)
    trace = Trace()
    # Attention that does not go through the interface may stumble over its name.
    with suppress(*_STUMBLES), ExitStack() as hooks:
        hooks.enter_context(attention_called(config, _ONE_HEAD))
        trace.watch(hooks, [units.projection for units in projections])
        _read(model.hf, max(count, 1))
    for layer, units in enumerate(projections):
        if not _holds_one_each(trace.calls.get(units.projection), count):
            raise PairError(
                f"{type(model.hf).__name__} has no 'heads' that could be proven: what enters the "
                f"last matrix of the attention of block {layer} is not {count} slices of one head "
                "each. Use another component."
            )
    return tuple(
        Units(units.projection, units.width, units.width // count) for units in projections
    )


def _holds_one_each(calls: list[Call] | None, count: int) -> bool:
    """Whether row h of a batch has values in slice h alone; rows pos width."""
    if not calls or count < 1 or calls[-1].entered.shape[-1] % count:
        return False
    entered = calls[-1].entered
    slices = entered.reshape(count, -1, count, entered.shape[-1] // count)
    size = slices.float().abs().amax((1, 3))
    own = torch.eye(count, dtype=torch.bool)
    return bool((size[own] > 0).all()) and bool((size[~own] == 0).all())


def _one_head(
    _module: nn.Module, query: Tensor, _key: Tensor, value: Tensor, *_rest: Any, **_more: Any
) -> tuple[Tensor, None]:
    """Attention that gives ones in the head with the number of the row, else zeros.

    A function of transformers' interface: rows pos heads d_head.
    """
    rows, heads, width, _ = query.shape
    own = torch.eye(rows, heads, dtype=query.dtype, device=query.device)
    return own[:, None, :, None].expand(rows, width, heads, value.shape[-1]).contiguous(), None


AttentionInterface.register(_ONE_HEAD, _one_head)


def _read(hf: PreTrainedModel, rows: int) -> None:
    """A few tokens through the decoder, in so many rows."""
    ids = torch.arange(2, device=input_device(hf)).expand(rows, -1)
    decoder: Any = hf.base_model
    decoder(input_ids=ids, use_cache=False)
