"""What modules of transformers take and return, as hidden states."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def hidden_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states in a module's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden(output: Tensor | tuple[Tensor, ...], hidden: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The same module output with `hidden` in the place of its hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def block_input(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """The hidden states that enter a block, from a pre-hook's arguments."""
    value = args[0] if args else kwargs["hidden_states"]
    assert isinstance(value, Tensor)
    return value


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What a module works on: its first argument that is a tensor; None if there is none."""
    return next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)


def in_shape_of(value: Tensor, like: Tensor) -> Tensor:
    """Hidden states of tokens in one row, tokens d_model, as batch pos d_model.

    Some feed-forwards (OPT's, experts of Llama 4) work on the tokens of all rows alike.
    """
    flat = value.dim() == 2 and like.dim() == 3 and value.numel() == like.numel()
    return value.view(like.shape) if flat else value
