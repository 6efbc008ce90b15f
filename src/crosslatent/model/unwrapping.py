"""The model of transformers inside what users put around it: PEFT, ``torch.compile``, offloading.

Hooks act in modules that are run as they are. What would keep them from acting, or would act beside
them, is taken away with a warning or refused: never left in silence.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import canonical_hash

_AROUND = frozenset({"XLORA", "POLY"})
"""Types of adapters that do more than what their modules do: a forward before the forward, or an
argument that says which task it is."""


def bare(given: nn.Module) -> PreTrainedModel:
    """The model of transformers that is run: its adapters stay in place, its compilation does not.

    `torch.compile` ignores hooks that come after it, so whatever is compiled is put back to what it
    was, with a warning.

    Raises:
        ModelError: there is none inside; adapters that act around the model and not in its modules;
            or weights on disk.
    """
    hf, compiled = given, False
    while True:
        if _is_compiled(hf):
            hf, compiled = _original(hf), True
        elif (inner := _adapted(hf)) is not None:
            hf = inner
        else:
            break
    if not isinstance(hf, PreTrainedModel):
        raise ModelError(
            f"A {type(hf).__name__} is not a model of transformers: give one that from_pretrained "
            "made, or that PEFT or torch.compile made of it."
        )
    if _decompile(hf) or compiled:
        warnings.warn(
            f"{type(hf).__name__} is compiled, and compiled code does not run hooks: it runs "
            "without torch.compile from now on.",
            UserWarning,
            stacklevel=3,
        )
    refuse_disk(hf)
    return hf


def without_compilation() -> AbstractContextManager[Any]:
    """While open, compiled code runs as it was written, so that hooks act in it.

    For what the user compiled and calls, beside the model that was wrapped or after it was.
    """
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(module, torch._dynamo.OptimizedModule)  # noqa: SLF001 - it has no other name


def _original(module: nn.Module) -> nn.Module:
    original: nn.Module = module._orig_mod  # type: ignore[assignment]  # noqa: SLF001 - no public name
    return original


def _decompile(hf: nn.Module) -> bool:
    """Put compiled parts back to what they were; whether there were any."""
    found = False
    for module in list(hf.modules()):
        for name, child in module.named_children():
            if _is_compiled(child):
                module._modules[name] = _original(child)  # noqa: SLF001 - a list has no setattr
                found = True
    for module in hf.modules():
        if module._compiled_call_impl is not None:  # noqa: SLF001 - what nn.Module.compile sets
            module._compiled_call_impl = None  # noqa: SLF001
            found = True
        own: Any = vars(module).get("forward")
        if hasattr(own, "_torchdynamo_orig_callable"):  # module.forward = torch.compile(...)
            module.forward = own._torchdynamo_orig_callable  # noqa: SLF001
            found = True
    return found


def _adapted(module: nn.Module) -> nn.Module | None:
    """What is inside a wrapper of PEFT; None if it is none.

    Raises:
        ModelError: it does more than the modules that it put into the model.
    """
    if "peft" not in sys.modules:
        return None
    from peft import PeftMixedModel, PeftModel
    from peft.tuners.tuners_utils import BaseTuner

    if not isinstance(module, PeftModel | PeftMixedModel | BaseTuner):
        return None
    configs: dict[str, Any] = module.peft_config
    for name, config in configs.items():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        alora = getattr(config, "alora_invocation_tokens", None) is not None
        if config.is_prompt_learning or alora or kind in _AROUND:
            raise ModelError(
                f"The adapter {name!r} is of type {kind}{' with invocation tokens' * alora}, which "
                "acts around the model and not in its modules alone: use one that PEFT puts into "
                "modules, such as LoRA, or wrap the model without it."
            )
    inner: nn.Module = module.model if isinstance(module, BaseTuner) else module.base_model
    return inner


def adapters_of(hf: nn.Module) -> dict[str, Any]:
    """Which of PEFT's adapters are active, as plain data; nothing where there are none.

    Their weights are among the model's; how strongly they count, and whether they are switched off,
    is not.
    """
    if "peft" not in sys.modules:
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    active: set[str] = set()
    state = []
    for path, module in hf.named_modules():
        if isinstance(module, BaseTunerLayer):
            layer: Any = module
            names, disabled = list(layer.active_adapters), bool(layer.disable_adapters)
            active.update(() if disabled else names)
            scaling = getattr(layer, "scaling", None) or {}
            factors = {str(name): repr(scaling[name]) for name in scaling}
            state.append([path, sorted(names), disabled, list(layer.merged_adapters), factors])
    if not state:
        return {}
    return {"active_adapters": sorted(active), "adapters_hash": canonical_hash(state)}


def refuse_disk(hf: nn.Module) -> None:
    """Refuse a model of which accelerate keeps parts on disk.

    Every forward would read them again, and a sweep has thousands; they may also be gone before it
    is over.

    Raises:
        ModelError: it does.
    """
    placed: dict[str, Any] = getattr(hf, "hf_device_map", None) or {}
    parts = [name or "the whole model" for name, where in placed.items() if where == "disk"]
    parts = parts or list(_kept_on_disk(hf))
    if parts:
        raise ModelError(
            f"{type(hf).__name__} is partly offloaded to disk ({parts[0]}; {len(parts)} in all), "
            "which would be read again in every forward: use less memory (--dtype, --quantization, "
            "a smaller model) or a machine with more; CPU memory may hold parts of it."
        )


def offload_hooks(module: nn.Module) -> list[Any]:
    """The hooks with which accelerate fetches a module's weights and moves what enters it."""
    hook: Any = getattr(module, "_hf_hook", None)
    return [each for each in getattr(hook, "hooks", [hook]) if hasattr(each, "weights_map")]


def _kept_on_disk(hf: nn.Module) -> Iterator[str]:
    """Modules with weights that accelerate's hooks fetch from files."""
    for path, module in hf.named_modules():
        for each in offload_hooks(module):
            weights: Any = each.weights_map
            prefix = getattr(weights, "prefix", "")
            index = getattr(getattr(weights, "dataset", weights), "index", None) or {}
            if any(name.startswith(prefix) for name in index):
                yield path
