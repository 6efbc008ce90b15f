"""`LinearMaps`: the base of INCLINE and its controls (arXiv 2410.12462).

In every block, W maps the state of a question's last token to that of its counterpart: fitted on
parallel texts by ridge regression, without an intercept. While a question is read, h + alpha W h
takes the place of h at its last token, in all blocks. Which way helps is not assumed: the source
itself finds strengths of both signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from crosslatent.core.specs import Component, Site
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.intervention import LAST, Intervention
from crosslatent.interventions.kinds.linear_map import LinearMap
from crosslatent.interventions.kinds.steer import Steer
from crosslatent.lens.lens_settings import check_pooling
from crosslatent.lens.states import read_states
from crosslatent.methods.learning import (
    QUICK,
    EditedWay,
    Once,
    check_texts,
    read_as_asked,
    without_decoder,
)
from crosslatent.methods.method import Bench, League, Method, Settings, Way
from crosslatent.tasks import Item

RIDGES = (1e-3, 0.0, 1e-2, 1e-1)
"""Shares of the mean square of the states that are tried as ridge; the first wins ties."""

HELD_OUT = 0.2
"""Share of the pairs by which the ridge is chosen."""

LEAST = 10
"""Pairs below which two would be held out at most."""

ALPHAS = (0.25, -0.25, 0.1, -0.1, 0.5, -0.5, 0.75, -0.75, 1.0, -1.0)

States = Float64[Tensor, "texts width"]


class Map(NamedTuple):
    """W = out^T into; see `LinearMap`."""

    into: Float64[Tensor, "inner width"] | None
    out: Float64[Tensor, "inner width"] | None = None

    def of(self, states: States) -> States:
        """W h of states."""
        for_all = LinearMap(Site("block", 0), self.into, self.out)
        return for_all.mapped(states)


class Quality(NamedTuple):
    """How well maps do on pairs that they were not fitted on.

    Attributes:
        explained: R^2: 1 - squared error / squared distance to the mean of the fitted targets.
        found: share of the texts whose image is nearest to its own counterpart's state.
    """

    explained: float
    found: float


@dataclass(frozen=True, eq=False)
class LearntMaps:
    """The maps of all blocks.

    Attributes:
        maps: of each block.
        quality: on held-out pairs, mean over blocks; None where nothing was fitted.
        tokens: of the texts that they were fitted on.
    """

    maps: tuple[Map, ...]
    quality: Quality | None = None
    tokens: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What results must be read with."""
        if self.quality is None:
            return ()
        explained, found = self.quality
        note = (
            f"On held-out pairs the maps explain {explained:.2f} of the variance (R², mean over "
            f"blocks), and the image is nearest to the own counterpart in {found:.0%}."
        )
        return (note,)


def ridge_map(x: States, y: States, ridge: float) -> Map:
    """W with the least sum of |W x - y|^2 + ridge trace(X X^T) / width |W|^2.

    With fewer texts than the width, in a form whose size is the number of texts; without a ridge,
    that is the W of least norm among the best.

    Args:
        x: what is mapped.
        y: where it should come to.
        ridge: share of the mean square of the states.
    """
    penalty = ridge * float(x.square().sum()) / x.shape[1]
    thin = len(x) < x.shape[1]
    gram = x @ x.T if thin else x.T @ x
    gram.diagonal().add_(penalty)
    inverse = torch.linalg.pinv(gram, hermitian=True)
    return Map(inverse @ x, y) if thin else Map((inverse @ (x.T @ y)).T.contiguous())


def quality_of(one: Map, x: States, y: States, centre: Float64[Tensor, " width"]) -> Quality:
    """How well a map does on pairs; `centre` is the mean of the targets that it was fitted on."""
    image = one.of(x)
    error, spread = (image - y).square().sum(), (y - centre).square().sum()
    nearest = torch.cdist(image, y).argmin(1)
    found = (nearest == torch.arange(len(y))).double().mean()
    return Quality(1 - float(error / spread), float(found))


