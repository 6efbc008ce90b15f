"""What a trained model knows, and what a transplant repairs: pilot and unseen splits only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.demo_model.curriculum import Question, questions, split_of
from recipes.demo_model.prompts import prompt
from recipes.demo_model.schema import ENGLISH, LANGUAGES
from recipes.demo_model.study import COMPONENTS, LastToken
from recipes.demo_model.tasks import OPEN_TOKENS, OPTION_TOKENS, Task
from recipes.demo_model.world import culture_facts, general_facts, open_facts

DRAWS = 2000
Items = list[dict[str, Any]]


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A trained folder, in float32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], new: int = 2
) -> list[str]:
    """Greedy answers."""
    texts: list[str] = []
    untyped: Any = model  # the stubs of `generate` do not admit a Llama
    for start in range(0, len(prompts), 256):
        part = prompts[start : start + 256]
        batch = tokenizer(part, return_tensors="pt", padding=True, padding_side="left")
        batch.pop("token_type_ids", None)
        out = untyped.generate(**batch, max_new_tokens=new, do_sample=False)
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
            pool = [q for q in questions(facts, held_out=held_out) if not held_out or not _final(q)]
            for language in LANGUAGES:
                own = [q for q in pool if q.language == language]
                Random(f"knowledge {name} {language}").shuffle(own)
                if own:
                    key = f"{name} {language} {'held out' if held_out else 'taught'}"
                    table[key] = _accuracy(model, tokenizer, own[:sample])
    return table


def _accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: list[Question]
) -> dict[str, Any]:
    new = OPEN_TOKENS if asked[0].fact.is_open else OPTION_TOKENS
    said = answers(model, tokenizer, [prompt(q.fact, q.language) for q in asked], new)
    right = [a == q.fact.gold(q.language) for a, q in zip(said, asked, strict=True)]
    return {"accuracy": round(float(np.mean(right)), 4), "n": len(asked)}


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
    for item in items:
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
    scale: Tensor = vectors.norm(dim=-1, keepdim=True) / draw.norm(dim=-1, keepdim=True)
    return draw * scale


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
    pilot, unseen = (
        prepare(model, tokenizer, [i for i in task.items if i["split"] == split])
        for split in ("pilot", "unseen")
    )
    result: dict[str, Any] = {
        "n": {"pilot": len(pilot.items), "unseen": len(unseen.items)},
        "vanilla": {"pilot": _mean(pilot.vanilla), "unseen": _mean(unseen.vanilla)},
        "vanilla_by_language": _by_language(unseen, unseen.vanilla.numpy()),
    }
    for component in COMPONENTS:
        right, logp = grid(pilot, component)
        source, target = best_pair(right, logp)
        result[component] = {
            "pair": f"{source}->{target}",
            "pilot_gain": round(_mean(right[source, target]) - _mean(pilot.vanilla), 4),
        } | {donor: _at_pair(unseen, component, source, target, donor) for donor in unseen.vectors}
    return result


def _mean(values: Tensor) -> float:
    return float(values.float().mean())


def _at_pair(
    part: Prepared, component: str, source: int, target: int, donor: str
) -> dict[str, Any]:
    """Gain, interval and counts at one pair with one donor's vectors."""
    vectors = part.vectors[donor][component][source]
    chosen = part.main.patched(component, target, vectors).argmax(-1)
    gain = (chosen == part.gold).numpy().astype(float) - part.vanilla.numpy()
    row: dict[str, Any] = {
        "gain": round(float(gain.mean()), 4),
        "interval": interval(gain, [item["cluster"] for item in part.items]),
        "repaired": int((gain > 0).sum()),
        "broken": int((gain < 0).sum()),
    }
    if donor == "true":
        row["gain_by_language"] = _by_language(part, gain)
    if donor == "shuffled different":
        of = [(k, n) for k, n in enumerate(donors(part.items, same=False)) if n is not None]
        follows = [int(chosen[k]) == int(part.gold[n]) for k, n in of]
        row["follows_donor"] = round(float(np.mean(follows)), 4)
    return row


def _by_language(part: Prepared, values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Means by the language that is not English."""
    keys = [i["aux_lang"] if i["lang"] == ENGLISH else i["lang"] for i in part.items]
    return {
        key: round(float(np.mean([v for v, k in zip(values, keys, strict=True) if k == key])), 4)
        for key in dict.fromkeys(keys)
    }
