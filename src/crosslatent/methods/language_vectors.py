"""`LanguageVector`: the base of methods that add a vector from one language to another.

With m_l the mean state of texts in a language l in one block, the vector is m_target - m_central,
and a token's state h becomes h + alpha s(v). The kinds differ in which states are averaged, in
which blocks and tokens are changed, and in s (`Push`). Which way helps is not assumed: strengths of
both signs are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from crosslatent.core.errors import UsageError
from crosslatent.core.specs import Site
from crosslatent.interventions.intervention import (
    ALL,
    BUT_THE_FIRST,
    LAST,
    PROMPT,
    Intervention,
)
from crosslatent.interventions.kinds.push import Push
from crosslatent.lens.lens_settings import Pooling
from crosslatent.lens.states import read_states
from crosslatent.methods.learning import (
    QUICK,
    EditedWay,
    Ids,
    Once,
    central_of,
    check_texts,
    languages_of,
    read_all,
    read_as_asked,
    some_layers,
    texts_by_language,
    without_decoder,
)
from crosslatent.methods.method import Bench, League, Method, Settings, Way

Floats = NDArray[np.float64]

TOKENS = {"last": LAST, "prompt": PROMPT, "all": ALL, "all-but-first": BUT_THE_FIRST}
"""What tokens are called in settings."""

LEAST = 4
"""Texts of a language below which there is no mean to speak of."""

DEPTHS = (0.5, 0.25, 0.75)
"""Where vectors are added, as shares of the depth; the middle first, where languages meet."""


class TextsRead(NamedTuple):
    """Texts of the languages that a vector is fitted on.

    Attributes:
        target: name of the language of the questions; of several, joined.
        central: the language of their counterparts.
        texts: texts of both.
        ids: language -> token ids of texts; of other languages too, where they are asked for.
    """

    target: str
    central: str
    texts: Mapping[str, Sequence[str]]
    ids: Mapping[str, Sequence[Ids]]

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return sum(len(ids) for some in self.ids.values() for ids in some)


class LanguageVector(Method):
    """Add the vector from the central language to that of the question.

    Settings: "layer" (a block, or "all"), "alpha", and maybe "scale" (see `Push.scale`), "tokens"
    (one of `TOKENS`) and "released_offset" (the vector of the block before is added).

    Attributes:
        pooling: one state of a text: its last token's, or the mean over its tokens.
        special: whether special tokens count in the mean.
        others: whether texts in all languages are read, and not only in the two.
        scale: how long a step is, unless the settings say it.
        tokens: which are changed, unless the settings say it.
        keep_norm: whether states keep their length.
        alphas: strengths that are tried.
        depths: where, as shares of the depth.
    """

    league: ClassVar[League] = "none"
    fits: ClassVar[bool] = True
    pooling: ClassVar[Pooling] = "mean"
    special: ClassVar[bool] = False
    others: ClassVar[bool] = False
    scale: ClassVar[Any] = "raw"
    tokens: ClassVar[str] = "all"
    keep_norm: ClassVar[bool] = False
    alphas: ClassVar[Sequence[float]] = (1.0, -1.0, 0.5, -0.5)
    depths: ClassVar[Sequence[float]] = DEPTHS

    def refusal(self, bench: Bench) -> str:
        """An encoder reads the prompts."""
        return without_decoder(bench)

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """Every strength in every of the blocks; of a quick search, in the first one."""
        layers = self.layers(bench)
        if bench.quick:
            layers = layers[:1]
        grid = [{"layer": layer, "alpha": alpha} for alpha, layer in product(self.alphas, layers)]
        return grid[:QUICK] if bench.quick else grid

    def layers(self, bench: Bench) -> Sequence[int | str]:
        """Where the vector is added: blocks, or "all"."""
        return some_layers(bench.model.n_layers, self.depths)

    def directions(
        self, states: Mapping[str, Floats], target: str, central: str
    ) -> Float64[Floats, "layers d_model"]:
        """The vector of every block.

        Args:
            states: language -> states of its texts, texts layers d_model.
            target: the language of the questions.
            central: the language of their counterparts.
        """
        vectors: Floats = states[target].mean(0) - states[central].mean(0)
        return vectors

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Read texts in the languages; see `Method.fit`.

        Raises:
            UsageError: there are too few texts, or no block before the first.
        """
        del seed
        read = self._read(bench, langs)
        key = (bench.model.hf, bench.chat, read.target, read.ids)
        learnt = self._once(key, lambda: self.learn(bench, read))
        row = self.row(bench, read.target, learnt, settings)
        return EditedWay(row, len(row) * bench.model.d_model, unlabelled=read.tokens)

    def learn(self, bench: Bench, read: TextsRead) -> Any:
        """What `row` needs: here the vectors of all blocks, layers d_model."""
        states = {lang: self._states(bench, ids) for lang, ids in read.ids.items()}
        return self.directions(states, read.target, read.central)

    def row(
        self, bench: Bench, target: str, learnt: Any, settings: Settings
    ) -> tuple[Intervention, ...]:
        """The interventions of one configuration.

        Args:
            bench: has the model.
            target: the language of the questions.
            learnt: what `learn` returned.
            settings: the configuration.
        """
        del target
        named = settings["layer"]
        layers = range(bench.model.n_layers) if named == "all" else [int(named)]
        return tuple(self._push(learnt, layer, settings) for layer in layers)

    def _push(self, vectors: Floats, layer: int, settings: Settings) -> Push:
        source = layer - bool(settings.get("released_offset"))
        if source < 0:
            raise UsageError(
                "With released_offset, the vector of the block before is added, but there is none "
                "before block 0: name a later block."
            )
        return Push(
            Site("block", layer),
            torch.from_numpy(vectors[source]),
            float(settings["alpha"]),
            settings.get("scale", self.scale),
            self.keep_norm,
            TOKENS[settings.get("tokens", self.tokens)],
        )

    @cached_property
    def _once(self) -> Once[Any]:
        return Once()

    def _read(self, bench: Bench, langs: Sequence[str]) -> TextsRead:
        """Texts of the languages of questions, as one; of the central one; maybe of all others."""
        central, target = central_of(bench), "+".join(langs)
        found = texts_by_language(bench, [*langs, central])
        together = dict.fromkeys(text for lang in langs for text in found[lang])
        texts = {target: tuple(together), central: found[central]}
        ids = {lang: self._ids(bench, some) for lang, some in texts.items()}
        check_texts(ids, LEAST, self.title)
        if self.others:
            rest = [lang for lang in languages_of(bench) if lang not in (*langs, central)]
            more = read_all(bench, rest)
            ids |= {lang: some for lang, some in more.items() if len(some) >= LEAST}
        return TextsRead(target, central, texts, ids)

    def _ids(self, bench: Bench, texts: Sequence[str]) -> tuple[Ids, ...]:
        return tuple(filter(None, read_as_asked(bench, texts)))

    def _states(self, bench: Bench, ids: Sequence[Ids]) -> Floats:
        """States of texts in every block, texts layers d_model."""
        found = read_states(
            bench.model,
            ids,
            pooling=self.pooling,
            layers=range(bench.model.n_layers),
            special=self.special,
        )
        states: Floats = found.double().numpy()
        return states