def fitted_map(x: States, y: States, seed: int) -> tuple[Map, Quality]:
    """The map of one block with the ridge that does best on held-out pairs, fitted on all pairs."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    out, kept = order.tensor_split([max(2, round(HELD_OUT * len(x)))])
    centre = y[kept].mean(0)
    tried = {
        ridge: quality_of(ridge_map(x[kept], y[kept], ridge), x[out], y[out], centre)
        for ridge in RIDGES
    }
    best = max(tried, key=lambda ridge: tried[ridge].explained)
    return ridge_map(x, y, best), tried[best]


@dataclass
class UnpatchedWay(EditedWay):
    """The maps of states that an unmodified forward over the same prompt had.

    Attributes:
        bench: how questions are asked.
    """

    bench: Bench | None = None

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """The images of the prompt's own states, to be added."""
        assert self.bench is not None
        component = self.row[0].site.component
        states = capture_ids(self.bench.model, [self._ids(item)], [component])[component][0]
        maps = (each for each in self.row if isinstance(each, LinearMap))
        return tuple(
            Steer(each.site, each.mapped(states[each.site.layer]).cpu(), each.alpha, tokens=LAST)
            for each in maps
        )

    def extra_tokens(self, item: Item, /) -> int:
        """The prompt is read twice."""
        return len(self._ids(item))

    def _ids(self, item: Item) -> list[int]:
        assert self.bench is not None
        return self.bench.tokens([item])[item.id].main


class LinearMaps(Method):
    """Add the image under a linear map to every block, at the last token of the prompt.

    Settings: "alpha", and maybe "features" ("last", the token that is changed, or "mean", the
    source's mean over a text's tokens) and "vectors" ("live", the image of the state that the
    blocks before have changed, or "unpatched", the source's: of the unmodified run's state).

    Attributes:
        component: what of a block is mapped.
    """

    league: ClassVar[League] = "none"
    fits: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 2410.12462"
    component: ClassVar[Component] = "block"

    def refusal(self, bench: Bench) -> str:
        """An encoder reads the prompts, or no question has a counterpart."""
        if not any(item.aux for item in bench.learn):
            return "No pilot question has a counterpart, so that there are no parallel texts."
        return without_decoder(bench)

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Strengths from -1 to 1."""
        return [{"alpha": alpha} for alpha in (ALPHAS[:QUICK] if bench.quick else ALPHAS)]

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Fit maps on the pairs of the languages; see `Method.fit`.

        Raises:
            UsageError: there are too few pairs.
        """
        features = check_pooling(settings.get("features", "last"))
        pairs = bench.pairs(langs)
        key = (bench.model.hf, bench.chat, pairs, features, seed)
        learnt = self._once(key, lambda: self.learn(bench, langs, features, seed))
        alpha, device = float(settings["alpha"]), bench.model.device
        placed = (
            [part if part is None else part.float().to(device) for part in one]
            for one in learnt.maps
        )
        row = tuple(
            LinearMap(Site(self.component, layer), into, out, alpha)
            for layer, (into, out) in enumerate(placed)
        )
        found = (row, self._trained(bench), 0, learnt.tokens, learnt.notes)
        unpatched = settings.get("vectors", "live") == "unpatched"
        return UnpatchedWay(*found, bench) if unpatched else EditedWay(*found)

    def learn(self, bench: Bench, langs: Sequence[str], features: str, seed: int) -> LearntMaps:
        """The maps of all blocks.

        Raises:
            UsageError: there are too few pairs.
        """
        pairs = bench.pairs(langs)
        read = read_as_asked(bench, [text for pair in pairs for text in pair])
        # One of a pair without tokens would pair others wrongly.
        both = [
            (one, other) for one, other in zip(read[::2], read[1::2], strict=True) if one and other
        ]
        check_texts({"+".join(langs): both}, LEAST, self.title)
        main, aux = zip(*both, strict=True)
        x, y = (
            read_states(
                bench.model,
                ids,
                pooling=check_pooling(features),
                layers=range(bench.model.n_layers),
                component=self.component,
            ).double()
            for ids in (main, aux)
        )
        y = self.targets(y, seed)
        fitted = [fitted_map(x[:, k], y[:, k], seed) for k in range(x.shape[1])]
        means = torch.tensor([quality for _, quality in fitted]).mean(0).tolist()
        tokens = sum(map(len, [*main, *aux]))
        return LearntMaps(tuple(one for one, _ in fitted), Quality(*means), tokens)

    def targets(
        self, states: Float64[Tensor, "texts layers width"], seed: int
    ) -> Float64[Tensor, "texts layers width"]:
        """The states that texts are mapped to, one for each text: its counterpart's."""
        del seed
        return states

    def _trained(self, bench: Bench) -> int:
        return bench.model.n_layers * bench.model.width(self.component) ** 2

    @cached_property
    def _once(self) -> Once[LearntMaps]:
        return Once()
