"""Attribution patching: what every transplant would do to the first step, from one backward pass.

A transplant replaces o_j, the output of a module of block j at the last prompt token, by a vector
v_i that the same module of block i gave over aux. To first order in v_i - o_j this changes a score
S of the first new token by::

    S(v_i in the place of o_j) - S(o_j)  ~  g_j . (v_i - o_j),        g_j = dS / do_j

(attribution patching, Nanda 2023; Syed et al. 2023, arXiv 2310.10348). One forward over main and a
backward give g_j and o_j of all blocks, one forward over aux gives all v_i: all N x N pairs are
ranked without running one of them. S says what the model is inclined to answer, never whether it is
right, so no gold answer is needed.

Which S: the model's confidence is the obvious one, but what raises it most makes a wrong answer
surer still, and finds fewer of the pairs that repair answers than chance does. What finds them is
how much the pair lifts any one of the answers (``rise``).

The tokens before the edited ones are read once without gradients. Nothing that an edit changes goes
through them, so a backward pass is over the edited tokens alone, and one for each option is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache, PreTrainedModel

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.specs import Component, Site
from crosslatent.engine.prefill import read_prefix
from crosslatent.interventions.activations import capture_ids
from crosslatent.model import Model, PromptBatch, caches, encode_batch, rewriting
from crosslatent.model.modes import answering
from crosslatent.model.prompts import check_positions
from crosslatent.model.sites import Rewrite
from crosslatent.model.structure import refuse_encoder

Kind = Literal["rise", "likeliest", "margin", "entropy"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CANDIDATES = 8
"""First tokens whose rise is looked at where there are no options: the likeliest ones."""

Scores = dict[Component, NDArray[np.float32]]
"""Component -> estimated change of the score (nats), N sources N targets."""


@dataclass(frozen=True, slots=True)
class AttributionScore:
    """What is estimated of the first step, in nats, without knowing what is right.

    Attributes:
        kind: ``rise``: the log-probability of that answer which the pair lifts most; ``likeliest``:
            of the answer that is likeliest without any pair; ``margin``: its log-odds over the
            second; ``entropy``: the negative entropy of all answers.
        options: for each option the token ids that only it may begin with, two options or more.
            Without options, every token is an answer of its own.
    """

    kind: Kind = "rise"
    options: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be computed.

        Raises:
            UsageError: an unknown kind, a single option, or one without a token.
        """
        if self.kind not in KINDS:
            raise UsageError(f"Unknown score {self.kind!r}: use one of {', '.join(KINDS)}.")
        if len(self.options) == 1 or not all(self.options):
            raise UsageError(
                "A score of options needs two or more of them, each with a token of its own: leave "
                "the options out."
            )

    def of(self, logits: Tensor) -> Tensor:
        """The quantities of which a pair's largest change counts, vocab -> values.

        Only ``rise`` has more than one: a log-probability for each option.
        """
        log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        if self.options:
            log_probs = torch.stack([log_probs[list(ids)].logsumexp(0) for ids in self.options])
        if self.kind == "rise":
            return (
                log_probs
                if self.options
                else log_probs.topk(min(CANDIDATES, len(log_probs))).values
            )
        if self.kind == "likeliest":
            return log_probs.max()[None]
        if self.kind == "margin":
            best = log_probs.topk(2).values
            return (best[0] - best[1])[None]
        log_probs = log_probs.log_softmax(-1)  # options alone do not add up to 1
        return (log_probs.exp() * log_probs).sum()[None]


