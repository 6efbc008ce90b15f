"""Tiny models of two stacks: an encoder and a decoder, or a vision tower and a text decoder.

Both stacks have as many blocks of the same shape, so that taking the wrong one would go through.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from crosslatent import wrap
from crosslatent.model import Model
from support.families import CONTEXT, WINDOW
from support.models import byte_tokenizer

FORCED = 77
"""The first token of an answer, where a family forces one."""
BLOCKS = 4

_T5 = {
    "d_kv": 8, "d_ff": 64, "num_layers": BLOCKS, "num_heads": 4, "initializer_factor": 4.0,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip
_BART = {
    "encoder_layers": BLOCKS, "decoder_layers": BLOCKS, "encoder_ffn_dim": 64,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_ffn_dim": 64,
    "init_std": 0.3,
}  # fmt: skip
# As in the released models: the start token is the end token, and not that of padding.
_LANGUAGES = _BART | {"decoder_start_token_id": 1, "forced_bos_token_id": FORCED}

ENCODED: dict[str, dict[str, Any]] = {
    # Version 1.0, whose embeddings are also its head, and scaled there.
    "t5-first": _T5 | {"feed_forward_proj": "relu", "tie_word_embeddings": True},
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "longt5": _T5,
    "bart": _BART | {"decoder_start_token_id": 1},
    "bart-forced": _BART | {"decoder_start_token_id": 1, "forced_bos_token_id": FORCED},
    "bart-uneven": _BART | {"decoder_start_token_id": 1, "encoder_layers": 2},
    "mbart": _LANGUAGES,
    "m2m_100": _LANGUAGES | {"init_std": 0.5},
    "pegasus": _BART,
    "marian": _BART,
}
"""Encoder-decoder families, and what their configs need beside the common fields."""

_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": CONTEXT, "initializer_range": 0.3, "bos_token_id": None,
    "tie_word_embeddings": False,
}  # fmt: skip
_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4, "image_size": 16, "patch_size": 8,
}  # fmt: skip
_PATCHES = {
    "depth": BLOCKS, "hidden_size": 32, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 1,
    "temporal_patch_size": 1,
}  # fmt: skip
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
_CAPPED = {"sliding_window": WINDOW, "query_pre_attn_scalar": 8}


def _seeing(
    reads: str, vision: dict[str, Any], text: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    own = _TEXT | (text or {}) | {"model_type": reads}
    return {"text_config": own, "vision_config": vision} | fields


SEEING: dict[str, dict[str, Any]] = {
    "llava": _seeing("llama", _VISION | {"model_type": "clip_vision_model"}),
    "qwen2_vl": _seeing("qwen2_vl_text", _PATCHES | {"embed_dim": 32, "mlp_ratio": 2}, text=_ROPE),
    "qwen2_5_vl": _seeing(
        "qwen2_5_vl_text",
        _PATCHES
        | {"out_hidden_size": 32, "intermediate_size": 64, "fullatt_block_indexes": [3]}
        | {"window_size": 8},
        text=_ROPE,
    ),
    "gemma3": _seeing(
        "gemma3_text",
        _VISION | {"model_type": "siglip_vision_model"},
        text=_CAPPED | {"sliding_window_pattern": 2},
        mm_tokens_per_image=4,
    ),
    "paligemma": _seeing(
        "gemma", _VISION | {"model_type": "siglip_vision_model"}, projection_dim=32
    ),
    "paligemma-2": _seeing(
        "gemma2",
        _VISION | {"model_type": "siglip_vision_model"},
        text=_CAPPED,
        projection_dim=32,
    ),
    "idefics3": _seeing("llama", _VISION, scale_factor=1),
    "smolvlm": _seeing("llama", _VISION, scale_factor=1),
    "mistral3": _seeing("mistral", _VISION | {"model_type": "pixtral", "head_dim": 8}),
    "aya_vision": _seeing("cohere2", _VISION | {"model_type": "siglip_vision_model"}),
}
"""Families that see images, and the configs of their two stacks."""

BOTH_WAYS = ("paligemma", "paligemma-2")
"""Those whose prompts are read in both directions: only single rows are right."""

TWO_STACKS = (*ENCODED, *SEEING)


def has_type(family: str) -> bool:
    """Whether this version of transformers has the model type of a family."""
    return family.partition("-")[0] in CONFIG_MAPPING


def tiny_two_stacks(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A model of `family` in float32 on the CPU, with 4 blocks in each stack.

    Args:
        family: one of `TWO_STACKS`: a model type, and after a hyphen what is special about it.
        seed: of the weights.
        overrides: fields of the family's config.
    """
    tokenizer = byte_tokenizer()
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if family in ENCODED:
        kind: Any = AutoModelForSeq2SeqLM
        settings = common | {
            "d_model": 32, "max_position_embeddings": CONTEXT, "bos_token_id": None,
            "decoder_start_token_id": tokenizer.pad_token_id,
        } | ENCODED[family]  # fmt: skip
    else:
        kind = AutoModelForImageTextToText
        settings = SEEING[family] | {"tie_word_embeddings": False}
        settings["text_config"] = common | settings["text_config"]
    settings |= overrides
    config = AutoConfig.for_model(family.partition("-")[0], **settings)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    model.eval()
    for name in ("decoder_start_token_id", "forced_bos_token_id"):
        # Where a released model has them: beside its weights.
        setattr(model.generation_config, name, settings.get(name))
    return model


def wrapped_stacks(family: str, seed: int = 0, **overrides: Any) -> Model:
    """A tiny model of two stacks, wrapped."""
    return wrap(tiny_two_stacks(family, seed, **overrides), byte_tokenizer())
