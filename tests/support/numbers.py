"""What a model computes on a few tokens, and how far two such results lie apart."""

from __future__ import annotations

import torch

from crosslatent.core.specs import Site
from crosslatent.model import reading

IDS = torch.arange(20)[None]


@torch.no_grad()
def numbers(model):
    """Logits, and what attention and feed-forward give in every block."""
    sites = [Site(kind, layer) for kind in ("attn", "ffn") for layer in range(model.n_layers)]
    seen = {}
    with reading(model, sites, lambda site, value: seen.update({site: value.clone()})):
        logits = model.hf(IDS, use_cache=False).logits
    return [logits, *(seen[site] for site in sites)]


def distances(one, other):
    return [float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True)]
