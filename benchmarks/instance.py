"""A random Llama as a Hugging Face folder, and random prompts for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.task import Component, Mode, Task
from crosslatent.core.costs import Shape

SPREAD = 0.1
"""Standard deviation of the weights. Under the usual 0.02 every transplant would leave the answer
as it was, and schemes that compute different things would still agree."""

CONTEXT = 2048
"""Longest sequence of the model, in tokens."""

OPTIONS = 3
"""Answer options that scoring mode watches."""


def config(shape: Shape, spread: float = SPREAD) -> Any:
    """A Llama config of that shape; no token ends an answer."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=CONTEXT,
        initializer_range=spread,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def tokenizer() -> Any:
    """A byte-level tokenizer without merges; prompts here are ids, so it is there to be loaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    vocab = {token: number for number, token in enumerate([*special.values(), *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=CONTEXT, **special)


def save_model(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """Write a float32 model with random weights and its tokenizer; returns the folder."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(config(shape))
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def make_task(
    shape: Shape, component: Component, mode: Mode, prompt: int, new_tokens: int, seed: int = 0
) -> Task:
    """All pairs of that shape on two random prompts of `prompt` tokens each.

    Scoring mode wants the logits after the prompt and nothing else: one new token, and the
    log-probabilities of a few options.
    """
    draw = random.Random(seed)
    main, aux = (tuple(draw.choices(range(shape.vocab), k=prompt)) for _ in range(2))
    watch = tuple(draw.sample(range(shape.vocab), OPTIONS)) if mode == "scoring" else ()
    pairs = tuple((i, j) for i in range(shape.layers) for j in range(shape.layers))
    return Task(component, main, aux, pairs, new_tokens if mode == "full" else 1, watch)
