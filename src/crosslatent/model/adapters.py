"""Adapters in PEFT's format: a folder with what was trained, which names the model it is for."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from crosslatent.core.errors import ModelError
from crosslatent.core.imports import need
from crosslatent.core.untrusted import parse_json
from crosslatent.model.folder import ADAPTER, is_adapter

if TYPE_CHECKING:
    from peft import PeftModel

WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
"""What PEFT raises for a config or weights that do not fit; safetensors has an error of its own."""


MOST_LOST = 0.1
"""Share of an adapter's update that merging may lose before there is a warning."""


class AdapterWarning(UserWarning):
    """Merging an adapter lost much of what it changes."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Adapters and the model below them.

    Attributes:
        base: folder or hub name of the model that the first adapter was trained on.
        revision: of the base on the hub; None if the adapter does not say.
        folders: the adapters, in the order in which they are merged.
    """

    base: str
    revision: str | None
    folders: tuple[Path, ...]


def trace(folder: Path) -> Chain:
    """Follow an adapter to the model it was trained on, which may be an adapter's folder itself.

    A base that is a relative path counts from the working directory, then from the adapter.

    Raises:
        ModelError: a config that cannot be read or names no base, a base that is not there or is
            quantised, adapters that name each other, or weights that are missing or pickled.
    """
    folders: list[Path] = []
    while True:
        if any(folder.samefile(seen) for seen in folders):
            raise ModelError(
                f"The adapter {str(folder)!r} is based on itself: base_model_name_or_path in its "
                f"{ADAPTER} must name the model that it was trained on."
            )
        _check_weights(folder)
        folders.insert(0, folder)
        config = _read_config(folder)
        base = _find(config["base_model_name_or_path"], folder)
        if not isinstance(base, Path):
            return Chain(base, config.get("revision"), tuple(folders))
        if not is_adapter(base):
            _check_base(base, folder)
            return Chain(str(base), None, tuple(folders))
        folder = base


def merge(hf: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with an adapter added to its weights, which changes the model that is given.

    Weights keep their dtype. Half precision may round away part of what the adapter adds to them:
    the loss is measured, and an `AdapterWarning` is issued if it exceeds `MOST_LOST`.

    Raises:
        ModelError: PEFT is not installed, the weights are quantised or not in memory, or the
            adapter does not fit the model.
    """
    need("lens", "peft")
    _check_mergeable(hf, folder)
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # PEFT asks transformers for a property that newer versions call by another name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = PeftModel.from_pretrained(hf, folder)
        # Once more, for what from_pretrained does not tell: which names found no place.
        result = adapted.load_adapter(folder, "default")
        left_out = [*result.missing_keys, *result.unexpected_keys]
        lost = _lost(adapted)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except (*_UNREADABLE, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"The adapter {str(folder)!r} cannot be merged into its base ({reason}): give one "
            "that PEFT can merge, such as LoRA, with the model that it was trained on."
        ) from error
    if left_out:
        raise ModelError(
            f"The adapter {str(folder)!r} does not fit its base: {len(left_out)} weights have no "
            f"counterpart ({left_out[0]}); name the model that it was trained on in {ADAPTER}."
        )
    if lost > MOST_LOST:
        warnings.warn(
            f"{lost:.0%} of what the adapter {str(folder)!r} changes is lost by rounding to "
            f"{str(hf.dtype).removeprefix('torch.')}, in which its base was loaded: load it with "
            "dtype float32.",
            AdapterWarning,
            stacklevel=2,
        )
    merged.requires_grad_(True)  # PEFT has frozen what it adapted
    merged.train(False)
    return merged


def _lost(adapted: PeftModel) -> float:
    """Share of the updates that is lost when they are added in the dtype of the weights.

    Norm of the rounding errors by norm of the updates; 0 for weights in float32, and for adapters
    that do not say what they add.
    """
    error = change = 0.0
    for module in adapted.modules():
        weight = getattr(getattr(module, "base_layer", None), "weight", None)
        delta_of: Any = getattr(module, "get_delta_weight", None)
        if (
            delta_of is None
            or weight is None
            or weight.dtype not in (torch.float16, torch.bfloat16)
        ):
            continue
        with torch.no_grad():
            delta = delta_of("default").float()
            rounded = (weight + delta.to(weight.dtype)).float() - weight.float()
            error += float(torch.linalg.vector_norm(rounded - delta)) ** 2
            change += float(torch.linalg.vector_norm(delta)) ** 2
    return (error / change) ** 0.5 if change else 0.0


def digest_of(folder: Path) -> str:
    """Hash of an adapter's weights and of what says how strongly they count."""
    config = _read_config(folder)
    counts = {name: config.get(name) for name in sorted(config) if name not in _ABOUT}
    digest = hashlib.sha256(json.dumps(counts, sort_keys=True).encode())
    digest.update((folder / WEIGHTS).read_bytes())
    return digest.hexdigest()[:16]


_ABOUT = frozenset({"base_model_name_or_path", "revision", "inference_mode", "peft_version"})
"""Fields of an adapter's config that change nothing about what it computes."""


def quantisation_of(hf: PreTrainedModel) -> str | None:
    """Name of the method that a model's weights are quantised with; None if they are not."""
    method = getattr(hf, "quantization_method", None)
    if method is None and not getattr(hf, "is_quantized", False):
        return None
    return str(getattr(method, "value", method) or "an unnamed method")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / ADAPTER
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read {str(path)!r} ({error}): give PEFT's own file.") from error
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    for name in _CODE:
        if isinstance(config, dict) and config.get(name):
            raise ModelError(
                f"{str(path)!r} has {name}, which makes PEFT import a module that the file names: "
                "take it out, since merging needs none."
            )
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{str(path)!r} names no base model (base_model_name_or_path is {base!r}): add the "
            "folder or hub name of the model that the adapter was trained on."
        )
    return dict(config)


