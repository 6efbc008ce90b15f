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
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from support.families import CAUSAL, CONTEXT, SETTINGS, WITHOUT

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
"""What the fast tests run on."""

ALL_FAMILIES = CAUSAL
"""What the contract tests run on."""

PAD, EOS = "<pad>", "<eos>"


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
        family: one of `ALL_FAMILIES`: a model type, and after a hyphen what is special about it.
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
    model_type = family.partition("-")[0]
    for derived in WITHOUT.get(model_type, ()):
        del settings[derived]
    settings |= SETTINGS.get(family, {}) | overrides
    config = AutoConfig.for_model(model_type, **settings)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model, tokenizer


def has_type(family: str) -> bool:
    """Whether this version of transformers has the model type of a family."""
    return family.partition("-")[0] in CONFIG_MAPPING


def save_tiny(path: Path, family: str = "llama", seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny model and its tokenizer as a Hugging Face folder, and return the folder."""
    model, tokenizer = tiny_model(family, seed, **overrides)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
