"""Caches of keys and values: what a forward calls the one that it gets, and who is in it.

The one place that knows the argument's name. transformers calls it ``past_key_values`` up to 5.23
and ``cache`` from 5.24 on; code that comes with a model may keep the old one. So the name is read
from the signature, and that a forward has taken the cache is seen from what is in it afterwards:
many take any argument, and leave out without a word what they do not know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from transformers import Cache, EncoderDecoderCache, GenerationMixin

from crosslatent.core.errors import ModelError

_OLD, _NEW = "past_key_values", "cache"
NAMES = (_NEW, _OLD)
"""What forwards call their cache."""


@functools.cache
def _preferred() -> tuple[str, ...]:
    """Names, the one that transformers' own `generate` hands over first."""
    prepare = signature(GenerationMixin.prepare_inputs_for_generation)
    return NAMES if _NEW in prepare.parameters else NAMES[::-1]


def cache_name(module: nn.Module) -> str:
    """What a module's forward calls its cache.

    Raises:
        ModelError: it takes no cache under any name that is known.
    """
    # An own forward, as hooks leave it, is not kept: it would keep its model.
    own = vars(module).get("forward")
    takes = _parameters(type(module).forward) if own is None else signature(own).parameters
    for name in _preferred():
        if name in takes:
            return name
    if any(each.kind is each.VAR_KEYWORD for each in takes.values()):
        return _preferred()[0]
    raise ModelError(
        f"The forward of {type(module).__name__} takes {', '.join(takes) or 'nothing'}, but no "
        f"cache of keys and values ({' or '.join(NAMES)}): use a model that does."
    )


@functools.cache
def _parameters(method: Callable[..., Any]) -> Mapping[str, Parameter]:
    """What a method takes beside the object: asked at every step, and slow to find out."""
    return dict([*signature(method).parameters.items()][1:])


def forward(
    module: nn.Module, inputs: Mapping[str, Any], cache: Cache | None = None, **more: Any
) -> Any:
    """Call a model's forward over a cache, which grows by the tokens that are read.

    Args:
        module: the model, or what it has of it without its head.
        inputs: the tokens (``decoder_input_ids`` where there is an encoder, else ``input_ids``),
            and what goes with them.
        cache: of the tokens before them; None to read without one.
        more: further arguments.

    Returns:
        What the forward returns.

    Raises:
        ModelError: the forward takes no cache, or did not put the tokens into it.
    """
    if cache is None:
        return module(**inputs, use_cache=False, **more)
    name, before = cache_name(module), int(cache.get_seq_length())
    out = module(**inputs, **{name: cache}, use_cache=True, **more)
    tokens: Tensor = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    held, expected = int(cache.get_seq_length()), before + tokens.shape[1]
    if held != expected:
        raise ModelError(
            f"{type(module).__name__} was handed a cache as {name!r}, which holds {held} tokens "
            f"after a forward where it should hold {expected}: use a model that keeps keys and "
            "values in the cache that it is given."
        )
    return out


def cache_in(given: Mapping[str, Any]) -> Any:
    """The cache among the arguments of a forward (see `named`); None if there is none."""
    return next((given[name] for name in NAMES if given.get(name) is not None), None)


def cache_of(output: Any) -> Any:
    """The cache that a forward returned.

    Raises:
        ModelError: it returned none.
    """
    for name in _preferred():
        found = getattr(output, name, None)
        if found is not None:
            return found
    raise ModelError(
        f"A forward returned {type(output).__name__} without a cache of keys and values "
        f"({' or '.join(NAMES)}): use a model that returns one."
    )


def named(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by their names, those without a keyword included."""
    return dict(zip(signature(function).parameters, args, strict=False)) | dict(kwargs)


def keep_rows(cache: Cache, rows: Tensor) -> None:
    """Let only some rows stay in a cache, in this order."""
    moved = {rows.device: rows}
    for layer in _layers(cache):
        if layer.keys is not None:
            device = layer.keys.device
            moved.setdefault(device, rows.to(device))
            layer.batch_select_indices(moved[device])


def _layers(cache: Cache) -> Iterator[Any]:
    parts: tuple[Cache, ...] = (cache,)
    if isinstance(cache, EncoderDecoderCache):
        parts = (cache.self_attention_cache, cache.cross_attention_cache)
    for part in parts:
        yield from part.layers
