"""Which neurons are active in which languages, and methods that scale them (arXiv 2601.16390).

A neuron is one input of the last matrix of the feed-forward. It is active in a language if its mean
at the last token of texts in it lies above a threshold; by the number of languages in which it is
active it is dead, specific (1), shared by some, or shared by all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.specs import Site
from crosslatent.interventions.kinds.scale import Scale
from crosslatent.lens.states import read_states
from crosslatent.methods.learning import (
    QUICK,
    EditedWay,
    Ids,
    Once,
    languages_of,
    read_all,
    without_decoder,
)
from crosslatent.methods.method import Bench, League, Method, Settings, Way

LEAST = 4
"""Texts of a language below which its halves have no means."""

LEAST_LANGUAGES = 3
"""With two, no neuron is shared by some languages and not by all."""

STABLE = 0.8
"""Agreement of two halves of the texts below which a set of neurons has no name."""

BETA, GAMMA = 0.4, 0.2
"""The strengths of the source on shared and on specific neurons."""

ALPHAS = (1.0, -1.0, -5.0, 2.5, -2.5)
"""Of these, -5 is the source's example: shared neurons change their sign."""

WINDOWS = ((0.5, 0.85), (2 / 3, 1.0))
"""Late blocks, from and up to shares of the depth."""

Active = Bool[Tensor, "languages layers neurons"]
Mask = Bool[Tensor, "layers neurons"]


class NeuronClasses(NamedTuple):
    """Neurons by the number of languages in which they are active.

    Attributes:
        partial: in two or more, but not in all.
        specific: in one alone.
    """

    partial: Mask
    specific: Mask

    @classmethod
    def of(cls, active: Active) -> NeuronClasses:
        """The classes of neurons."""
        count = active.sum(0)
        return cls((count > 1) & (count < len(active)), count == 1)

    def drawn_anew(self, seed: int) -> NeuronClasses:
        """As many of both kinds in every block, but any neurons."""
        generator = torch.Generator().manual_seed(seed)
        partial, specific = torch.zeros_like(self.partial), torch.zeros_like(self.specific)
        for layer, (some, alone) in enumerate(zip(self.partial, self.specific, strict=True)):
            order = torch.randperm(len(some), generator=generator)
            first, second = int(some.sum()), int(alone.sum())
            partial[layer, order[:first]] = True
            specific[layer, order[first : first + second]] = True
        return NeuronClasses(partial, specific)


def agreement(one: Active, other: Active) -> float:
    """Jaccard index of the specific neurons with their languages; 1 if there are none at all."""
    first, second = (each & (each.sum(0) == 1) for each in (one, other))
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


@dataclass(frozen=True, eq=False)
class LearntClasses:
    """Neuron classes of all blocks.

    Attributes:
        classes: the classes.
        agreement: of two halves of the texts, in the specific neurons.
        tokens: of the texts.
    """

    classes: NeuronClasses
    agreement: float
    tokens: int

    @property
    def note(self) -> str:
        """How far the classes can be believed."""
        about = f"Two halves of the texts agree on {self.agreement:.2f} (Jaccard index)"
        if self.agreement >= STABLE:
            return f"{about} of the language-specific neurons."
        return (
            f"{about} of the neurons that are active in one language alone, less than {STABLE}: "
            "which they are depends on the texts."
        )


class TextMeans(NamedTuple):
    """Mean activations over the texts of a language, and over two halves of them."""

    whole: Float[Tensor, "layers neurons"]
    first: Float[Tensor, "layers neurons"]
    second: Float[Tensor, "layers neurons"]

    @classmethod
    def of(cls, states: Float[Tensor, "texts layers neurons"]) -> TextMeans:
        """The means of single texts' activations; every other text is in the first half."""
        return cls(states.mean(0), states[::2].mean(0), states[1::2].mean(0))


def classes_of(
    means: Mapping[str, TextMeans], threshold: float = 0.0
) -> tuple[NeuronClasses, float]:
    """Classes of neurons by the texts of languages, and the agreement of two halves of them."""
    whole, first, second = (
        torch.stack([one[part] > threshold for one in means.values()]) for part in range(3)
    )
    return NeuronClasses.of(whole), agreement(first, second)


