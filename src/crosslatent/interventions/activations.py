"""Reading activations: module outputs at the last real prompt tokens of every block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from crosslatent.core.cards import Bars, Card, Rows, Sentences, Shown
from crosslatent.core.errors import PromptError
from crosslatent.core.specs import Component, Site, check_component
from crosslatent.core.untrusted import check_type
from crosslatent.interventions.rewrites import Window
from crosslatent.model import Model, PromptBatch, caches, encode, encode_batch, reading
from crosslatent.model.modes import answering, plain_settings
from crosslatent.model.prompts import Side, check_positions

Captured = dict[Component, Float[Tensor, "*prompts layers width"]]
"""Component -> vectors; of several prompts or positions, see `capture`."""


class Captures(dict[Component, Tensor], Shown):
    """What `capture` returns: a dict, of which notebooks show shapes and norms.

    Attributes:
        prompts: how many prompts were given as a list; None if one was given alone.
    """

    def __init__(self, vectors: Captured, prompts: int | None) -> None:
        """Take vectors as `capture` describes them."""
        super().__init__(vectors)
        self.prompts = prompts

    def __repr__(self) -> str:
        return self._card().text()

    def _card(self) -> Card:
        rows = []
        for kind, vectors in self.items():
            layers = 0 if self.prompts is None else 1
            norms = vectors.float().norm(dim=-1).movedim(layers, 0)
            medians = norms.reshape(len(norms), -1).median(dim=1).values
            shape = " \u00d7 ".join(map(str, vectors.shape))
            dtype = str(vectors.dtype).removeprefix("torch.")
            rows.append((kind, shape, dtype, Bars(medians.tolist())))
        of = "one prompt" if self.prompts is None else f"{self.prompts} prompts"
        said = "Norms: from block 0 to the last; with several prompts or positions their median."
        header = ("component", "shape", "dtype", "norm by block")
        return Card(f"Activations of {of}", [Rows(rows, header), Sentences([said], soft=True)])


def capture(
    model: Model,
    prompts: str | Sequence[str],
    components: str | Sequence[str] = ("attn", "ffn"),
    *,
    batch_size: int = 16,
    side: Side = "left",
    chunk: int | None = None,
    positions: int = 1,
) -> Captures:
    """Capture components of all blocks at the last real token (XTransplant, arXiv 2412.12686, 3.1).

    Args:
        model: the model.
        prompts: one prompt, or several (run in padded batches; the numbers do not depend on it).
        components: which module outputs; see `core.specs.COMPONENTS`.
        batch_size: prompts per batch.
        side: where a batch is padded.
        chunk: prompt columns per forward; None for all at once.
        positions: how many of the last tokens to capture.

    Returns:
        For each component the vectors: layers d_model for one prompt, prompts layers d_model for
        several; in the model's dtype, on the CPU. With more than one position, these stand before
        d_model, the last token's last.

    Raises:
        PromptError: no prompt, an empty one, one longer than the context, or one with fewer tokens
            than `positions`.
        PairError: an unknown component, or one that the model does not have.
    """
    check_type(model, Model, "A model is what xl.load returns")
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise PromptError("There is no prompt to capture from: give at least one.")
    ids = [encode(model, text, role="aux") for text in texts]
    names = [components] if isinstance(components, str) else components
    kinds = [model.check_component(check_component(name)) for name in names]
    captured = capture_ids(
        model, ids, kinds, batch_size=batch_size, side=side, chunk=chunk, positions=positions
    )
    if isinstance(prompts, str):
        return Captures({kind: vectors[0] for kind, vectors in captured.items()}, None)
    return Captures(captured, len(texts))


@plain_settings()
def capture_ids(
    model: Model,
    prompts: Sequence[Sequence[int]],
    components: Sequence[Component],
    *,
    batch_size: int = 16,
    side: Side = "left",
    chunk: int | None = None,
    positions: int = 1,
    advance: Callable[[int, int], None] | None = None,
) -> Captured:
    """`capture` for prompts that are already token ids; always prompts layers d_model.

    `advance` is called after every batch with the number of prompts done, and their total.
    """
    check_positions(positions, *map(model.decoder_reads, prompts))
    limit = model.rotary_limit
    if limit is not None and max(map(len, prompts)) > limit:
        batch_size = 1  # a long prompt would change the embeddings of the short ones beside it
    parts = []
    for at in range(0, len(prompts), batch_size):
        batch = encode_batch(model, prompts[at : at + batch_size], side)
        parts.append(_capture_batch(model, batch, components, chunk, positions))
        if advance is not None:
            advance(min(at + batch_size, len(prompts)), len(prompts))
    captured = {kind: torch.cat([part[kind] for part in parts]) for kind in components}
    if positions == 1:
        return {kind: vectors[:, :, 0] for kind, vectors in captured.items()}
    return captured


def _capture_batch(
    model: Model,
    batch: PromptBatch,
    components: Sequence[Component],
    chunk: int | None,
    positions: int,
) -> Captured:
    """Vectors of one batch, prompts layers positions d_model."""
    window = Window(batch.last)
    shape = (len(batch.ids), model.n_layers, positions)
    kept = {
        kind: torch.zeros((*shape, model.width(kind)), dtype=model.dtype) for kind in components
    }

    def receive(site: Site, value: Tensor) -> None:
        for back in range(positions):
            rows, columns = window.here(value.shape[1], back)
            if len(rows):
                vectors = value[rows.to(value.device), columns.to(value.device)]
                place = (rows.cpu(), site.layer, positions - 1 - back)
                kept[site.component][place] = vectors.to("cpu", model.dtype)

    sites = [Site(kind, layer) for kind in components for layer in range(model.n_layers)]
    decoder: Any = model.hf.base_model  # logits are not wanted, so the head is left out
    whole = batch.in_one or chunk is None or chunk >= batch.ids.shape[1]
    cache = None if whole else DynamicCache(config=model.hf.config)
    with answering(model.hf), reading(model, sites, receive):
        for window.start, inputs in batch.parts(chunk):
            caches.forward(decoder, inputs, cache)
    return kept
