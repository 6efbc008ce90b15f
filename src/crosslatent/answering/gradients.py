"""Attribution patching: what every transplant would do to the first step, from one backward pass.

A transplant replaces o_j, the output of a module of block j at the last prompt token, by a vector
v_i that the same module of block i gave over aux. To first order in v_i - o_j this changes a score
S of the first new token by::

    S(v_i in the place of o_j) - S(o_j)  ~  g_j . (v_i - o_j),        g_j = dS / do_j

(attribution patching, Nanda 2023; Syed et al. 2023, arXiv 2310.10348). One forward over main and a
backward give g_j and o_j of all blocks, one forward over aux gives all v_i: all N x N pairs are
ranked without running one of them. S says what the model is inclined to answer, never whether it is
right, so no gold answer is needed.

A vector of another block is no small step from o_j: it has nothing of it. On models whose repairing
pairs are planted, the estimate above ranks first, for attention, pairs that take away what o_j did,
since the gates that it held open have a slope and no end. So a second estimate starts from the
forward in which the module writes nothing: what that loses is measured, and what v_i brings is of
first order there (``removed``). Unless the step is short, the lower of the two counts. A module
with a norm after it has no output that is nearly nothing: there the first estimate counts alone.

Which S: the model's confidence is the obvious one, but what raises it most makes a wrong answer
surer still, and finds fewer of the pairs that repair answers than chance does. What finds them is
how much the pair lifts any one of the answers (``rise``). Where the answers are not given, they are
looked for among those that the counterpart's own output of each block would make likely.

A backward pass is over the edited tokens alone (`prompt_end`), so one for each option is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosslatent.answering.prompt_end import Probe, PromptEnd, replacing, without_weights
from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.specs import Component, Site
from crosslatent.interventions.activations import capture_ids
from crosslatent.model import Model
from crosslatent.model.modes import answering
from crosslatent.model.prompts import check_positions
from crosslatent.model.structure import refuse_encoder

Kind = Literal["rise", "likeliest", "margin", "entropy"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CANDIDATES = 8
"""First tokens whose rise is looked at where there are no options: those that are likeliest in the
unmodified forward, or in one of those with the output of a block of aux in the same block."""

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

        Only ``rise`` has more than one: a log-probability for each option, or each token.
        """
        log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        if self.options:
            log_probs = torch.stack([log_probs[list(ids)].logsumexp(0) for ids in self.options])
        if self.kind == "rise":
            return log_probs
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
    removed: bool = True,
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
        removed: estimate long steps from the forward without the module's own output too, and take
            the lower estimate. If not, it is plain attribution patching.

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
        removed=removed,
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
    removed: bool = True,
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
        removed: see `attribute`.
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
        captured = capture_ids(model, auxes, components, batch_size=batch_size, positions=positions)
        with answering(model.hf, gradients=True), without_weights(model.hf):
            end = PromptEnd(model, mains, positions)
            sought = _with_answers(end, captured, scores[at : at + len(part)])
            slopes = _slopes(end, components, sought, removed=removed)
        found = {
            kind: _estimates(strength, captured[kind], slopes[_written(kind)])
            for kind in components
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


@dataclass(frozen=True, slots=True)
class _Slopes:
    """A score and its gradients with respect to the outputs of a module, on the CPU.

    Attributes:
        own: the module's outputs, batch layers positions d_model.
        slopes: at these, values batch layers positions d_model.
        removed: what changes if the outputs of one layer are nothing, and the gradients there:
            values batch layers, values batch layers positions d_model. None = not computed.
    """

    own: Tensor
    slopes: Tensor
    removed: tuple[Tensor, Tensor] | None


def _estimates(strength: float, vectors: Tensor, at: _Slopes) -> NDArray[np.float32]:
    """The largest estimated change of all values, by pair.

    Args:
        strength: alpha.
        vectors: captured over aux, batch layers (positions) d_model.
        at: slopes at the targets.

    Returns:
        Batch sources targets.
    """
    g, v, o = at.slopes.double().flatten(3), vectors.double().flatten(2), at.own.double().flatten(2)
    # The second term does not depend on the source: all pairs come from one product.
    changes = strength * (torch.einsum("kbjd,bid->kbij", g, v) - (g * o).sum(-1)[:, :, None])
    if at.removed is not None and not _has_no_scale(g, o):
        lost, g = at.removed[0].double(), at.removed[1].double().flatten(3)
        # What is written instead is (1 - alpha) o_j + alpha v_i, all of it beside nothing.
        left = (1 - strength) * (g * o).sum(-1)
        brought = strength * torch.einsum("kbjd,bid->kbij", g, v)
        least = torch.minimum(changes, (lost + left)[:, :, None] + brought)
        changes = torch.where(_far_from_own(strength, v, o), least, changes)
    return changes.amax(0).float().numpy()


def _has_no_scale(g: Tensor, o: Tensor) -> bool:
    """Whether only the direction of outputs counts, because a norm comes after them.

    By Euler's theorem no gradient has a part along its output then.

    Args:
        g: gradients, values batch targets d.
        o: own outputs, batch targets d.
    """
    along = (g * o).sum(-1).abs()
    return bool((along < 0.01 * g.norm(dim=-1) * o.norm(dim=-1)).all())


def _far_from_own(strength: float, v: Tensor, o: Tensor) -> Tensor:
    """Whether the step from the own output is longer than half of that, batch sources targets.

    Args:
        strength: alpha.
        v: vectors, batch sources d.
        o: own outputs, batch targets d.
    """
    exact = "donot_use_mm_for_euclid_dist"
    steps = strength * torch.cdist(v, o, compute_mode=exact)
    return torch.gt(steps, o.norm(dim=-1)[:, None] / 2)


def _written(component: Component) -> Component:
    """The module output that a component replaces."""
    return "attn" if component == "attn_residual" else component


def _with_answers(
    end: PromptEnd, captured: Mapping[Component, Tensor], scores: Sequence[AttributionScore]
) -> list[AttributionScore]:
    """The scores, with the answers that are looked at where none are given.

    Args:
        end: the prompts.
        captured: vectors of aux, batch layers (positions) d_model.
        scores: of each prompt.
    """
    open_rows = [row for row, one in enumerate(scores) if one.kind == "rise" and not one.options]
    if not open_rows:
        return list(scores)
    with torch.no_grad():
        best = end.logits({}).log_softmax(-1)
        for kind, vectors in captured.items():
            for layer in range(end.model.n_layers):
                values = vectors[:, layer].reshape(len(scores), end.positions, -1)
                site = Site(_written(kind), layer)
                changed = end.logits({site: replacing(values)}).log_softmax(-1)
                best = torch.maximum(best, changed)
    tokens = best.topk(min(CANDIDATES, best.shape[-1])).indices.tolist()
    return [
        replace(one, options=tuple((token,) for token in tokens[row])) if row in open_rows else one
        for row, one in enumerate(scores)
    ]


def _slopes(
    end: PromptEnd,
    components: Sequence[Component],
    scores: Sequence[AttributionScore],
    *,
    removed: bool,
) -> dict[Component, _Slopes]:
    """Scores and gradients with respect to module outputs at the last tokens of main."""
    layers = range(end.model.n_layers)
    kinds = dict.fromkeys(map(_written, components))
    probes = {Site(kind, layer): Probe(end.positions) for kind in kinds for layer in layers}
    before, by_site = _slopes_at(end, scores, probes)
    return {
        kind: _Slopes(
            torch.stack([probes[Site(kind, layer)].own.cpu() for layer in layers], 1),
            torch.stack([by_site[Site(kind, layer)] for layer in layers], 2),
            # A block's whole output is no part that could be nothing.
            _removed(end, scores, kind, before) if removed and kind != "block" else None,
        )
        for kind in kinds
    }


def _removed(
    end: PromptEnd, scores: Sequence[AttributionScore], kind: Component, before: Tensor
) -> tuple[Tensor, Tensor]:
    """See `_Slopes.removed`.

    Args:
        end: the prompts.
        scores: of each.
        kind: the module whose output is nothing, in one block after the other.
        before: the scores with all of them, values batch.
    """
    lost, slopes = [], []
    for layer in range(end.model.n_layers):
        site = Site(kind, layer)
        values, found = _slopes_at(end, scores, {site: Probe(end.positions, keep=False)})
        lost.append(values - before)
        slopes.append(found[site])
    return torch.stack(lost, 2), torch.stack(slopes, 2)


def _slopes_at(
    end: PromptEnd, scores: Sequence[AttributionScore], probes: Mapping[Site, Probe]
) -> tuple[Tensor, dict[Site, Tensor]]:
    """Scores, values batch, and their gradients with respect to what probes add; on the CPU."""
    logits = end.logits({site: probe.rewrite for site, probe in probes.items()})
    values = [score.of(row) for score, row in zip(scores, logits, strict=True)]
    gradients = _gradients(values, [probe.nudge for probe in probes.values()])
    most = max(len(row) for row in values)
    rows = [torch.cat([row, row[-1:].expand(most - len(row))]).detach().cpu() for row in values]
    return torch.stack(rows, 1), dict(zip(probes, gradients, strict=True))


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
