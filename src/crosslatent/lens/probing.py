"""`probe`: texts in several languages -> the language subspaces of a model, in one pass.

Texts are a stream: what is kept are sums by language and layer, in float64, and the states of a few
held-out texts, so memory does not grow with the data (Lens, arXiv 2410.04407, section 3.1).
"""

from __future__ import annotations

import datetime as dt
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Unpack

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from crosslatent.core.errors import SpaceError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import FINAL, AsChat, Chat, chat_of, right_now
from crosslatent.core.subspace import Subspace, fit_means
from crosslatent.lens.compatibility import check_decoder
from crosslatent.lens.lens_settings import (
    HELD_OUT,
    LEAST,
    ProbeSpec,
    check_enough,
    check_pooling,
    check_probe,
)
from crosslatent.lens.space import SHOWN, Points, Space, SpaceRecord, versions_of
from crosslatent.lens.state_statistics import DrawnTexts, Held, Sums, between, key_of, separability
from crosslatent.lens.states import encode_texts, read_states
from crosslatent.lens.text_streams import Text, TextStream, texts_of
from crosslatent.model import Model
from crosslatent.model.chat import check_chat
from crosslatent.model.model import rounded_weights_hash
from crosslatent.tasks import Task
from crosslatent.tasks.task import facts_in, text_key

_BATCHES_AT_ONCE = 8
"""Batches whose texts are read before the model sees them, so that like lengths come together."""

Advance = Callable[[int], None]
"""Called with the number of texts that were read."""

States = Float[NDArray[np.floating], "texts layers d_model"]


@documented(ProbeSpec)
def probe(
    model: Model,
    texts: Mapping[str, Iterable[str]] | TextStream,
    *,
    progress: Advance | None = None,
    task: Task | None = None,
    **options: Unpack[ProbeSpec],
) -> Space:
    """Language subspaces of every layer (Lens, arXiv 2410.04407, section 3.1).

    The result depends on which texts there are and on the seed; their order, the batch size and
    padding change it by no more than rounding.

    Args:
        model: the model.
        texts: language -> texts, lists or generators, read in turns; or a stream of `read_texts`.
        progress: called from time to time with the number of texts that were read.
        task: the task that the texts are from, if any: its name is recorded with the facts that
            they ask.
        {settings}

    Returns:
        The subspaces; `Space.record` says what was cut and left out.

    Raises:
        SpaceError: fewer than two languages; the central one is not among them; a rank that they
            do not have; a language without text, or with fewer than `LEAST`; states that are no
            finite numbers.
        UsageError: an unknown pooling, a batch size or max_tokens below 1, a share that is none.
        ModelError: `chat`, but the tokenizer has no chat template; or an encoder reads prompts.
    """
    spec = complete(ProbeSpec, options)
    stream = texts if isinstance(texts, TextStream) else texts_of(texts)
    check_probe(spec, stream.languages)
    check_decoder(model)
    if spec["chat"]:
        check_chat(model)
    reading = _Reading(model, stream, spec)
    reading.read_all(progress)
    return reading.space(task)


