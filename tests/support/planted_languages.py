"""A tiny model with three planted languages, and questions in them.

A language has ten letters of its own. The embedding of a letter is that of its counterparts but for
one dimension, which is `SHIFT` where the letter is of the language and 0 else; blocks write nothing
(`scale` 0) or little, and never into those dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from crosslatent import load_task, wrap
from crosslatent.methods.method import Bench
from crosslatent.model import Model
from crosslatent.tasks import Item
from support.models import tiny_model

SCRIPTS = {"en": "abcdefghij", "up": "ABCDEFGHIJ", "no": "0123456789"}
SHIFT = 6.0
SHARED, SPECIFIC = 5, 6
"""Neurons of block 0: one of `up` and `no`, and one of `up` alone."""


def text_of(digits: Sequence[int], lang: str) -> str:
    """A text in a language, letter by letter."""
    return "".join(SCRIPTS[lang][digit] for digit in digits)


@cache
def marked_model(scale: float = 0.0) -> Model:
    """The model; `scale` is that of what blocks write."""
    hf, tokenizer = tiny_model("llama")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        table = hf.get_input_embeddings().weight
        content = torch.randn(10, table.shape[1], generator=generator)
        content[:, : len(SCRIPTS)] = 0
        for place, script in enumerate(SCRIPTS.values()):
            (ids,) = tokenizer([script])["input_ids"]
            table[ids] = content
            table[ids, place] = SHIFT
        for block in hf.model.layers:
            for last in (block.self_attn.o_proj, block.mlp.down_proj):
                last.weight *= scale
                last.weight[: len(SCRIPTS)] = 0
        first = hf.model.layers[0].mlp
        for neuron, langs in ((SHARED, (1, 2)), (SPECIFIC, (1,))):
            for matrix in (first.gate_proj, first.up_proj):
                matrix.weight[neuron] = 0
                matrix.weight[neuron, list(langs)] = 1.0
    return wrap(hf, tokenizer)


def items(count: int = 12, langs: Sequence[str] = ("up", "no"), seed: int = 0) -> tuple[Item, ...]:
    """Questions with their counterparts, the same in every language."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(10, (count, 8), generator=generator).tolist()
    return tuple(
        Item(
            f"{lang}{number}",
            lang,
            "en",
            text_of(some, lang),
            text_of(some, "en"),
            answer="(1)",
            options=("(1)", "(2)"),
        )
        for lang in langs
        for number, some in enumerate(digits)
    )


def bench_of(model: Model, learn: Sequence[Item] | None = None, *, quick: bool = False) -> Bench:
    """What methods learn from."""
    some = items() if learn is None else tuple(learn)
    return Bench(model, load_task("demo-facts"), some, new_tokens=3, quick=quick)
