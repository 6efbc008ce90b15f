"""What tells a model from another: hashes of its config, weights and tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import canonical_hash
from crosslatent.model import quantized
from crosslatent.model.unwrapping import adapters_of, offload_hooks


def identity_of(hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Plain data that tells a model from another: hashes of config, weights and tokenizer."""
    config = hf.config.to_dict()
    for volatile in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(volatile, None)
    return {
        "type": hf.config.model_type,
        "config_hash": canonical_hash({key: repr(value) for key, value in config.items()}),
        "weights_hash": _weights_hash(hf),
        "tokenizer_hash": _tokenizer_hash(tokenizer),
        "dtype": str(hf.dtype).removeprefix("torch."),
        "parameters": hf.num_parameters(),
        "commit": getattr(hf.config, "_commit_hash", None),
        **adapters_of(hf),
        **({} if (method := quantized.method_of(hf)) is None else {"quantization": method}),
    }


def identity_now(hf: PreTrainedModel, known: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a model that was wrapped before, as it is now.

    Its weights may have been trained or moved to another type since, and its adapters switched.

    Args:
        hf: the model.
        known: its `identity_of` when it was wrapped, with what loading added.
    """
    kept = {name: value for name, value in known.items() if name not in _OF_ADAPTERS}
    return kept | {
        "weights_hash": _weights_hash(hf),
        "dtype": str(hf.dtype).removeprefix("torch."),
        **adapters_of(hf),
    }


_OF_ADAPTERS = ("active_adapters", "adapters_hash")


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = tokenizer.get_vocab() if backend is None else _without_state(backend)
    return canonical_hash([content, getattr(tokenizer, "chat_template", None)])


def _without_state(backend: Any) -> str:
    """A tokenizer as JSON, without the padding and truncation that its last call has set."""
    if backend.padding is None and backend.truncation is None:
        return str(backend.to_str())
    # On a copy, since the tokenizer may be in use.
    plain = type(backend).from_str(backend.to_str())
    plain.no_padding()
    plain.no_truncation()
    return str(plain.to_str())


def _fetched(hf: PreTrainedModel, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight, fetched if accelerate keeps it elsewhere until it is used."""
    if tensor.device.type != "meta":
        return tensor
    owner, _, attribute = name.rpartition(".")
    for hook in offload_hooks(hf.get_submodule(owner)):
        if hook.weights_map is not None and attribute in hook.weights_map:
            kept: torch.Tensor = hook.weights_map[attribute]
            return kept
    raise ModelError(f"The weight {name!r} holds no numbers: load the model with from_pretrained.")


def rounded_weights_hash(hf: PreTrainedModel) -> str:
    """The hash of weights in bfloat16: the same whether a model was loaded in that or in float32.

    A training whose updates are lost in bfloat16 does not change it.
    """
    return _weights_hash(hf, torch.bfloat16)


def _weights_hash(hf: PreTrainedModel, dtype: torch.dtype | None = None) -> str:
    """Hash of a sample of every tensor: cheap for any size; sees training, not every small edit."""
    digest = hashlib.sha256()
    for name, placed in hf.state_dict().items():
        digest.update(name.encode())
        for part in quantized.plain_tensors(_fetched(hf, name, placed)):
            digest.update(repr(tuple(part.shape)).encode())
            flat = part.detach().reshape(-1)
            sample = flat[:: max(flat.numel() // 64, 1)][:64]
            digest.update(sample.to(dtype or sample.dtype).float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
