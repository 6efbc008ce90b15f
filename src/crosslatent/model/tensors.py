"""What modules of transformers take and return, as hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Output = Tensor | tuple[Tensor, ...] | list[Tensor]
"""What a module returns: hidden states, or several things of which they are the first."""


def hidden_of(output: Output) -> Tensor:
    """The hidden states in a module's output."""
    return output[0] if isinstance(output, tuple | list) else output


def with_hidden(output: Output, hidden: Tensor) -> Output:
    """The same module output with `hidden` in the place of its hidden states."""
    if isinstance(output, list):
        return [hidden, *output[1:]]
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states that enter a block, from a pre-hook's arguments."""
    value = first_tensor(args, kwargs)
    assert value is not None
    return value


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What a module works on: its hidden states by name or place; None if there is no tensor."""
    named = [kwargs["hidden_states"]] if "hidden_states" in kwargs and not args else []
    values = (*named, *args, *kwargs.values())
    return next((each for each in values if isinstance(each, Tensor)), None)


def with_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Any], Any], hidden: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with `hidden` in the place of the hidden states.

    Args:
        args: of a module.
        kwargs: of a module.
        change: what becomes of every other argument.
        hidden: what enters in their place.
    """
    own = first_tensor(args, kwargs)
    places = [hidden if each is own else change(each) for each in args]
    named = {name: hidden if each is own else change(each) for name, each in kwargs.items()}
    return tuple(places), named


def in_shape_of(value: Tensor, like: Tensor) -> Tensor:
    """Hidden states of tokens in one row, tokens d_model, as batch pos d_model.

    Some feed-forwards (OPT's, experts of Llama 4) work on the tokens of all rows alike.
    """
    flat = value.dim() == 2 and like.dim() == 3 and value.numel() == like.numel()
    return value.view(like.shape) if flat else value
