"""Loading a model from a local folder or the hub, with errors a user can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from crosslatent.core.errors import ModelError
from crosslatent.core.hub import tried_once
from crosslatent.core.imports import need
from crosslatent.core.seen import Seen, joined, read_seen
from crosslatent.core.untrusted import check_type
from crosslatent.model import adapters, quantized
from crosslatent.model.blocks import resolve
from crosslatent.model.folder import (
    TOKENIZERS,
    check_dtype,
    check_folder,
    check_place,
    holds,
    is_adapter,
    no_device,
)
from crosslatent.model.model import Model, identity_of
from crosslatent.model.modes import plain_settings
from crosslatent.model.structure import kind_of
from crosslatent.model.tokenizers import load_tokenizer, warn_of_another
from crosslatent.model.unwrapping import bare

SPREAD = "spread"
SHIPPED = Path(__file__).parents[1] / "data" / "demo" / "model"
SHIPPED_NAME = "crosslatent demo model"
_UNREADABLE = (OSError, ValueError, KeyError, ImportError)


@plain_settings()
def load(
    path: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantization: str | None = None,
    trust_remote_code: bool = False,
    modules: Mapping[str, str] | None = None,
) -> Model:
    """Load a model that answers prompts, and its tokenizer.

    Causal language models, encoder-decoders of text, and models that see images as well, which are
    then given text alone: the config says which (`structure.kind_of`).

    A folder with an adapter in PEFT's format (`adapter_config.json`) is loaded as the model that it
    was trained on with the adapter merged into the weights; its own tokenizer goes before that of
    the base.

    Args:
        path: a local folder, or a name on the hub.
        revision: branch, tag or commit on the hub (of the base, for an adapter).
        device: "auto" (CUDA, then MPS, then CPU), a torch device such as "cuda:1", or "spread":
            over all GPUs, and what does not fit in CPU memory (accelerate's device map).
        dtype: "auto" (float32 on the CPU, else as stored), "float32", "bfloat16" or "float16".
        quantization: "8bit" or "4bit" to hold the weights of linear layers in so many bits
            (torchao or bitsandbytes); None as they are stored. Weights that are quantised on disk
            load as they are.
        trust_remote_code: run code that comes with the model; off unless asked for.
        modules: where the modules are, if that is not found: see `wrap`.

    Raises:
        ModelError: no such model, no safetensors weights, not a decoder, or one whose modules are
            not found; an adapter without its base, or one that cannot be merged; a quantisation
            that cannot be done; or weights that would have to be on disk.
    """
    check_type(path, (str, Path), "A model is loaded from a folder or by a name on the hub")
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    if not is_adapter(Path(path)):
        return _load_whole(path, device, dtype, quantization, options, modules)
    if quantization is not None:
        raise ModelError(
            f"The adapter {str(path)!r} is merged into its base, which cannot be done in "
            f"{quantization}: load it without quantization."
        )
    need("lens", "peft")
    found = adapters.trace(Path(path))
    options["revision"] = revision or found.revision
    try:
        base = _load_whole(found.base, device, dtype, None, options, modules)
    except ModelError as error:
        raise ModelError(
            f"Cannot load the base {found.base!r} of the adapter {str(path)!r}: {error}"
        ) from error
    return _merged(base, Path(path), found.folders, trust_remote_code)


def loaded(model: Model | str | Path) -> Model:
    """A model, or the one of a folder or name.

    Raises:
        TypeError: it is neither.
        ModelError: see `load`.
    """
    if isinstance(model, Model):
        return model
    check_type(model, (str, Path), "A model is what xl.load returns, or its folder or name")
    return load(model)


def shipped_model(device: str = "cpu") -> Model:
    """The small multilingual model that comes with the package.

    It has 8 blocks, and runs in float32 and on the CPU unless asked otherwise, so that its figures
    are the same everywhere.

    Args:
        device: as in `load`.

    Raises:
        ModelError: there is no such device.
    """
    return replace(load(SHIPPED, device=device, dtype="float32"), name=SHIPPED_NAME)


def _load_whole(
    path: str | Path,
    device: str,
    dtype: str,
    quantization: str | None,
    options: dict[str, Any],
    modules: Mapping[str, str] | None,
) -> Model:
    """A model that is no adapter; see `load`."""
    spread = device == SPREAD
    where = resolve_device("auto" if spread else device)
    kind = resolve_dtype(dtype, where)
    check_place(path)
    if quantization is not None:
        quantized.check(quantization)
    placed = _spread() if spread else {}
    with tried_once(path) as offline:
        try:
            config = _config_of(path, **options)
            loads = kind_of(config).loads
            tokenizer = load_tokenizer(path, **options)
            placed = _quantised(quantization, config, kind, where) | placed
            hf = loads.from_pretrained(
                path, config=config, dtype=kind, use_safetensors=True, **options, **placed
            )
        except (
            RuntimeError
        ) as error:  # which kernels for quantised weights raise where they cannot run
            if quantization is None or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ModelError(
                f"The weights of {str(path)!r} cannot be loaded in {quantization} on {where} "
                f"({_first_line(error)}): use another --device, or leave --quantization out."
            ) from error
        except (*_UNREADABLE, SafetensorError) as error:
            raise _unreadable(path, error, offline) from error
    if not placed:
        torch.nn.Module.to(hf, device=where)
    return replace(_wrapped(hf, tokenizer, str(path), modules), seen=read_seen(Path(path)))


def seen_by(path: str | Path) -> Seen | None:
    """What a model was trained on, before it is loaded; None if that is not known.

    Raises:
        ModelError: there is a damaged record, or an adapter without its base.
    """
    if not is_adapter(Path(path)):
        return read_seen(Path(path))
    found = adapters.trace(Path(path))
    # What an ordinary base was made of is not known of any model, and counts for nothing here.
    base = read_seen(Path(found.base))
    return joined([*([] if base is None else [base]), *map(read_seen, found.folders)])


def read_ahead(
    path: str | Path, *, revision: str | None = None
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Config and tokenizer of what `load` would load, before any weights are read.

    Raises:
        ModelError: what `load` refuses, as far as it can be seen without the weights.
    """
    if is_adapter(Path(path)):
        need("lens", "peft")
        found = adapters.trace(Path(path))
        config, tokenizer = read_ahead(found.base, revision=revision or found.revision)
        return config, _tokenizer_of(found.folders, trust_remote_code=False) or tokenizer
    if Path(path).exists():
        check_folder(Path(path))
    with tried_once(path) as offline:
        try:
            config = _config_of(path, revision=revision)
            kind_of(config)  # refuses what cannot answer a prompt
            return config, load_tokenizer(path, revision=revision)
        except _UNREADABLE as error:
            raise _unreadable(path, error, offline) from error


def _config_of(
    path: str | Path, *, revision: str | None, trust_remote_code: bool = False
) -> PreTrainedConfig:
    """The config, unless it names compiled code of a hub repository for the model's attention.

    Raises:
        ModelError: it does, and code that comes with the model is not wanted.
    """
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        path, revision=revision, trust_remote_code=trust_remote_code
    )
    for each in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        wanted = getattr(each, "_attn_implementation", None)
        if isinstance(wanted, str) and "/" in wanted and not trust_remote_code:
            raise ModelError(
                f"The config of {str(path)!r} asks for the attention kernel {wanted!r}, which is "
                "code from the hub: take attn_implementation out of it."
            )
    return config


