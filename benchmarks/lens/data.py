"""Everything that a training needs, made up: a model, parallel rows, language subspaces."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from benchmarks.instance import config
from benchmarks.lens.cases import CENTRAL, LANGUAGES, LONGEST, SHORTEST
from crosslatent.core.costs import Shape

SPREAD = 0.02
"""Standard deviation of the weights, the usual one."""

SHIFT = 0.5
"""Standard deviation of a language's mean state about what all share, whose own is 1."""

SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}


def save(folder: Path, shape: Shape, rows: int, seed: int = 0) -> Path:
    """Write `model`, `space` and `rows.json` into a folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_model(folder / "model", shape, seed)
    _save_space(folder / "space", shape, seed)
    made = make_rows(shape, rows, seed)
    (folder / "rows.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def make_rows(shape: Shape, rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Parallel rows of random words, one token each."""
    draw = random.Random(seed)
    words = _words(shape)

    def text() -> str:
        return " ".join(draw.choices(words, k=draw.randint(SHORTEST, LONGEST)))

    return [{lang: text() for lang in LANGUAGES} for _ in range(rows)]


def tokenizer(shape: Shape) -> Any:
    """A tokenizer whose tokens are the words of the rows, as many as the model's vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {token: number for number, token in enumerate([*SPECIAL.values(), *_words(shape)])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=SPECIAL["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def _words(shape: Shape) -> list[str]:
    return [f"w{number}" for number in range(shape.vocab - len(SPECIAL))]


def _save_model(folder: Path, shape: Shape, seed: int) -> None:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    LlamaForCausalLM(config(shape, SPREAD)).save_pretrained(folder)
    tokenizer(shape).save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        _out_of_cache(path)


def _out_of_cache(path: Path) -> None:
    """Let a file be read from the disk, as a model that was downloaded some time ago.

    What was just written lies in memory in large pieces, and then reading one number of a mapped
    file makes megabytes around it resident.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _save_space(folder: Path, shape: Shape, seed: int) -> None:
    """Random means: what is measured does not depend on where languages lie."""
    import numpy as np

    from crosslatent.core.subspace import Subspace, fit_means
    from crosslatent.lens.space import Space

    draw = np.random.default_rng(seed)

    def subspace() -> Subspace:
        shared = draw.standard_normal(shape.hidden)
        means = {lang: shared + SHIFT * draw.standard_normal(shape.hidden) for lang in LANGUAGES}
        return fit_means(means, central=CENTRAL)

    Space(tuple(subspace() for _ in range(shape.layers)), subspace()).save(folder)