def attribute(
    model: Model,
    main_ids: Sequence[int],
    aux_ids: Sequence[int],
    components: Sequence[Component],
    *,
    score: AttributionScore = AttributionScore(),
    positions: int = 1,
    strength: float = 1.0,
) -> Scores:
    """Estimate what every (source, target) pair would do to the first step.

    Args:
        model: the model; left as it is.
        main_ids: token ids of the prompt that is answered.
        aux_ids: token ids of its counterpart.
        components: what would be carried across. ``attn_residual`` is read with the residual and
            written in the place of the attention output, as in `model.sites`.
        score: what is estimated.
        positions: how many of the last tokens would be carried over.
        strength: alpha of the transplants.

    Returns:
        For each component the estimated change of the score in nats, N sources N targets, float32.
        It is exact for strengths near 0.

    Raises:
        PromptError: a prompt has fewer tokens than `positions`.
        ModelError: see `check_attribution`.
    """
    (scores,) = attributions(
        model,
        [(main_ids, aux_ids)],
        components,
        scores=[score],
        positions=positions,
        strength=strength,
    )
    return scores


def attributions(
    model: Model,
    prompts: Sequence[tuple[Sequence[int], Sequence[int]]],
    components: Sequence[Component],
    *,
    scores: Sequence[AttributionScore],
    positions: int = 1,
    strength: float = 1.0,
    batch_size: int = 16,
    advance: Callable[[int, int], None] | None = None,
) -> Iterator[Scores]:
    """`attribute` for many prompts, in batches; the numbers do not depend on these.

    Args:
        model: the model; left as it is.
        prompts: token ids of (main, aux).
        components: what would be carried across.
        scores: what is estimated, one for each prompt.
        positions: how many of the last tokens would be carried over.
        strength: alpha of the transplants.
        batch_size: prompts that run together.
        advance: called after every batch with the number of prompts done, and their total.

    Yields:
        The scores of each prompt, in order.
    """
    check_attribution(model)
    limit = model.rotary_limit
    if limit is not None and max((len(main) for main, _ in prompts), default=0) > limit:
        batch_size = 1  # a long prompt would change the embeddings of the short ones beside it
    for at in range(0, len(prompts), batch_size):
        part = prompts[at : at + batch_size]
        mains, auxes = [main for main, _ in part], [aux for _, aux in part]
        check_positions(positions, *mains)
        with answering(model.hf, gradients=True):
            slopes = _slopes(model, mains, components, scores[at : at + len(part)], positions)
        captured = capture_ids(model, auxes, components, batch_size=batch_size, positions=positions)
        found = {
            kind: _largest(strength, captured[kind], *slopes[_written(kind)]) for kind in components
        }
        for row in range(len(part)):
            yield {kind: values[row] for kind, values in found.items()}
        if advance is not None:
            advance(at + len(part), len(prompts))


def check_attribution(model: Model) -> None:
    """Refuse models whose prompts cannot be read up to their end and then on, with gradients.

    Raises:
        ModelError: an encoder reads them, or their tokens see those after them; or the weights were
            made in inference mode.
    """
    refuse_encoder(model.hf, "Attribution", "run the pairs (all, or a list) in its place")
    if model.reads_both_ways:
        raise ModelError(
            f"Attribution does not work for {type(model.hf).__name__}, whose prompts are read in "
            "both directions: run the pairs (all, or a list) in its place."
        )
    if any(weight.is_inference() for weight in model.hf.parameters()):
        raise ModelError(
            f"The weights of {model.name} were made in torch.inference_mode, through which "
            "attribution can take no gradient: load the model outside of it."
        )


_Slope = tuple[Tensor, Tensor]
"""Gradients, values batch layers positions d_model, and own outputs, which have one axis less; on
the CPU."""


def _largest(strength: float, vectors: Tensor, slopes: Tensor, own: Tensor) -> NDArray[np.float32]:
    """Strength times g_j . (v_i - o_j), summed over positions; the largest of all values.

    Args:
        strength: alpha.
        vectors: captured over aux, batch layers (positions) d_model.
        slopes: values batch layers positions d_model.
        own: batch layers positions d_model.

    Returns:
        Batch sources targets.
    """
    g, v, o = slopes.double().flatten(3), vectors.double().flatten(2), own.double().flatten(2)
    # The second term does not depend on the source: all pairs come from one product.
    products = torch.einsum("kbjd,bid->kbij", g, v) - (g * o).sum(-1)[:, :, None]
    return (strength * products).amax(0).float().numpy()


def _written(component: Component) -> Component:
    """The module output that a component replaces."""
    return "attn" if component == "attn_residual" else component