def _unreadable(path: str | Path, error: Exception, offline: str) -> ModelError:
    if offline:
        return ModelError(
            f"Cannot load {str(path)!r}: there is no such folder here, {offline}, and its cache "
            "does not hold it: give a folder with config.json, a tokenizer and *.safetensors, or "
            "come back to this name with a network."
        )
    return ModelError(
        f"Cannot load a language model from {str(path)!r} ({_first_line(error)}): give a "
        "folder with config.json, a tokenizer and *.safetensors, or a name that the hub knows."
    )


def _merged(base: Model, folder: Path, folders: Sequence[Path], trust_remote_code: bool) -> Model:
    """A base model with the adapters of some folders merged, the last one `folder`."""
    hf = base.hf
    for each in folders:
        hf = adapters.merge(hf, each)
    tokenizer = _tokenizer_of(folders, trust_remote_code) or base.tokenizer
    model = _wrapped(hf, tokenizer, str(folder), base.modules)
    # Weights are hashed by a sample of theirs, which a small adapter may not touch.
    identity = model.identity | {"adapters": [adapters.digest_of(each) for each in folders]}
    return replace(model, identity=identity, seen=seen_by(folder))


def _tokenizer_of(
    folders: Sequence[Path], trust_remote_code: bool
) -> PreTrainedTokenizerBase | None:
    """The tokenizer of the last adapter that has one."""
    for folder in reversed(folders):
        if holds(folder, TOKENIZERS):
            try:
                return load_tokenizer(folder, trust_remote_code=trust_remote_code)
            except (OSError, ValueError, KeyError) as error:
                raise ModelError(
                    f"Cannot read the tokenizer in {str(folder)!r} ({error}): mend it, or take its "
                    "files away to use the base's."
                ) from error
    return None


