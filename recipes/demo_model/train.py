"""Train one seed: documents, tokenizer, model, and a Hugging Face folder in bfloat16."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.demo_model.documents import Mix, documents
from recipes.demo_model.tokenizer import train_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    seed: int = 1
    steps: int = 2600
    tokens_per_step: int = 1024
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.1
    hidden: int = 192
    ffn: int = 512
    layers: int = 8
    heads: int = 6
    checkpoint_every: int = 200
    mix: Mix = field(default_factory=Mix)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(rows: list[list[int]], tokens: int, rng: Random) -> list[list[list[int]]]:
    """Batches of about `tokens` tokens of like-long documents, in a random order.

    One document per row, never two in one: a prompt then stands in training exactly where
    it stands when it is asked, at position 0.
    """
    ordered = sorted(rows, key=lambda row: (len(row), rng.random()))
    found: list[list[list[int]]] = []
    batch: list[list[int]] = []
    for row in ordered:
        if batch and (len(batch) + 1) * len(row) > tokens:
            found.append(batch)
            batch = []
        batch.append(row)
    found.append(batch)
    rng.shuffle(found)
    return found


def as_tensors(batch: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, labels), each (batch, pos); padding is on the right and has label -100."""
    width = max(map(len, batch))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
    real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
    return ids, ids.masked_fill(real == 0, -100)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    return recipe.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2)


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The folder that ships: bfloat16 safetensors, and configs that stop after the answer."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _resume(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW) -> int:
    """Load the last checkpoint of this folder, if there is one; returns the steps done."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def train(recipe: Recipe, folder: Path) -> None:
    """Train `recipe` into `folder`; the same call again goes on after the last checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    texts = documents(recipe.seed, recipe.mix)
    tokenizer = train_tokenizer(texts)
    end = [tokenizer.eos_token_id]
    rows = [ids + end for ids in tokenizer(texts)["input_ids"]]
    plan = batches(rows, recipe.tokens_per_step, Random(recipe.seed))
    log.info("%d documents, %d tokens, %d batches", len(rows), sum(map(len, rows)), len(plan))
    torch.manual_seed(recipe.seed)
    model = new_model(recipe, tokenizer)
    optimizer = _optimizer(model, recipe)
    first = _resume(checkpoint, model, optimizer)
    steps, started = min(recipe.steps, len(plan)), time.time()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, steps)
        ids, labels = as_tensors(plan[step], end[0])
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % recipe.checkpoint_every == 0:
            took = (time.time() - started) / (step + 1 - first)
            log.info("step %d of %d, loss %.4f, %.3f s/step", step + 1, steps, loss.item(), took)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1}, checkpoint)
    _save(model, tokenizer, folder)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
