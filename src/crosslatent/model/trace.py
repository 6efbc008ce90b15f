"""What goes into the modules of a model and what comes out of them, in one short forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from crosslatent.model.modes import answering
from crosslatent.model.structure import decoder_of, has_encoder, text_config
from crosslatent.model.unwrapping import offload_hooks

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
    """The same arguments with `hidden` in the place of the hidden states."""
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


_PROBE_TOKENS = 3
ENCODED_TOKENS = 5
"""What the encoder reads in a probe, if there is one: more than the decoder, to tell them apart."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def before(hooks: ExitStack, module: nn.Module, hook: Callable[..., Any]) -> None:
    """Call `hook` (module, args, kwargs) before a module runs, while `hooks` is open."""
    hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def after(hooks: ExitStack, module: nn.Module, hook: Callable[..., Any]) -> None:
    """Call `hook` (module, args, output) after a module has run, while `hooks` is open."""
    hooks.callback(module.register_forward_hook(hook).remove)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module.

    Attributes:
        entered: the first tensor among its arguments.
        left: the hidden states that it returned.
        device: where they were.
    """

    entered: Tensor
    left: Tensor
    device: torch.device | None = None


@dataclass(frozen=True, slots=True)
class BlockTrace:
    """What the probe saw of one block, batch pos d_model.

    Attributes:
        entered: its input.
        left: its output.
        calls: what was seen of the modules in it, by their paths; no entry if one was not called.
        norms: which of these may be norms: modules without any matrix of weights.
    """

    entered: Tensor
    left: Tensor
    calls: Mapping[str, list[Call]]
    norms: frozenset[str]


@dataclass(slots=True)
class Trace:
    """Calls of modules, as copies, since some blocks go on to add to a module's output in place.

    On the CPU, since not every device has the double precision that the proof takes.
    """

    calls: dict[nn.Module, list[Call]] = field(default_factory=dict)
    odd: dict[nn.Module, str] = field(default_factory=dict)
    """Modules that were called and not seen: what they do instead, as the end of a sentence."""

    def watch(self, hooks: ExitStack, modules: Iterable[nn.Module]) -> None:
        """Keep the calls of modules while `hooks` is open; a module may be named twice."""
        for module in dict.fromkeys(modules):
            entered: list[Tensor] = []
            before(hooks, module, self._enters(entered))
            after(hooks, module, self._leaves(entered))

    def seen(self, block: nn.Module, paths: Iterable[str]) -> BlockTrace:
        """What became of the stream in a block, and of the modules at some paths in it."""
        whole = self.calls[block][-1]
        calls = {
            path: [
                Call(in_shape_of(call.entered, whole.entered), in_shape_of(call.left, whole.left))
                for call in self.calls[block.get_submodule(path)]
            ]
            for path in paths
            if block.get_submodule(path) in self.calls
        }
        norms = frozenset(path for path in calls if not has_matrix(block.get_submodule(path)))
        return BlockTrace(whole.entered, whole.left, calls, norms)

    @staticmethod
    def _enters(entered: list[Tensor]) -> Any:
        def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
            value = first_tensor(args, kwargs)
            entered[:] = [] if value is None else [copied(value)]

        return keep

    def _leaves(self, entered: list[Tensor]) -> Any:
        def keep(module: nn.Module, _args: Any, output: Any) -> None:
            value: Any = hidden_of(output)
            if isinstance(value, Tensor) and entered:
                call = Call(entered[0], copied(value), value.device)
                self.calls.setdefault(module, []).append(call)
            else:
                gives = f"returns a {type(output).__name__}, and no tensor of hidden states"
                self.odd[module] = gives if entered else "is called without hidden states"

        return keep


def has_matrix(module: nn.Module) -> bool:
    """Whether one of a module's weights is a matrix."""
    return any(weight.dim() >= 2 for weight in module.parameters())


def copied(value: Tensor) -> Tensor:
    """A copy on the CPU."""
    return value.detach().to("cpu", copy=True)


def input_device(hf: PreTrainedModel) -> torch.device:
    """Where token ids go: the device of the embeddings."""
    embeddings = hf.get_input_embeddings()
    weight = embeddings.weight
    assert isinstance(weight, Tensor)
    if weight.device.type == "meta":  # kept elsewhere until it is used; accelerate knows where to
        hooks = offload_hooks(embeddings)
        return torch.device(next(each.execution_device for each in hooks if each.offload))
    return weight.device


def probe(hf: PreTrainedModel, last: int = 0) -> Tensor:
    """Final states of a few tokens, batch pos d_model; `last` picks another last token.

    Without the head, which may be large and not even in memory yet, and mixes no positions.
    """
    ids = torch.arange(_PROBE_TOKENS, device=input_device(hf))[None]
    ids[:, -1] += last
    inputs = {"input_ids": ids % text_config(hf).vocab_size}
    decoder: Any = hf.base_model
    with answering(hf):
        if decoder is hf:  # T5 and others have no module for all but the head
            decoder = decoder_of(hf)
        if has_encoder(hf):
            read = torch.arange(ENCODED_TOKENS, device=ids.device)[None] % hf.config.vocab_size
            if decoder is hf.base_model:
                inputs = {"input_ids": read, "decoder_input_ids": inputs["input_ids"]}
            else:
                encoder: Any = hf.get_encoder()
                inputs["encoder_hidden_states"] = encoder(input_ids=read)[0]
        out = decoder(**inputs, use_cache=False)
    return hidden_of(out[0])


class ArgumentsOf:
    """The arguments of one module's last call, with their tensors as they are."""

    def __init__(self, hooks: ExitStack, module: nn.Module) -> None:
        """Keep them while `hooks` is open."""
        self.module = module
        self._last: Arguments | None = None
        before(hooks, module, self._keep)

    def _keep(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        self._last = (args, kwargs)

    @property
    def hold_encoded(self) -> bool:
        """Whether the states of an encoder are among them."""
        args, kwargs = self._last or ((), {})
        shapes = [each.shape for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        return any(len(shape) == 3 and shape[1] == ENCODED_TOKENS for shape in shapes)

    @torch.no_grad()
    def again(self, change: float) -> Tensor | None:
        """What the module returns if the first token that enters it is another; None if unknown."""
        if self._last is None:
            return None
        args, kwargs = self._last
        value = first_tensor(args, kwargs)
        if value is None or value.dim() < 2:
            return None
        other = value.clone()
        other[..., 0, :] += change
        swapped, named = with_input(args, kwargs, lambda same: same, other)
        return copied(hidden_of(self.module(*swapped, **named)))