@dataclass(slots=True)
class _Reading:
    """Texts on their way through the model, and what is kept of them.

    Attributes:
        sums: of the states of each language.
        drawn: language -> texts that may be held out.
        read, cut, empty: language -> texts read, cut, and left out because they gave no token.
        rows, keys: hashes of the token ids and of the texts that were read.
    """

    model: Model
    stream: TextStream
    spec: ProbeSpec
    chat: AsChat = field(init=False)
    sums: dict[str, Sums] = field(init=False)
    drawn: dict[str, DrawnTexts] = field(init=False)
    read: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    rows: array[int] = field(default_factory=lambda: array("Q"))
    keys: array[int] = field(default_factory=lambda: array("Q"))

    def __post_init__(self) -> None:
        model, spec, langs = self.model, self.spec, self.stream.languages
        self.chat = chat_of(spec["chat"], spec["chat_args"], right_now())
        self.sums = {lang: Sums.zero(model.n_layers + 1, model.d_model) for lang in langs}
        self.drawn = {lang: DrawnTexts(0 if spec["held_out"] == 0 else HELD_OUT) for lang in langs}

    def read_all(self, progress: Advance | None) -> None:
        """Every text through the model; its state goes into the sums, or may be held out."""
        texts, done = iter(self.stream), 0
        while chunk := list(islice(texts, self.spec["batch_size"] * _BATCHES_AT_ONCE)):
            done += len(chunk)
            known, states = self._states(chunk)
            for text, state in zip(known, states, strict=True):
                held = Held(key_of(text.text, self.spec["seed"]), text.row, state)
                left = self.drawn[text.lang].put(held)
                if left is not None:
                    self.sums[text.lang].add(left.state)
            if progress is not None:
                progress(done)

    def _states(self, texts: list[Text]) -> tuple[list[Text], States]:
        """The texts that give tokens, and their states."""
        model, spec = self.model, self.spec
        words = [text.text for text in texts]
        encoded = encode_texts(model, words, chat=self.chat, max_tokens=spec["max_tokens"])
        self.cut.update(text.lang for text, cut in zip(texts, encoded.cut, strict=True) if cut)
        pairs = list(zip(texts, encoded.ids, strict=True))
        self.empty.update(text.lang for text, ids in pairs if not ids)
        known = [text for text, ids in pairs if ids]
        tokens = [ids for ids in encoded.ids if ids]
        self.read.update(text.lang for text in known)
        self.rows.extend(map(row_key, tokens))
        self.keys.extend(text_key(text.text) for text in known)
        pooling = check_pooling(spec["pooling"])
        states: States = read_states(
            model, tokens, pooling=pooling, batch_size=spec["batch_size"]
        ).numpy()
        _check_finite(model, known, states)
        return known, states

    def _hold_out(self) -> dict[str, list[Held]]:
        """The texts that stay held out, by language; the others of those drawn join the sums."""
        check_enough({lang: self.read[lang] for lang in self.drawn})
        kept = {}
        for lang, candidates in self.drawn.items():
            n = self.read[lang]
            size = min(int(self.spec["held_out"] * n), n - LEAST, candidates.room)
            held = candidates.smallest_first()
            for one in held[size:]:
                self.sums[lang].add(one.state)
            kept[lang] = held[:size]
        return kept

    def space(self, task: Task | None) -> Space:
        """The space of everything that was read."""
        kept = self._hold_out()
        record = self._record({lang: len(held) for lang, held in kept.items()})
        layers = (*range(self.model.n_layers), FINAL)
        held = [(lang, one) for lang, several in kept.items() for one in several]
        langs = tuple(lang for lang, _ in held)
        states = np.stack([one.state for _, one in held]) if held else None
        if states is not None:
            clusters = [str(one.row) for _, one in held]
            fitted = self._subspaces()
            record.separability.extend(
                separability(states, langs, clusters, fitted, layers, seed=self.spec["seed"])
            )
        for lang, one in held:
            self.sums[lang].add(one.state)
        subspaces = self._subspaces()
        record.between.extend(between(list(self.sums.values())))
        points = None if states is None else Points(langs, _coordinates(states, subspaces))
        facts: set[int] = set()
        if task is not None:
            facts = facts_in(task.items, Seen.of(texts=self.keys).texts, task.name)
        seen = Seen.of(rows=self.rows, texts=self.keys, facts=facts)
        return Space(tuple(subspaces[:-1]), subspaces[-1], record, points, seen)

    def _subspaces(self) -> list[Subspace]:
        """Of every layer, from what the sums hold so far."""
        means = {lang: one.mean for lang, one in self.sums.items()}
        central, rank = self.spec["central"], self.spec["rank"]
        return [
            fit_means({lang: mean[k] for lang, mean in means.items()}, central=central, rank=rank)
            for k in range(self.model.n_layers + 1)
        ]

    def _record(self, held_out: dict[str, int]) -> SpaceRecord:
        model, spec, langs, chat = self.model, self.spec, self.stream.languages, self.chat
        return SpaceRecord(
            model={
                "name": model.name,
                "identity": model.identity_now,
                "rounded_weights_hash": rounded_weights_hash(model.hf),
            },
            pooling=check_pooling(spec["pooling"]),
            chat=bool(chat),
            chat_args=dict(chat.arguments) if isinstance(chat, Chat) else {},
            max_tokens=spec["max_tokens"],
            texts={lang: self.read[lang] for lang in langs},
            held_out=held_out,
            cut={lang: self.cut[lang] for lang in langs},
            empty={lang: self.stream.empty[lang] + self.empty[lang] for lang in langs},
            seed=spec["seed"],
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            versions=versions_of("torch", "transformers", "tokenizers", "numpy"),
        )


def _check_finite(model: Model, texts: list[Text], states: States) -> None:
    finite = np.isfinite(states).all(axis=2)
    if finite.all():
        return
    number, layer = (int(index) for index in np.argwhere(~finite)[0])
    where = f"block {layer}" if layer < model.n_layers else "the final state"
    text = texts[number]
    raise SpaceError(
        f"The states of {text.lang!r} are not finite in {where} (text of row {text.row}): the "
        f"model overflows in {str(model.dtype).removeprefix('torch.')}; try another dtype, such as "
        "bfloat16 or float32."
    )


def _coordinates(
    states: States, subspaces: Sequence[Subspace]
) -> Float32[NDArray[np.float32], "texts layers coordinates"]:
    """First coordinates in the specific subspaces, at most `SHOWN`."""
    columns = [one.coordinates(states[:, k])[:, :SHOWN] for k, one in enumerate(subspaces)]
    return np.stack(columns, axis=1).astype(np.float32)
