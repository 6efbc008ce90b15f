"""Spaces that several test modules use, made from random means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crosslatent.core.subspace import fit_means
from crosslatent.lens.space import Space, SpaceRecord


@pytest.fixture
def make_space() -> Callable[..., Space]:
    """A function that makes a space: languages, blocks, d_model, and optionally a rank."""

    def make(
        languages: tuple[str, ...] = ("en", "es", "sw"),
        n_layers: int = 4,
        d_model: int = 32,
        rank: int | None = None,
        seed: int = 0,
    ) -> Space:
        draw = np.random.default_rng(seed)
        fits = [
            fit_means(
                {lang: draw.normal(size=d_model) + 2 for lang in languages},
                central=languages[0],
                rank=rank,
            )
            for _ in range(n_layers + 1)
        ]
        record = SpaceRecord(texts=dict.fromkeys(languages, 50))
        return Space(tuple(fits[:-1]), fits[-1], record)

    return make
