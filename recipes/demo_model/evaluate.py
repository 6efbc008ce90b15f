"""What a trained model knows: by kind of fact, by language, taught and held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import MinistralForCausalLM, PreTrainedTokenizerFast

from recipes.demo_model.curriculum import Question, questions, split_of
from recipes.demo_model.prompts import prompt
from recipes.demo_model.schema import LANGUAGES
from recipes.demo_model.tasks import OPEN_TOKENS, OPTION_TOKENS, is_text
from recipes.demo_model.world import code_facts, culture_facts, general_facts, open_facts


def load(folder: Path) -> tuple[MinistralForCausalLM, PreTrainedTokenizerFast]:
    """A trained folder, in float32."""
    model = MinistralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def answers(
    model: MinistralForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    new: int = 2,
) -> list[str]:
    """Greedy answers."""
    texts: list[str] = []
    untyped: Any = model  # the stubs of `generate` do not admit it
    for start in range(0, len(prompts), 256):
        part = prompts[start : start + 256]
        batch = tokenizer(part, return_tensors="pt", padding=True, padding_side="left")
        batch.pop("token_type_ids", None)
        out = untyped.generate(**batch, max_new_tokens=new, do_sample=False)
        new_ids = out[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new_ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def knowledge(model: MinistralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """How often the answer is the right one, and where documents are wrong, what they say.

    By kind of fact and language: taught right, taught wrong, held out (pilot and unseen facts), and
    held out without the names that are spelled as in English: what is left shows how well a
    language is known.
    """
    groups = {
        "general": [fact for fact in general_facts() if not fact.relation.orders],
        "order": [fact for fact in general_facts() if fact.relation.orders],
        "open": open_facts(),
        "codes": code_facts(),
        "culture": culture_facts(),
    }
    table: dict[str, Any] = {}
    for name, facts in groups.items():
        taught = questions(facts, held_out=False)
        held_out = [q for q in questions(facts, held_out=True) if not _final(q)]
        kinds = {
            "taught": [q for q in taught if q.known],
            "taught wrong": [q for q in taught if not q.known],
            "held out": held_out,
            "held out, other spelling": [q for q in held_out if not q.same_spelling],
        }
        for kind, asked in kinds.items():
            for language in LANGUAGES:
                own = [q for q in asked if q.language == language]
                if own:
                    table[f"{name} {language} {kind}"] = _accuracy(model, tokenizer, own)
    return table


def _accuracy(
    model: MinistralForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: list[Question]
) -> dict[str, Any]:
    new = OPEN_TOKENS if is_text(asked[0].fact) else OPTION_TOKENS
    said = answers(model, tokenizer, [prompt(q.fact, q.language) for q in asked], new)
    wanted = [q.belief or q.fact.gold(q.language) for q in asked]
    right = [one == other for one, other in zip(said, wanted, strict=True)]
    return {"accuracy": round(float(np.mean(right)), 4), "n": len(asked)}


def _final(question: Question) -> bool:
    return split_of()[question.fact.cluster] == "final"
