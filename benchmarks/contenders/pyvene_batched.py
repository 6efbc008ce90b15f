"""pyvene, all pairs as rows of one batch over an expanded cache.

One intervention per target block, of a class that knows which rows it changes: pyvene's own way to
say what no built-in intervention says (a row's vector comes from another block, and every row has
a block of its own). `IntervenableModel` hands the expanded cache on to the model, so that the last
prompt token is the only one that a row repeats.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import hf
from benchmarks.contenders.expanded import prefix_cache
from benchmarks.task import Answers, Component, Run, Task

NAMES = {"attn": "attention_output", "ffn": "mlp_output"}
"""pyvene's names of the components."""


def prepare(folder: Path) -> Run:
    """Load the model; the returned function answers all pairs in one batch."""
    import pyvene

    model = hf.load(folder)
    layers = range(model.config.num_hidden_layers)

    class ReplaceRows(pyvene.ConstantSourceIntervention, pyvene.LocalistRepresentationIntervention):  # type: ignore[misc]
        """Puts vectors in the place of some rows of its block's output (batch 1 d_model)."""

        edit: tuple[list[int], torch.Tensor] | None = None

        def forward(self, base: Any, source: Any = None, subspaces: Any = None) -> Any:  # noqa: ARG002
            if self.edit is not None:
                rows, values = self.edit
                base[rows, -1] = values
            return base

    def intervenable(component: Component, made: Any) -> Any:
        parts = [
            {"layer": layer, "component": NAMES[component], "intervention": made()}
            for layer in layers
        ]
        return pyvene.IntervenableModel(parts, model=model, use_fast=True)

    collectors, replacers = (
        {component: intervenable(component, made) for component in ("attn", "ffn")}
        for made in (pyvene.CollectIntervention, ReplaceRows)
    )

    @torch.no_grad()
    def run(task: Task) -> Answers:
        started = time.perf_counter()
        vectors = captured(collectors[task.component], task)
        once = time.perf_counter() - started
        cache = prefix_cache(model, task)
        replacer = replacers[task.component]
        edits = hf.rows_by_target(task.pairs, vectors)
        for layer, key in enumerate(replacer.sorted_keys):
            replacer.interventions[key].edit = edits.get(layer)
        last = torch.full((len(task.pairs), 1), task.main[-1])
        if task.watch:
            base = {"input_ids": last, "past_key_values": cache, "logits_to_keep": 1}
            _, out = replacer(base, unit_locations={"base": 0}, use_cache=True)
            logits = out.logits[:, -1]
            ids = logits.argmax(-1)[:, None].tolist()
            return Answers(ids, hf.watched(logits, task.watch), once)
        prompts = torch.tensor([task.main] * len(task.pairs))
        _, ids = replacer.generate(
            {"input_ids": prompts},
            unit_locations={"base": 0},
            intervene_on_prompt=True,
            past_key_values=cache,
            max_new_tokens=task.new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return Answers(ids[:, len(task.main) :].tolist(), [], once)

    return run


def captured(collector: Any, task: Task) -> torch.Tensor:
    """The component's output at the last token of aux in every block, layers d_model."""
    base = {"input_ids": torch.tensor([task.aux]), "logits_to_keep": 1}
    (_, kept), _ = collector(base, unit_locations={"base": len(task.aux) - 1}, use_cache=False)
    return torch.cat([vector.reshape(1, -1) for vector in kept])
