"""Tiny models with random weights, built from configs: offline, in milliseconds.

``initializer_range`` is 0.3 (for some families more) and not the usual 0.02, under which every
transplant would leave the answer as it was, so that a test that compares answers would prove
nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

PLAIN_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Sequential blocks with a norm before each module: what the authors' released code knows."""

ATTENTION_VARIANTS = (
    "gemma2",
    "gemma3_text",
    "olmo2",
    "gpt_oss",
    "phi3",
    "falcon",
    "falcon-alibi",
    "gpt_neox",
)
"""Attention or blocks that differ from those: windows, caps, sinks, norms after modules, ..."""

FAMILIES = PLAIN_FAMILIES + ATTENTION_VARIANTS
PAD, EOS = "<pad>", "<eos>"
CONTEXT = 256
"""Longest sequence that a tiny model takes, in tokens (bytes, that is)."""

WINDOW = 6
"""Positions that layers with a sliding window see: fewer than most prompts of the tests have."""

_SLIDING: dict[str, Any] = {"sliding_window": WINDOW}
_OWN_SETTINGS: dict[str, dict[str, Any]] = {
    # Caps so low that leaving them out changes the answers.
    "gemma2": _SLIDING
    | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 10.0},
    "gemma3_text": _SLIDING | {"query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "gpt_oss": _SLIDING
    | {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        # As in the released models, but for the length.
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 150_000.0,
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": CONTEXT // 32,
        },
    },
    # With the usual settings, rows of the following ones give too few different answers.
    "falcon": {"ffn_hidden_size": 64},
    "falcon-alibi": {
        "alibi": True,
        "multi_query": False,
        "parallel_attn": False,
        "bias": True,
        "initializer_range": 0.6,
    },
    "gpt_neox": {"initializer_range": 0.6},
}
"""Fields of a family's config beside those that all have."""


@cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: one token a byte, and two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([PAD, EOS, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=EOS, model_max_length=CONTEXT
    )


def tiny_model(
    family: str, seed: int = 0, **overrides: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A 4-block model of `family` in float32 on the CPU, in evaluation mode, and its tokenizer.

    Args:
        family: one of `FAMILIES`: a model type, and after a hyphen what is special about it.
        seed: of the weights.
        overrides: fields of the family's config, such as ``num_hidden_layers=2``.
    """
    tokenizer = byte_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": False,
    }
    settings |= _OWN_SETTINGS.get(family, {}) | overrides
    model_type = family.partition("-")[0]
    if model_type == "falcon":
        del settings["head_dim"]  # always d_model / heads there, and cannot be set
    config = AutoConfig.for_model(model_type, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model, tokenizer


def save_tiny(path: Path, family: str = "llama", seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny model and its tokenizer as a Hugging Face folder, and return the folder."""
    model, tokenizer = tiny_model(family, seed, **overrides)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
