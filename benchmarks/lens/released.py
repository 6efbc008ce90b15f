"""The released scheme of Lens (arXiv 2410.04407), re-created plainly on transformers.

Two whole models in memory, the one that is trained and the untouched reference. Every step both
read the batch in both languages, padded on the right, and return the hidden states of all layers.
Where the released script reads the last column of a batch, which is padding for shorter texts, the
last real token is read here; everything else is what a Trainer of transformers does. Nothing of
this package is imported: its libraries would count as memory of this scheme.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    get_cosine_schedule_with_warmup,
)

from benchmarks.lens.cases import CENTRAL, TRAINED
from benchmarks.lens.task import Prepared, Trained

LR, WEIGHT_DECAY, WARM_UP, CLIP = 1e-5, 0.1, 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Subspaces:
    """The final layer's subspaces as matrices, as the released script has them.

    Attributes:
        agnostic: P_a, d_model d_model.
        specific: P_s, d_model d_model.
        directions: D_l by language, d_model.
    """

    agnostic: Tensor
    specific: Tensor
    directions: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path) -> Subspaces:
        """The final layer's, which a space keeps after those of the blocks."""
        languages = json.loads((folder / "space.json").read_text(encoding="utf-8"))["languages"]
        arrays = load_file(folder / "space.safetensors")
        shared, basis, means = (arrays[name][-1] for name in ("agnostic", "specific", "means"))
        specific = basis @ basis.T
        central = means[languages.index(CENTRAL)]
        directions = {
            lang: (specific @ (mean - central)).float()
            for lang, mean in zip(languages, means, strict=True)
        }
        agnostic = torch.outer(shared, shared) / (shared @ shared)
        return cls(agnostic.float(), specific.float(), directions)


@dataclass(slots=True)
class Scheme:
    """Both models, and what they are trained with."""

    model: PreTrainedModel
    reference: PreTrainedModel
    tokenizer: Any
    subspaces: Subspaces
    logits: bool

    def train(self, rows: Sequence[dict[str, str]], order: Sequence[Sequence[int]]) -> Trained:
        """All steps for one target language; `order` has the rows of each step."""
        target = next(lang for lang in rows[0] if lang != CENTRAL)
        blocks = self._trained_blocks()
        optimizer, schedule = _optimizer(blocks, len(order))
        losses: list[dict[str, float]] = []
        for numbers in order:
            batch = [rows[number] for number in numbers]
            terms = self._losses(batch, target)
            sum(terms.values(), torch.zeros(())).backward()
            nn.utils.clip_grad_norm_(blocks.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append({name: float(term.detach()) for name, term in terms.items()})
        return Trained(losses, {name: weight.detach() for name, weight in _named(self.model)})

    def reset(self) -> None:
        """Make the trained model the untrained one again."""
        self.model.load_state_dict(self.reference.state_dict())

    def _trained_blocks(self) -> nn.ModuleList:
        """The top blocks, and they alone want a gradient."""
        self.model.requires_grad_(False)
        blocks = nn.ModuleList(self.model.get_submodule("model.layers")[-TRAINED:])  # type: ignore[index]
        blocks.requires_grad_(True)
        return blocks

    def _losses(self, batch: list[dict[str, str]], target: str) -> dict[str, Tensor]:
        """The three losses of a batch (docs/methods.md, 7.2)."""
        states: dict[str, Tensor] = {}
        frozen: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for lang in (CENTRAL, target):
            texts = [row[lang] for row in batch]
            inputs = self.tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
            inputs.pop("token_type_ids", None)
            states[lang] = self._final(self.model, inputs)
            with torch.no_grad():
                frozen[lang] = self._final(self.reference, inputs)
            masks[lang] = inputs["attention_mask"]
        last = {lang: _last(states[lang], masks[lang]) for lang in states}
        before = _last(frozen[target], masks[target])
        known = self.subspaces
        moved = (last[target] - before) @ known.specific - known.directions[target]
        kept = _mean(states[CENTRAL], masks[CENTRAL]) - _mean(frozen[CENTRAL], masks[CENTRAL])
        return {
            "align": ((last[CENTRAL] - last[target]) @ known.agnostic).square().mean(),
            "separate": moved.square().mean(),
            "retain": kept.square().mean(),
        }

    def _final(self, hf: PreTrainedModel, inputs: Any) -> Tensor:
        """States after the final norm, batch pos d_model."""
        reader = hf if self.logits else hf.base_model
        final: Tensor = reader(**inputs, output_hidden_states=True).hidden_states[-1]
        return final


def prepare(folder: Path, *, logits: bool) -> Prepared:
    """Load both models; returns what trains for one target language after the other."""
    model, reference = (
        AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        for _ in range(2)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    subspaces = Subspaces.read(folder / "space")
    scheme = Scheme(model, reference.eval(), tokenizer, subspaces, logits)
    scheme.model.eval()  # no dropout in this model, and none in any that it was released for

    def train(
        target: str, epochs: int, rows: list[dict[str, str]], order: list[list[int]]
    ) -> Trained:
        del epochs  # `order` has them all
        return scheme.train(
            [{lang: row[lang] for lang in (CENTRAL, target)} for row in rows], order
        )

    return Prepared(train, scheme.reset, (model, reference))


def _optimizer(blocks: nn.Module, steps: int) -> tuple[Any, Any]:
    """AdamW without decay of norms and biases, and its schedule, as a Trainer makes them."""
    named = list(blocks.named_parameters())
    decayed = [weight for name, weight in named if not re.search(r"norm|bias", name)]
    others = [weight for name, weight in named if re.search(r"norm|bias", name)]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    warm_up = math.ceil(WARM_UP * steps)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, warm_up, steps)


def _named(hf: PreTrainedModel) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in hf.named_parameters() if weight.requires_grad]


def _last(states: Tensor, mask: Tensor) -> Tensor:
    """States of the last real tokens of right-padded texts, batch d_model."""
    return states[torch.arange(len(states)), mask.sum(1) - 1]


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean state of the real tokens, batch d_model."""
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