_CODE = ("megatron_config",)
"""Fields of an adapter's config by which PEFT imports what they name."""


def _find(base: str, folder: Path) -> Path | str:
    """The base's folder, or its name as it is if it may be one of the hub."""
    for path in (Path(base), folder / base):
        if path.is_dir():
            return path
    # A name on the hub has one slash at most, and does not begin like a path.
    if base.startswith(("/", ".", "~")) or "\\" in base or base.count("/") > 1:
        raise ModelError(
            f"The adapter {str(folder)!r} was trained on {base!r}, which is not there: put that "
            f"model there, or change base_model_name_or_path in {ADAPTER}."
        )
    return base


def _check_weights(folder: Path) -> None:
    if (folder / WEIGHTS).is_file():
        return
    if (folder / _PICKLED).is_file():
        raise ModelError(
            f"The adapter {str(folder)!r} is pickled ({_PICKLED}), which can run code when read: "
            f"save it with PEFT's save_pretrained(folder), which writes {WEIGHTS}."
        )
    raise ModelError(f"The adapter {str(folder)!r} holds no weights: it must hold {WEIGHTS}.")


def _check_base(base: Path, folder: Path) -> None:
    """Refuse a quantised base before its weights are read."""
    try:
        config = parse_json((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # loading says what is wrong with it
    settings = config.get("quantization_config") if isinstance(config, dict) else None
    if settings:
        method = settings.get("quant_method") if isinstance(settings, dict) else settings
        _refuse_quantised(folder, str(method))


def _refuse_quantised(folder: Path, method: str | None) -> None:
    if method is not None:
        raise ModelError(
            f"The adapter {str(folder)!r} can be trained on, but not merged into, a base that is "
            f"quantised ({method}): name an unquantised copy of the base in {ADAPTER}."
        )


def _check_mergeable(hf: PreTrainedModel, folder: Path) -> None:
    _refuse_quantised(folder, quantisation_of(hf))
    if any(weight.device.type == "meta" for weight in hf.parameters()):
        raise ModelError(
            f"The adapter {str(folder)!r} cannot be merged into a base that is partly offloaded: "
            "load it on one device, or merge it beforehand and save the whole model."
        )
