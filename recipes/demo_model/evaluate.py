"""What a trained model knows, and what a transplant repairs: pilot and unseen splits only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.demo_model.curriculum import Question, questions, split_of
from recipes.demo_model.prompts import prompt
from recipes.demo_model.schema import ENGLISH, LANGUAGES
from recipes.demo_model.study import COMPONENTS, LastToken
from recipes.demo_model.tasks import Task
from recipes.demo_model.world import culture_facts, general_facts, open_facts

DRAWS = 2000
Items = list[dict[str, Any]]


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A trained folder, in float32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], new: int = 2
) -> list[str]:
    """Greedy answers."""
    texts: list[str] = []
    for start in range(0, len(prompts), 256):
        part = prompts[start : start + 256]
        batch = tokenizer(part, return_tensors="pt", padding=True, padding_side="left")
        batch.pop("token_type_ids", None)
        out = model.generate(**batch, max_new_tokens=new, do_sample=False)
        new_ids = out[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new_ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def knowledge(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sample: int = 300
) -> dict[str, Any]:
    """Accuracy by kind of fact, language, and taught or held out (pilot and unseen facts)."""
    groups = {"general": general_facts(), "open": open_facts(), "culture": culture_facts()}
    table: dict[str, Any] = {}
    for name, facts in groups.items():
        for held_out in (False, True):
            pool = questions(facts, held_out=held_out)
            if held_out:
                pool = [q for q in pool if not _final(q)]
            for language in LANGUAGES:
                own = [q for q in pool if q.language == language]
                Random(f"knowledge {name} {language}").shuffle(own)
                own = own[:sample]
                if not own:
                    continue
                asked = [prompt(q.fact, language) for q in own]
                said = answers(model, tokenizer, asked, 14 if name == "open" else 2)
                right = [a == q.fact.gold(language) for a, q in zip(said, own, strict=True)]
                key = f"{name} {language} {'held out' if held_out else 'taught'}"
                table[key] = {"accuracy": float(np.mean(right)), "n": len(own)}
    return table


def _final(question: Question) -> bool:
    return split_of()[question.fact.cluster] == "final"


@dataclass
class Prepared:
    """Items of one split with everything that does not depend on the pair."""

    items: Items
    main: LastToken
    vectors: dict[str, dict[str, Tensor]]  # donor -> component -> (layers, batch, d_model)
    gold: Tensor  # token ids (batch,)
    vanilla: Tensor  # bool (batch,)


def donors(items: Items, *, same: bool) -> list[int | None]:
    """One other item of the same language each, with the same or a different gold answer."""
    found: list[int | None] = []
    for number, item in enumerate(items):
        pool = [
            n
            for n, other in enumerate(items)
            if other["cluster"] != item["cluster"]
            and (other["lang"], other["aux_lang"]) == (item["lang"], item["aux_lang"])
            and (other["answer"] == item["answer"]) == same
        ]
        found.append(Random(f"donor {same} {item['id']}").choice(pool) if pool else None)
    return found


def _noise(vectors: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(vectors.shape, generator=generator)
    return draw * vectors.norm(dim=-1, keepdim=True) / draw.norm(dim=-1, keepdim=True)


def prepare(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, items: Items) -> Prepared:
    """Prefill, capture, and make the vectors of all controls."""
    main = LastToken.of(model, tokenizer, [item["main"] for item in items])
    own = LastToken.of(model, tokenizer, [item["aux"] for item in items]).capture()
    gold = torch.tensor([tokenizer.convert_tokens_to_ids(item["answer"]) for item in items])
    count = len(items)
    vectors = {"true": own, "self": main.capture()}
    for same in (True, False):
        rows = [n if n is not None else k for k, n in enumerate(donors(items, same=same))]
        name = "shuffled same" if same else "shuffled different"
        vectors[name] = {c: v[:, rows] for c, v in own.items()}
    vectors["noise"] = {c: _noise(v, n) for n, (c, v) in enumerate(own.items())}
    total = {c: v.sum(1, keepdim=True) for c, v in own.items()}
    vectors["mean"] = {c: (total[c] - v) / (count - 1) for c, v in own.items()}
    return Prepared(items, main, vectors, gold, main.logits().argmax(-1) == gold)


def grid(prepared: Prepared, component: str, donor: str = "true") -> tuple[Tensor, Tensor]:
    """(correct, gold log-probability), each (source, target, batch)."""
    vectors = prepared.vectors[donor][component]
    layers, batch = vectors.shape[:2]
    right = torch.zeros(layers, layers, batch, dtype=torch.bool)
    logp = torch.zeros(layers, layers, batch)
    for source in range(layers):
        for target in range(layers):
            logits = prepared.main.patched(component, target, vectors[source])
            right[source, target] = logits.argmax(-1) == prepared.gold
            scores = logits.log_softmax(-1)
            logp[source, target] = scores[torch.arange(batch), prepared.gold]
    return right, logp


def best_pair(right: Tensor, logp: Tensor) -> tuple[int, int]:
    """Most correct answers; ties by mean log-probability of the gold answer."""
    score = right.float().mean(-1) * 1e6 + logp.mean(-1)
    flat = int(score.argmax())
    return flat // right.shape[1], flat % right.shape[1]


def interval(gain: np.ndarray[Any, Any], clusters: list[str], seed: int = 0) -> list[float]:
    """95 % bootstrap interval of the mean, resampling clusters (facts)."""
    names, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=gain)
    sizes = np.bincount(index)
    draws = np.random.default_rng(seed).integers(0, len(names), (DRAWS, len(names)))
    means = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def transplant_study(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, task: Task
) -> dict[str, Any]:
    """Pair chosen on pilot, gain on unseen, and every control at the same pair."""
    parts = {
        split: prepare(model, tokenizer, [i for i in task.items if i["split"] == split])
        for split in ("pilot", "unseen")
    }
    unseen = parts["unseen"]
    clusters = [item["cluster"] for item in unseen.items]
    vanilla = unseen.vanilla.numpy()
    result: dict[str, Any] = {
        "n": {split: len(part.items) for split, part in parts.items()},
        "vanilla": {split: float(part.vanilla.float().mean()) for split, part in parts.items()},
        "vanilla_by_language": _by_language(unseen, vanilla),
    }
    for component in COMPONENTS:
        right, logp = grid(parts["pilot"], component)
        source, target = best_pair(right, logp)
        rows: dict[str, Any] = {"pair": f"{source}->{target}"}
        rows["pilot_gain"] = float(
            right[source, target].float().mean() - parts["pilot"].vanilla.float().mean()
        )
        for donor, by_component in unseen.vectors.items():
            logits = unseen.main.patched(component, target, by_component[component][source])
            chosen = logits.argmax(-1)
            after = (chosen == unseen.gold).numpy()
            gain = after.astype(float) - vanilla
            row: dict[str, Any] = {
                "gain": round(float(gain.mean()), 4),
                "interval": interval(gain, clusters),
                "repaired": int((gain > 0).sum()),
                "broken": int((gain < 0).sum()),
            }
            if donor == "true":
                row["gain_by_language"] = _by_language(unseen, gain)
            if donor == "shuffled different":
                rows_of = donors(unseen.items, same=False)
                follow = [
                    int(chosen[k]) == int(unseen.gold[n])
                    for k, n in enumerate(rows_of)
                    if n is not None
                ]
                row["follows_donor"] = round(float(np.mean(follow)), 4)
            rows[donor] = row
        result[component] = rows
    return result


def _by_language(part: Prepared, values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Means by the language that is not English."""
    keys = [i["aux_lang"] if i["lang"] == ENGLISH else i["lang"] for i in part.items]
    return {
        key: round(float(np.mean([v for v, k in zip(values, keys, strict=True) if k == key])), 4)
        for key in dict.fromkeys(keys)
    }