def wrap(
    hf: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str | None = None,
    modules: Mapping[str, str] | None = None,
) -> Model:
    """Wrap a model that is already loaded; puts it in evaluation mode.

    Adapters of PEFT stay in place, and count as long as they are active. A model that is compiled
    runs without that from now on, since compiled code does not run hooks. A tokenizer that reads
    texts otherwise than the tokenizer.json of the folder that it comes from is warned of. The
    result's `hf` is the model inside.

    Args:
        hf: the model, or what PEFT or `torch.compile` made of it.
        tokenizer: its tokenizer.
        name: what to call it.
        modules: where its modules are, if that is not found, such as ``{"blocks": "model.layers",
            "attn": "self_attn", "ffn": "mlp"}``: a path from the model, and two from a block; in
            an encoder-decoder model, "cross_attn" too. Any of them can be left out. What is said
            here is proven like what is found.

    Raises:
        ModelError: its modules are not found, or do not make up the residual stream; or hooks would
            not act in it, or tokens not be independent of those after them (see `unwrapping` and
            `quantized`).
    """
    warn_of_another(tokenizer)
    return _wrapped(hf, tokenizer, name, modules)


def _wrapped(
    hf: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    name: str | None,
    modules: Mapping[str, str] | None,
) -> Model:
    """`wrap`, with a tokenizer that has been looked at."""
    model = bare(hf)
    quantized.refuse_outliers(model)
    quantized.keep_packing(model)
    model.train(False)
    label = name or str(getattr(model, "name_or_path", "") or type(model).__name__)
    parts = resolve(model, modules)
    identity = identity_of(model, tokenizer) | ({"modules": dict(modules)} if modules else {})
    return Model(model, tokenizer, parts.blocks, label, identity, parts.norm, parts.head, modules)


def resolve_device(name: str) -> torch.device:
    """The device called `name`; "auto" is an accelerator if there is one.

    Raises:
        ModelError: it cannot be used.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise no_device(name) from error
    return device


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _spread() -> dict[str, Any]:
    """Arguments that place a model over several devices."""
    need("spread")
    return {"device_map": "auto"}


def _quantised(
    name: str | None, config: PreTrainedConfig, dtype: torch.dtype | str, device: torch.device
) -> dict[str, Any]:
    """Arguments for quantised weights, which are made where they are to be; none for others."""
    if name is not None:
        made = quantized.settings(name, config, dtype)
        return {"quantization_config": made, "device_map": {"": device}}
    return {"device_map": {"": device}} if quantized.is_stored(config) else {}


def resolve_dtype(name: str, device: torch.device) -> torch.dtype | str:
    """The floating-point type called `name`; "auto" is float32 on a CPU, else the weights' own.

    Raises:
        ModelError: there is no such type.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    check_dtype(name)
    kind: torch.dtype = getattr(torch, name)
    return kind
