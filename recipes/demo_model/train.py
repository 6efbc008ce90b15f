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
from torch.nn.functional import cross_entropy
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
    whole_documents: float = 0.0
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


@dataclass(frozen=True)
class Row:
    """One document: its token ids, and where the part begins on which the loss is taken."""

    ids: list[int]
    answer: int


def batches(rows: list[Row], tokens: int, rng: Random) -> list[list[Row]]:
    """Batches of about `tokens` tokens of like-long documents, in a random order.

    One document per row, never two in one: a prompt then stands in training exactly where
    it stands when it is asked, at position 0.
    """
    ordered = sorted(rows, key=lambda row: (len(row.ids), rng.random()))
    found: list[list[Row]] = []
    batch: list[Row] = []
    for row in ordered:
        if batch and (len(batch) + 1) * len(row.ids) > tokens:
            found.append(batch)
            batch = []
        batch.append(row)
    found.append(batch)
    rng.shuffle(found)
    return found


def as_tensors(batch: list[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (batch, pos), padded on the right, and (batch, pos - 1) which next tokens count."""
    width = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in batch])
    ends = torch.tensor([len(row.ids) for row in batch])[:, None]
    starts = torch.tensor([row.answer for row in batch])[:, None]
    position = torch.arange(1, width)[None]
    return ids, (position >= starts) & (position < ends)


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
    rounded: Any = model
    rounded.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _resume(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW) -> int:
    """Load the last checkpoint of this folder, if there is one; returns the steps done."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _rows(
    texts: list[str], tokenizer: PreTrainedTokenizerFast, whole: float, rng: Random
) -> list[Row]:
    """Documents as token ids; the loss is on the answer alone, but for a share `whole` of them.

    What stands before the last colon is drawn at random and cannot be predicted.
    """
    encoded: list[list[int]] = tokenizer(texts)["input_ids"]
    colon = tokenizer.convert_tokens_to_ids(":")
    rows = []
    for ids in encoded:
        last = len(ids) - ids[::-1].index(colon)
        rows.append(Row([*ids, tokenizer.eos_token_id], 1 if rng.random() < whole else last))
    return rows


@dataclass
class Run:
    """One training under way."""

    recipe: Recipe
    tokenizer: PreTrainedTokenizerFast
    plan: list[list[Row]]
    model: LlamaForCausalLM
    optimizer: torch.optim.AdamW

    @classmethod
    def of(cls, recipe: Recipe) -> Run:
        """Make the documents, the tokenizer, the batches and an untrained model."""
        texts = documents(recipe.seed, recipe.mix)
        tokenizer = train_tokenizer(texts)
        rng = Random(recipe.seed)
        rows = _rows(texts, tokenizer, recipe.whole_documents, rng)
        plan = batches(rows, recipe.tokens_per_step, rng)
        tokens = sum(len(row.ids) for row in rows)
        log.info("%d documents, %d tokens, %d batches", len(rows), tokens, len(plan))
        torch.manual_seed(recipe.seed)
        model = new_model(recipe, tokenizer)
        return cls(recipe, tokenizer, plan, model, _optimizer(model, recipe))

    @property
    def steps(self) -> int:
        """Number of optimizer steps; the corpus is seen at most once."""
        return min(self.recipe.steps, len(self.plan))

    def step(self, number: int) -> float:
        """One optimizer step; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, number, self.steps)
        ids, counts = as_tensors(self.plan[number], self.tokenizer.pad_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=ids).last_hidden_state[:, :-1]
            logits = self.model.lm_head(hidden[counts])
        loss = cross_entropy(logits.float(), ids[:, 1:][counts])
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
