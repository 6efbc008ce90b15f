"""Train one seed: documents, tokenizer, model, and a Hugging Face folder in bfloat16."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    MinistralConfig,
    MinistralForCausalLM,
    PreTrainedTokenizerFast,
)

from recipes.demo_model.documents import Mix, documents
from recipes.demo_model.tokenizer import CONTEXT, train_tokenizer
from recipes.demo_model.world import codes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All settings of one training.

    Blocks but those of `far` look back `window` tokens, themselves included: the state of the last
    token cannot depend on a name before the first of `far`.
    """

    seed: int = 4
    steps: int = 3600
    lines_per_step: int = 4
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.1
    hidden: int = 192
    ffn: int = 512
    layers: int = 8
    heads: int = 6
    window: int = 2
    far: tuple[int, ...] = (4, 6)
    checkpoint_every: int = 200
    mix: Mix = field(default_factory=Mix)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> MinistralForCausalLM:
    """An untrained model."""
    kinds = ("sliding_attention", "full_attention")
    config = MinistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=recipe.hidden // recipe.heads,
        sliding_window=recipe.window,
        layer_types=[kinds[layer in recipe.far] for layer in range(recipe.layers)],
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return MinistralForCausalLM(config)


def packed(rows: list[list[int]], width: int) -> list[list[list[int]]]:
    """Documents put side by side, in the given order, into lines of at most `width` tokens."""
    lines: list[list[list[int]]] = [[]]
    used = 0
    for row in rows:
        if used + len(row) > width:
            lines.append([])
            used = 0
        lines[-1].append(row)
        used += len(row)
    return lines


@dataclass(frozen=True)
class Batch:
    """Lines of documents as tensors; no document sees another one.

    `ids` and `positions` are (batch, pos), `mask` (batch, 1, pos, pos) is true where a token
    may look, `counts` (batch, pos) is true where the token is one to predict. Positions begin
    at 0 in each document, so a prompt stands in training exactly where it stands when asked.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    counts: Tensor

    @classmethod
    def of(cls, lines: list[list[list[int]]], width: int, pad: int) -> Batch:
        """Put lines together; what is left of a line is filled with one-token documents."""
        ids = torch.full((len(lines), width), pad)
        positions = torch.zeros_like(ids)
        document = torch.arange(width).repeat(len(lines), 1) + width  # padding: each by itself
        counts = torch.zeros_like(ids, dtype=torch.bool)
        for number, line in enumerate(lines):
            start = 0
            for which, row in enumerate(line):
                end = start + len(row)
                ids[number, start:end] = torch.tensor(row)
                positions[number, start:end] = torch.arange(end - start)
                document[number, start:end] = which
                counts[number, start + 1 : end] = True
                start = end
        same = document[:, :, None] == document[:, None, :]
        return cls(ids, positions, (same & same.new_ones(width, width).tril())[:, None], counts)

    def masks(self, window: int) -> dict[str, Tensor]:
        """Where a token may look, by kind of block: everywhere, or back `window` tokens."""
        near = self.mask.new_ones(self.mask.shape[-2:]).triu(1 - window)
        return {"full_attention": self.mask, "sliding_attention": self.mask & near}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    return recipe.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2)


def _optimizer(model: MinistralForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def _save(model: MinistralForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The folder that ships: bfloat16 safetensors, and configs that stop after the answer."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    rounded: Any = model
    rounded.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _resume(path: Path, model: MinistralForCausalLM, optimizer: torch.optim.AdamW) -> int:
    """Load the last checkpoint of this folder, if there is one; returns the steps done."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


@dataclass
class Run:
    """One training under way."""

    recipe: Recipe
    tokenizer: PreTrainedTokenizerFast
    lines: list[list[list[int]]]
    model: MinistralForCausalLM
    optimizer: torch.optim.AdamW

    @classmethod
    def of(cls, recipe: Recipe) -> Run:
        """Make the documents, the tokenizer, the batches and an untrained model."""
        texts = documents(recipe.seed, recipe.mix)
        tokenizer = train_tokenizer(texts, codes())
        rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
        lines = packed(rows, CONTEXT)
        tokens = sum(map(len, rows))
        log.info("%d documents, %d tokens, %d lines", len(rows), tokens, len(lines))
        torch.manual_seed(recipe.seed)
        model = new_model(recipe, tokenizer)
        return cls(recipe, tokenizer, lines, model, _optimizer(model, recipe))

    @property
    def steps(self) -> int:
        """Number of optimizer steps; the corpus is seen at most once."""
        return min(self.recipe.steps, len(self.lines) // self.recipe.lines_per_step)

    def step(self, number: int) -> float:
        """One optimizer step; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, number, self.steps)
        count = self.recipe.lines_per_step
        lines = self.lines[number * count : (number + 1) * count]
        batch = Batch.of(lines, CONTEXT, self.tokenizer.pad_token_id)
        hidden = self.model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.masks(self.recipe.window),
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(hidden[:, :-1][batch.counts[:, 1:]])
        loss = cross_entropy(logits, batch.ids[batch.counts])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.item())

    def checkpoint(self, done: int, path: Path) -> None:
        """Save what a resumed run needs."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "step": done}, path)


def train(recipe: Recipe, folder: Path) -> None:
    """Train `recipe` into `folder`; the same call again goes on after the last checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    run = Run.of(recipe)
    first, started = _resume(checkpoint, run.model, run.optimizer), time.time()
    for done in range(first + 1, run.steps + 1):
        loss = run.step(done - 1)
        if done % recipe.checkpoint_every == 0:
            pace = (time.time() - started) / (done - first)
            log.info("step %d of %d, loss %.4f, %.3f s/step", done, run.steps, loss, pace)
            run.checkpoint(done, checkpoint)
    _save(run.model, run.tokenizer, folder)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
