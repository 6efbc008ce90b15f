"""Weights in 8 and 4 bits: loading them, telling them, and what their arithmetic rounds to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, TorchAoConfig

from crosslatent.core.errors import ModelError
from crosslatent.core.imports import installed, need
from crosslatent.model.folder import check_bits

_GROUP = 32
"""Weights that share a scale in torchao's 4 bits; divides the widths of all usual models."""


def _ao_8bit(_dtype: torch.dtype) -> TorchAoConfig:
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _ao_4bit(_dtype: torch.dtype) -> TorchAoConfig:
    from torchao.quantization import IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    # Packed 4 bits need kernels that there are for some GPUs only; this runs on any device, and
    # holds each weight in a byte.
    kind: Any = IntxWeightOnlyConfig
    four: torch.dtype = getattr(torch, "int4")  # noqa: B009 - torch's stubs do not know it
    return TorchAoConfig(kind(weight_dtype=four, granularity=PerGroup(_GROUP)))


def _bnb_8bit(_dtype: torch.dtype) -> BitsAndBytesConfig:
    # With outlier columns, a token's numbers would depend on the tokens beside it.
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)


def _bnb_4bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


_Maker = Callable[[torch.dtype], Any]

LIBRARIES: dict[str, tuple[tuple[str, _Maker], ...]] = {
    # torchao first: bitsandbytes computes in 8 bits too, torchao in the model's own dtype.
    "8bit": (("torchao", _ao_8bit), ("bitsandbytes", _bnb_8bit)),
    # bitsandbytes first: it packs two weights into a byte.
    "4bit": (("bitsandbytes", _bnb_4bit), ("torchao", _ao_4bit)),
}
"""What --quantization may say, and the libraries that do it, the better one first."""


def settings(name: str, config: PreTrainedConfig, dtype: torch.dtype | str) -> Any:
    """What `from_pretrained` takes as ``quantization_config``.

    Args:
        name: a key of `LIBRARIES`.
        config: of the model, which must not be quantised yet.
        dtype: what is computed in; "auto" for the dtype that the weights are stored in.

    Raises:
        ModelError: the model is quantised already.
    """
    if (method := _method_in(config)) is not None:
        raise ModelError(
            f"The weights are quantised already ({method}): leave --quantization {name} out, or "
            "give the model that they were made of."
        )
    stored: Any = config.get_text_config(decoder=True).dtype or torch.bfloat16
    make = next(make for library, make in LIBRARIES[name] if installed(library))
    return make(dtype if isinstance(dtype, torch.dtype) else stored)


def check(name: str) -> None:
    """Refuse a quantisation that there is not, or that lacks a library.

    Raises:
        ModelError: it does.
    """
    check_bits(name)
    need("quantize", either=[library for library, _ in LIBRARIES[name]])
    need("quantize", "accelerate")


def is_stored(config: PreTrainedConfig) -> bool:
    """Whether the weights are quantised as they are stored.

    Raises:
        ModelError: they are, and the library that reads them is not installed.
    """
    method = _method_in(config)
    if method in ("bitsandbytes", "torchao"):
        need("quantize", method)
    return method is not None


def method_of(hf: PreTrainedModel) -> str | None:
    """How a model's weights are quantised; None if they are not."""
    method = _method_in(hf.config)
    if method is None and any(
        not weight.is_floating_point() or _is_composed(weight) for weight in hf.parameters()
    ):
        return "a method that the config does not name"
    return method


def _method_in(config: PreTrainedConfig) -> str | None:
    settings: Any = getattr(config, "quantization_config", None)
    if not settings:
        return None
    method = settings.get("quant_method") if isinstance(settings, dict) else settings.quant_method
    return str(getattr(method, "value", method))


def _is_composed(tensor: Tensor) -> bool:
    return type(tensor) is not nn.Parameter and hasattr(tensor, "__tensor_flatten__")


def plain_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """What a weight consists of: itself, or the values and scales of a quantised one."""
    if not _is_composed(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    for name in names:
        yield from plain_tensors(getattr(tensor, name))


def arithmetic_of(hf: PreTrainedModel) -> torch.dtype:
    """The floating-point type as which a model's numbers round.

    That of its weights; but where activations are made 8-bit numbers too, a last bit that rounds
    otherwise can move one of them by a whole step (1/127 of the largest), so that nothing finer
    than half precision can be asked for.
    """
    if hf.dtype != torch.float32 or not any(map(_rounds_activations, hf.modules())):
        return hf.dtype
    return torch.float16


def _rounds_activations(module: nn.Module) -> bool:
    if type(module).__name__ == "Linear8bitLt":
        return True
    weight = getattr(module, "weight", None)
    attributes = ("act_quant_kwargs", "activation_quantization")
    return any(getattr(weight, name, None) is not None for name in attributes)


def keep_packing(hf: PreTrainedModel) -> None:
    """Keep 4-bit weights of bitsandbytes packed the way they were loaded.

    On some CPUs its layers repack themselves in the first forward, to compute in bfloat16 from then
    on. Reading such weights (`state_dict`, as for saving or hashing) packs them back with their
    scales mixed up, seen with 0.50.2; the numbers are wrong afterwards, without a word.

    Raises:
        ModelError: it has happened already.
    """
    for name, module in hf.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None:
            continue
        if getattr(state, "packing_format_for_cpu", False):
            raise ModelError(
                f"{type(hf).__name__} has run before, and bitsandbytes has repacked its 4-bit "
                f"weights since ({name}), which cannot be undone without loss: load it again, and "
                "wrap it before it runs."
            )
        module.support_avx512bf16_for_cpu = False  # its own switch


def refuse_outliers(hf: PreTrainedModel) -> None:
    """Refuse 8-bit weights under which a token's numbers depend on those beside and after it.

    The columns that are computed apart (LLM.int8(), arXiv 2208.07339, 3) are those in which any
    token of the forward has a large value: a transplant at the last token would change what comes
    before it, and a row would depend on its batch.

    Raises:
        ModelError: the model is loaded that way.
    """
    for name, module in hf.named_modules():
        if type(module).__name__ != "Linear8bitLt":
            continue
        threshold = float(getattr(getattr(module, "state", None), "threshold", 0.0))
        if threshold > 0:
            raise ModelError(
                f"{type(hf).__name__} has 8-bit weights with outlier columns (llm_int8_threshold = "
                f"{threshold:g} in {name}), which let a token's numbers depend on other tokens "
                "beside it: give a model that is loaded with llm_int8_threshold=0.0."
            )
