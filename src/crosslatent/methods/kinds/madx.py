"""`madx`: a language adapter and a task adapter after every feed-forward, stacked.

MAD-X style (arXiv 2005.00052; own implementation, no invertible part). The library `adapters` is
not used: it needs transformers ~= 4.57, which cannot be installed beside this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from crosslatent.core.errors import UsageError
from crosslatent.lens.states import encode_texts
from crosslatent.lens.training.answer_objective import AnswerSample, samples_of
from crosslatent.lens.training.processes import seeded
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.methods.method import Bench, Settings, Way, register_method
from crosslatent.methods.tuning import (
    TokenLoss,
    TunedWay,
    Tuning,
    Weights,
    english,
    restored,
    spec_of,
    train_weights,
)
from crosslatent.model.modes import plain_settings
from crosslatent.model.trace import Output, hidden_of, with_hidden
from crosslatent.tasks import Item

if TYPE_CHECKING:
    from crosslatent.model import Model

_LANGUAGE, _TASK = "language", "task"
_NARROWER = {_LANGUAGE: 2, _TASK: 16}
"""By how much the middle of an adapter is narrower than the residual stream (as in MAD-X)."""


@register_method("madx")
class StackedAdapters(Tuning):
    """MAD-X style adapters (arXiv 2005.00052): the task's is moved from English to a language.

    A language adapter learns to continue texts of its language. The task adapter learns English
    answers on top of the English language adapter; questions are answered with the one of their
    language in its place. Texts are the bench's, or else the pilot prompts in that language.
    """

    title = "MAD-X style adapters"
    about = "A task adapter trained on English, on top of an adapter of the language."
    source = "arXiv 2005.00052"
    for_each = True
    rates = (1e-3, 3e-3)
    modules = ()

    def questions(self, bench: Bench) -> list[Item]:
        """The English counterparts, as questions."""
        return english(bench)

    def put(self, model: Model, seed: int, held: ExitStack, /) -> Weights:
        """Put both adapters after every feed-forward."""
        found: dict[str, nn.Parameter] = {}
        for kind in (_LANGUAGE, _TASK):
            found |= put_adapters(model, kind, seed, held)
        return found

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Train three adapters, one after the other.

        Raises:
            UsageError: no text of the languages, or no question with an English gold answer.
            TrainingError: the loss is no longer a finite number.
        """
        spec = spec_of(bench.chat, bench.model, settings, seed)
        pivots = list(dict.fromkeys(one.lang for one in self.questions(bench)))
        own, base = (_texts(bench, some, spec) for some in (langs, pivots))
        answers, _ = samples_of(bench.model, self.questions(bench), spec)
        with plain_settings():
            target, _ = _trained(bench.model, _LANGUAGE, {}, own, spec)
            pivot = target if own == base else _trained(bench.model, _LANGUAGE, {}, base, spec)[0]
            task, losses = _trained(bench.model, _TASK, pivot, answers, spec)
        way = TunedWay(bench.model, self.put, {**target, **task})
        way.losses, way.labelled = losses, len(answers)
        way.trained += 0 if pivot is target else sum(one.numel() for one in pivot.values())
        way.unlabelled = sum(len(ids) for _, ids in {(one.lang, one.ids) for one in own + base})
        return way


def put_adapters(model: Model, kind: str, seed: int, held: ExitStack) -> dict[str, nn.Parameter]:
    """Put fresh adapters after every feed-forward: they add 0 until they are trained.

    Args:
        model: gets hooks, which go when `held` is closed.
        kind: "language" or "task"; adapters that are put later work on what earlier ones give.
        seed: of the projections down.
        held: what undoes it.
    """
    found: dict[str, nn.Parameter] = {}
    with seeded(seed):
        for layer, block in enumerate(model.blocks):
            device = next(block.whole.parameters()).device
            adapter = _Bottleneck(model.d_model, max(1, model.d_model // _NARROWER[kind]))
            adapter.to(device)
            held.callback(block.ffn.register_forward_hook(adapter.hook).remove)
            found |= {f"{kind}.{layer}.{name}": one for name, one in adapter.named_parameters()}
    return found


class _Bottleneck(nn.Module):
    """x + up(relu(down(x))), in float32; ``up`` is 0 at first."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.down = nn.Linear(wide, narrow)
        self.up = nn.Linear(narrow, wide)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states ... d_model -> ... d_model, of the same type."""
        change: Tensor = self.up(torch.relu(self.down(hidden.float())))
        return hidden + change.to(hidden.dtype)

    def hook(self, _module: nn.Module, _args: Any, output: Output) -> Output:
        """Put the adapter behind a module."""
        return with_hidden(output, self(hidden_of(output)))


def _trained(
    model: Model,
    kind: str,
    below: Mapping[str, Tensor],
    samples: Sequence[AnswerSample],
    spec: TrainSpec,
) -> tuple[dict[str, nn.Parameter], list[float]]:
    """Adapters of a kind trained on samples, over trained language adapters, if there are any.

    Returns:
        Their weights, and the loss of every step.
    """
    with restored(model.hf) as held:
        if below:
            for name, weight in put_adapters(model, _LANGUAGE, spec.seed, held).items():
                weight.data.copy_(below[name])
                weight.requires_grad_(False)
        weights = put_adapters(model, kind, spec.seed, held)
        losses = train_weights(TokenLoss(model, samples), weights, spec)
    return weights, losses


def _texts(bench: Bench, langs: Sequence[str], spec: TrainSpec) -> list[AnswerSample]:
    """Texts of some languages as samples of which every token but the first is wanted.

    Raises:
        UsageError: there is no text of two or more tokens.
    """
    items = [*bench.learn, *(replace(one, lang=one.aux_lang, main=one.aux) for one in bench.learn)]
    found = []
    for lang in langs:
        given = bench.texts.get(lang) or [one.main for one in items if one.lang == lang]
        texts = list(dict.fromkeys(text for text in given if text.strip()))
        encoded = encode_texts(bench.model, texts, max_tokens=spec.max_tokens).ids
        several = (tuple(ids) for ids in encoded if len(ids) > 1)
        found += [AnswerSample(lang, "", ids, 1, ids[1:]) for ids in several]
    if not found:
        raise UsageError(
            f"There is no text in {', '.join(map(repr, langs))} for a language adapter to learn "
            "from: give texts, or questions in that language to learn from."
        )
    return found