def _slopes(
    model: Model,
    mains: Sequence[Sequence[int]],
    components: Sequence[Component],
    scores: Sequence[AttributionScore],
    positions: int,
) -> dict[Component, _Slope]:
    """Gradients of the scores with respect to module outputs at the last tokens of main."""
    # Left padding puts the last tokens of all rows into the same columns.
    batch = encode_batch(model, mains, "left")
    layers = range(model.n_layers)
    kinds = dict.fromkeys(map(_written, components))
    probes = {Site(kind, layer): _Probe(positions) for kind in kinds for layer in layers}
    edits: dict[Site, Rewrite] = {site: probe.rewrite for site, probe in probes.items()}
    cache, inputs = _before_the_last(model, batch, positions)
    with _without_weights(model.hf), rewriting(model, edits):
        logits: Tensor = caches.forward(model.hf, inputs, cache, logits_to_keep=1).logits[:, -1]
        values = [score.of(row) for score, row in zip(scores, logits, strict=True)]
        gradients = _gradients(values, [probe.nudge for probe in probes.values()])
    by_site = dict(zip(probes, gradients, strict=True))
    return {
        kind: (
            torch.stack([by_site[Site(kind, layer)] for layer in layers], 2),
            torch.stack([probes[Site(kind, layer)].own.cpu() for layer in layers], 1),
        )
        for kind in kinds
    }


def _gradients(values: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of every value of every row, one backward for each number that a value may have.

    Rows do not know each other, so the first values of all rows share a backward, and so on; a row
    with fewer values than others repeats its last one.

    Args:
        values: of each row.
        leaves: batch positions d_model each.

    Returns:
        For each leaf: values batch positions d_model, on the CPU.
    """
    most = max(len(row) for row in values)
    found = []
    for which in range(most):
        total = torch.stack([row[min(which, len(row) - 1)] for row in values]).sum()
        slopes = torch.autograd.grad(total, leaves, retain_graph=which < most - 1)
        found.append([slope.cpu() for slope in slopes])
    return [torch.stack(of_leaf) for of_leaf in zip(*found, strict=True)]


class _Probe:
    """Adds zeros to a module's output at the last tokens: its own output stays, a slope appears.

    The zeros are the leaves of the backward pass. So a module may change its output in place
    afterwards, and no weight has to take part.
    """

    def __init__(self, positions: int) -> None:
        self._positions = positions
        self.own: Tensor
        """The module's output at the last tokens, batch positions d_model."""
        self.nudge: Tensor
        """The added zeros, batch positions d_model."""

    def rewrite(self, hidden: Tensor) -> Tensor:
        """See `model.sites.Rewrite`."""
        last = hidden[:, -self._positions :]
        self.own = last.detach().clone()
        self.nudge = torch.zeros_like(self.own, requires_grad=True)
        return torch.cat([hidden[:, : -self._positions], last + self.nudge], 1)


def _before_the_last(
    model: Model, batch: PromptBatch, positions: int
) -> tuple[Cache | None, dict[str, Any]]:
    """Read all but the last tokens; the cache, and what the forward with gradients reads."""
    width = batch.ids.shape[1]
    limit = model.rotary_limit
    # Where rotary embeddings change with the length, a prompt is read in one piece.
    whole = width == positions or (limit is not None and width > limit)
    tail = width if whole else positions
    inputs = {
        "input_ids": batch.ids[:, width - tail :],
        "attention_mask": batch.mask,
        "position_ids": batch.positions[:, width - tail :],
    }
    if whole:
        return None, inputs
    return read_prefix(model, PromptBatch(batch.ids[:, :-tail], batch.mask[:, :-tail])), inputs


@contextmanager
def _without_weights(hf: PreTrainedModel) -> Iterator[None]:
    """While open, no weight wants a gradient, so that nothing is kept for it."""
    wanting = [weight for weight in hf.parameters() if weight.requires_grad]
    try:
        for weight in wanting:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in wanting:
            weight.requires_grad_(True)
