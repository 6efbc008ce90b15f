"""Settings that are guaranteed while a model runs, regardless of those of process and model.

A setting that is made once, when a model is loaded, says nothing about the call that comes later:
a user trains in between, opens autocast, or sets another precision. So everything here is for the
time of one call; what was set before is set again afterwards, also after an exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from transformers import GenerationConfig, PreTrainedModel

from crosslatent.model.unwrapping import without_compilation

_HIGHEST = "highest"
_DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices for which autocast can be open."""


@contextmanager
def answering(hf: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """While open, a model computes what its weights say.

    Every module is in evaluation mode (no dropout, and nothing recomputed), numbers are computed as
    `plain_settings` says, and compiled code runs as it was written. Hooks and adapters stay: they
    are a part of the model that the user has made.

    Args:
        hf: the model.
        gradients: whether gradients can be taken inside; else none is kept.
    """
    with ExitStack() as held:
        held.enter_context(plain_settings())
        held.enter_context(evaluating(hf))
        held.enter_context(without_compilation())
        if not gradients:
            held.enter_context(torch.no_grad())
        yield


@contextmanager
def evaluating(hf: nn.Module) -> Iterator[None]:
    """While open, every module of a model is in evaluation mode; each gets its own flag back."""
    training = [module for module in hf.modules() if module.training]
    try:
        # Not module.train(), which a class may have made to do more, such as merging adapters.
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def evaluating_calls(hf: nn.Module) -> Iterator[None]:
    """While open, every forward of a model runs in evaluation mode, even if it is set otherwise.

    Between the forwards, the flags are as the user has set them.
    """
    calls: list[ExitStack] = []

    def before(module: nn.Module, _args: object) -> None:
        if module is hf:
            calls.append(ExitStack())
            calls[-1].enter_context(evaluating(hf))

    def after(module: nn.Module, _args: object, _output: object) -> None:
        if module is hf and calls:
            calls.pop().close()

    # For all modules, so that the model has no hook beside those of its edits, nor a copy of it.
    first = register_module_forward_pre_hook(before)
    last = register_module_forward_hook(after, always_call=True)
    try:
        yield
    finally:
        first.remove()
        last.remove()


@contextmanager
def generating(hf: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """`answering`, with `config` as the only generation config.

    Whatever a config leaves open, `generate` takes from the model's own (penalties, beams, forced
    and suppressed tokens), so the model's own is put aside.
    """
    model: Any = hf
    own = model.generation_config
    with answering(hf):
        model.generation_config = config
        try:
            yield
        finally:
            model.generation_config = own


@contextmanager
def plain_settings() -> Iterator[None]:
    """While open, what a process has set for torch does not change numbers.

    No autocast; new tensors are float32 and on the CPU unless said otherwise; products of float32
    matrices are float32, not TF32 or bfloat16; what is made is no inference tensor, and gradients
    can be taken.
    """
    with ExitStack() as held:
        for kind in _DEVICES:
            if torch.is_autocast_enabled(kind):
                held.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            held.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            held.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            held.enter_context(torch.inference_mode(False))
        held.enter_context(torch.enable_grad())
        held.enter_context(_whole_float32())
        yield


@contextmanager
def _whole_float32() -> Iterator[None]:
    # Since torch 2.9 each backend has a setting of its own, beside the one for all.
    every: Any = torch.backends
    backends: tuple[Any, ...] = (every.cuda.matmul, getattr(every.mkldnn, "matmul", None))
    own = [(each, each.fp32_precision) for each in backends if hasattr(each, "fp32_precision")]
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # it refuses to speak for backends that were set one by one
        before = _HIGHEST
    if before == _HIGHEST and all(value in ("ieee", "none") for _, value in own):
        yield
        return
    torch.set_float32_matmul_precision(_HIGHEST)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for each, value in own:
            if each.fp32_precision != value:
                each.fp32_precision = value