class NeuronScaling(Method):
    """Scale shared and specific neurons in late blocks, at every token.

    The source's h1 = h (1 + beta) on the shared, h2 = h1 (1 - gamma) on the specific neurons, and
    h' = (1 - alpha) h + alpha h2 come to two factors: 1 + alpha beta and 1 - alpha gamma.

    Settings: "alpha", "beta", "gamma", or "factors" (shared, specific); "window" (first block, and
    the one after the last); maybe "threshold" (0).
    """

    league: ClassVar[League] = "none"
    fits: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 2601.16390"

    def refusal(self, bench: Bench) -> str:
        """An encoder reads the prompts, there are two languages, or no neurons can be found."""
        if reason := without_decoder(bench):
            return reason
        if reason := _few_languages(languages_of(bench)):
            return reason
        try:
            bench.model.width("neurons")
        except PairError as error:
            return str(error)
        return ""

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Strengths in windows; one with a change of sign among them."""
        windows = list(dict.fromkeys(_window(bench.model.n_layers, *part) for part in WINDOWS))
        if bench.quick:
            windows = windows[:1]
        grid = [
            {"alpha": alpha, "beta": BETA, "gamma": GAMMA, "window": window}
            for alpha, window in product(ALPHAS, windows)
        ]
        return grid[:QUICK] if bench.quick else grid

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Sort the neurons by texts in all languages of the bench; see `Method.fit`.

        Raises:
            UsageError: there are too few languages with enough texts.
        """
        del langs
        threshold = float(settings.get("threshold", 0.0))
        ids = {lang: ids for lang, ids in read_all(bench).items() if len(ids) >= LEAST}
        if reason := _few_languages(ids):
            raise UsageError(reason)
        key = (bench.model.hf, bench.chat, ids, threshold)
        learnt = self._once(key, lambda: _learnt(bench, ids, threshold))
        chosen = self.chosen(learnt.classes, seed)
        factors = factors_of(settings)
        layers = range(*settings["window"])
        scales = {at: _scales(chosen, at, factors).to(bench.model.device) for at in layers}
        row = tuple(Scale(Site("neurons", at), one) for at, one in scales.items())
        changed = sum(int(mask[list(layers)].sum()) for mask in chosen)
        shown = f"Factors {factors[0]:g} (shared) and {factors[1]:g} (specific)."
        return EditedWay(row, changed, 0, learnt.tokens, (shown, self.note(learnt)))

    def chosen(self, classes: NeuronClasses, seed: int) -> NeuronClasses:
        """The neurons that are scaled."""
        del seed
        return classes

    def note(self, learnt: LearntClasses) -> str:
        """What results must be read with, beside the factors."""
        return learnt.note

    @cached_property
    def _once(self) -> Once[LearntClasses]:
        return Once()


def _few_languages(langs: Collection[str]) -> str:
    """Why languages are too few; empty if they are not."""
    if len(langs) >= LEAST_LANGUAGES:
        return ""
    return (
        f"There are texts in {len(langs)} languages ({', '.join(langs)}), but neurons that some "
        f"languages share and others do not need {LEAST_LANGUAGES} or more with {LEAST} texts each."
    )


def factors_of(settings: Settings) -> tuple[float, float]:
    """What shared and specific neurons are multiplied by."""
    if "factors" in settings:
        shared, specific = settings["factors"]
        return float(shared), float(specific)
    alpha = float(settings["alpha"])
    beta, gamma = float(settings.get("beta", BETA)), float(settings.get("gamma", GAMMA))
    return 1 + alpha * beta, 1 - alpha * gamma


def _learnt(bench: Bench, ids: Mapping[str, Sequence[Ids]], threshold: float) -> LearntClasses:
    def read(some: Sequence[Ids]) -> TextMeans:
        layers = range(bench.model.n_layers)
        return TextMeans.of(read_states(bench.model, some, layers=layers, component="neurons"))

    classes, agreed = classes_of({lang: read(some) for lang, some in ids.items()}, threshold)
    return LearntClasses(classes, agreed, sum(len(text) for some in ids.values() for text in some))


def _scales(
    chosen: NeuronClasses, layer: int, factors: tuple[float, float]
) -> Float[Tensor, " neurons"]:
    scales = torch.ones(chosen.partial.shape[1])
    for mask, factor in zip(chosen, factors, strict=True):
        scales[mask[layer]] = factor
    return scales


def _window(n_layers: int, first: float, stop: float) -> tuple[int, int]:
    start = round(first * n_layers)
    return min(start, n_layers - 1), max(round(stop * n_layers), start + 1)
