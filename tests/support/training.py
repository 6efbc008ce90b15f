"""Small training runs: parallel texts, a made-up space, and the losses computed the plain way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from crosslatent.core.subspace import fit_means
from crosslatent.lens.space import Space, SpaceRecord
from crosslatent.model import Model, wrap
from support.models import tiny_model

WORDS = ("maji", "moto", "nyumba", "kitabu", "mti", "jua", "mwezi", "samaki", "ndege", "simba")


def tiny(family: str = "llama", seed: int = 0, **overrides) -> Model:
    """A wrapped tiny model."""
    return wrap(*tiny_model(family, seed, **overrides), name=f"tiny-{family}")


def parallel(rows: int = 10, langs: Sequence[str] = ("en", "sw", "hi")) -> list[dict[str, str]]:
    """Rows of texts of different lengths."""
    return [
        {
            lang: f"{lang} " + " ".join(WORDS[(row * k + place) % 10] for k in range(1 + row % 3))
            for place, lang in enumerate(langs)
        }
        for row in range(rows)
    ]


def made_up_space(
    model: Model, langs: Sequence[str] = ("en", "sw", "hi"), *, rank: int | None = None
) -> Space:
    """Subspaces of random means: the losses need no more."""
    rng = np.random.default_rng(0)

    def one():
        shared = rng.normal(size=model.d_model)
        means = {lang: shared + rng.normal(size=model.d_model) for lang in langs}
        return fit_means(means, central=langs[0], rank=rank)

    record = SpaceRecord(model={"name": model.name, "identity": dict(model.identity)})
    return Space(tuple(one() for _ in range(model.n_layers)), one(), record)


def states(model: Model, ids: Sequence[int]) -> dict[int | str, torch.Tensor]:
    """Every layer's states of one text, unpadded: pos d_model; a full forward."""
    found: dict[int | str, torch.Tensor] = {}
    handles = [
        block.whole.register_forward_hook(
            lambda _m, _a, out, layer=layer: found.__setitem__(
                layer, (out[0] if isinstance(out, tuple) else out)[0]
            )
        )
        for layer, block in enumerate(model.blocks)
    ]
    out = model.hf.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    for handle in handles:
        handle.remove()
    return found | {"final": out[0][0]}


def plain_terms(
    tuned: Model,
    reference: Model,
    space: Space,
    rows: Sequence[Mapping[str, Sequence[int]]],
    layers: Sequence[int | str],
    strength: Mapping[str, float],
    central: str = "en",
) -> dict[str, torch.Tensor]:
    """METHODS 3.2 with two whole models, one text at a time, and d_model by d_model matrices."""
    dtype = tuned.dtype
    terms = {"align": [], "separate": [], "retain": []}
    targets = sorted({lang for row in rows for lang in row} - {central})
    for layer in layers:
        sub = space.at(layer)
        agnostic = torch.tensor(sub.agnostic, dtype=dtype)
        p_a = torch.outer(agnostic, agnostic) / agnostic.square().sum()
        basis = torch.tensor(sub.specific, dtype=dtype)
        p_s = basis @ basis.T
        now = [{lang: states(tuned, ids)[layer] for lang, ids in row.items()} for row in rows]
        with torch.no_grad():
            then = [
                {lang: states(reference, ids)[layer] for lang, ids in row.items()} for row in rows
            ]
        retained = [
            (a[central].mean(0) - b[central].mean(0)).square().mean()
            for a, b in zip(now, then, strict=True)
        ]
        terms["retain"].append(torch.stack(retained).mean())
        align, separate = [], []
        for lang in targets:
            having = [(a, b) for a, b in zip(now, then, strict=True) if lang in a]
            shift = strength[lang] * torch.tensor(sub.direction(lang), dtype=dtype)
            align.append(
                torch.stack(
                    [(p_a @ a[central][-1] - p_a @ a[lang][-1]).square().mean() for a, _ in having]
                ).mean()
            )
            separate.append(
                torch.stack(
                    [
                        (p_s @ a[lang][-1] - p_s @ b[lang][-1] - shift).square().mean()
                        for a, b in having
                    ]
                ).mean()
            )
        terms["align"].append(torch.stack(align).sum())
        terms["separate"].append(torch.stack(separate).sum())
    return {name: torch.stack(values).mean() for name, values in terms.items()}
