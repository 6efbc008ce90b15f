"""What can be said of a model before torch is imported: its folder, its settings, its layers.

A wrong name or device is refused in a moment, and not after a large model has been loaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from crosslatent.core.errors import ModelError
from crosslatent.core.untrusted import parse_json

CONFIG, ADAPTER = "config.json", "adapter_config.json"
DTYPES = ("float32", "bfloat16", "float16")
BITS = ("8bit", "4bit")
TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_ON_THE_HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
DEVICES = Path("/dev")
_DEVICES = ("nvidia*", "nvhost*", "nvmap", "dxg")
"""What a driver of NVIDIA makes there: on servers, on boards, under Windows."""
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def check_place(place: str | Path) -> None:
    """Refuse what is neither a folder with a model or an adapter, nor a name that a hub may know.

    Raises:
        ModelError: it is not.
    """
    path = Path(place)
    if str(place) in ("", "."):
        raise ModelError(f"The model is {str(place)!r}: give a folder, or a name on the hub.")
    if path.is_file():
        gguf = "a GGUF file cannot be read" if path.suffix == ".gguf" else "it is a file"
        raise ModelError(
            f"{str(place)!r} is no model folder ({gguf}): give the folder that holds config.json, "
            "a tokenizer and *.safetensors."
        )
    if not path.exists():
        if _ON_THE_HUB.fullmatch(str(place)) is None:
            raise ModelError(
                f"There is no folder {str(place)!r}: give one with config.json, a tokenizer and "
                "*.safetensors, or a name on the hub, such as Qwen/Qwen3-0.6B."
            )
    elif not is_adapter(path):
        check_folder(path)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and not a whole model."""
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks what a model needs.

    Raises:
        ModelError: it has no config, tokenizer or weights, or only weights that are pickled.
    """
    if not folder.is_dir() or not (folder / CONFIG).is_file():
        raise ModelError(
            f"{str(folder)!r} is not a model folder: it must hold config.json, a tokenizer and "
            "*.safetensors."
        )
    # Some versions of transformers make up an empty tokenizer where there is none.
    if not holds(folder, TOKENIZERS):
        raise ModelError(
            f"{str(folder)!r} holds no tokenizer: it must hold tokenizer.json beside config.json."
        )
    if holds(folder, ("*.safetensors",)):
        return
    if holds(folder, _PICKLED):
        raise ModelError(
            f"{str(folder)!r} holds pickled weights only, which can run code when read: save them "
            "with model.save_pretrained(folder), which writes model.safetensors."
        )
    raise ModelError(
        f"{str(folder)!r} holds no weights: it must hold model.safetensors (or its shards)."
    )


def holds(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether a folder has a file of one of these patterns."""
    return any(path for pattern in patterns for path in folder.glob(pattern))


def check_device(name: str) -> None:
    """Refuse a device that cannot be there, as far as that is seen without torch.

    Raises:
        ModelError: CUDA without a driver or with a build of torch for the CPU, MPS on another
            system than macOS, or no name of a device.
    """
    kind = name.partition(":")[0]
    absent = (kind == "cuda" and not _may_have_cuda()) or (
        kind == "mps" and sys.platform != "darwin"
    )
    if absent or kind in ("", "gpu") or re.fullmatch(r"[a-z_]+(:\d+)?", name) is None:
        raise no_device(name)


def no_device(name: str) -> ModelError:
    """The error for a device that cannot be used."""
    return ModelError(f"The device {name!r} cannot be used: try auto, cpu or cuda.")


def _may_have_cuda() -> bool:
    """False if torch is built without CUDA, or this machine has no driver of NVIDIA."""
    with suppress(PackageNotFoundError):
        if (build := version("torch").partition("+")[2]) == "cpu":
            return False
        if build.startswith("rocm"):
            return True
    if not sys.platform.startswith("linux"):
        return sys.platform == "win32"
    return any(path for kind in _DEVICES for path in DEVICES.glob(kind))


def check_dtype(name: str) -> None:
    """Refuse a floating-point type that is not known.

    Raises:
        ModelError: it is not.
    """
    if name not in ("auto", *DTYPES):
        raise ModelError(f"Unknown dtype {name!r}: use auto, {', '.join(DTYPES)}.")


def check_bits(name: str) -> None:
    """Refuse a quantisation that is not known.

    Raises:
        ModelError: it is not.
    """
    if name not in BITS:
        raise ModelError(f"Unknown quantization {name!r}: use {' or '.join(BITS)}.")


def layers_of(place: str | Path) -> int | None:
    """How many blocks a model in a folder has, as its config says.

    Returns:
        None for a model on the hub, an adapter, an encoder-decoder, or a config that does not say.
    """
    try:
        config = parse_json((Path(place) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or config.get("is_encoder_decoder"):
        return None
    said = [config[name] for name in _DEPTHS if config.get(name) is not None]
    return said[0] if len(said) == 1 and type(said[0]) is int else None
