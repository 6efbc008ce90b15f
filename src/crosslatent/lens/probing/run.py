"""`probe`: texts in several languages -> the language subspaces of a model, in one pass.

Texts are a stream: what is kept are sums by language and layer, in float64, and the states of a few
held-out texts, so memory does not grow with the data (Lens, arXiv 2410.04407, section 3.1).
"""

from __future__ import annotations

import datetime as dt
import platform
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from typing import Unpack

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from crosslatent.core import __version__
from crosslatent.core.errors import SpaceError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import FINAL, AsChat, Chat, chat_of, right_now
from crosslatent.core.subspace import Subspace, fit_means
from crosslatent.lens.origin import check_decoder
from crosslatent.lens.probing.probe_spec import (
    HELD_OUT,
    LEAST,
    ProbeSpec,
    check_enough,
    check_pooling,
    check_probe,
)
from crosslatent.lens.probing.separability import separability
from crosslatent.lens.probing.sums import Drawn, Held, Sums, between, key_of
from crosslatent.lens.space import SHOWN, Points, Space, SpaceRecord
from crosslatent.lens.states import encode_texts, read_states
from crosslatent.lens.texts.streams import Text, TextStream, texts_of
from crosslatent.model import Model
from crosslatent.model.chat import check_chat
from crosslatent.model.model import rounded_weights_hash
from crosslatent.tasks import Task
from crosslatent.tasks.fingerprints import facts_in, text_key

_BATCHES_AT_ONCE = 8
"""Batches whose texts are read before the model sees them, so that like lengths come together."""

_SOFTWARE = ("torch", "transformers", "tokenizers", "numpy")

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
    sums = {lang: Sums.zero(model.n_layers + 1, model.d_model) for lang in stream.languages}
    drawn = {lang: Drawn(0 if spec["held_out"] == 0 else HELD_OUT) for lang in stream.languages}
    chat = chat_of(spec["chat"], spec["chat_args"], right_now())
    counts = _read_all(model, stream, spec, chat, sums, drawn, progress)
    kept = _hold_out(counts.read, spec, sums, drawn)
    space = _space(model, spec, sums, kept, _record(model, spec, chat, stream, counts, kept))
    return replace(space, seen=_seen(counts, task))


def _seen(counts: _Counts, task: Task | None) -> Seen:
    """Hashes of the texts that were read, and of the facts that they ask."""
    read = Seen.of(rows=counts.rows, texts=counts.keys)
    if task is not None:
        facts = facts_in(task.items, read.texts, task.name)
        read = replace(read, facts=Seen.of(facts=facts).facts)
    return read


@dataclass(slots=True)
class _Counts:
    """Language -> texts read, cut, and left out because they gave no token.

    `rows` and `keys` are hashes of the token ids and of the texts that were read.
    """

    read: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    rows: array[int] = field(default_factory=lambda: array("Q"))
    keys: array[int] = field(default_factory=lambda: array("Q"))


def _read_all(
    model: Model,
    stream: TextStream,
    spec: ProbeSpec,
    chat: AsChat,
    sums: Mapping[str, Sums],
    drawn: Mapping[str, Drawn],
    progress: Advance | None,
) -> _Counts:
    """Every text through the model; its state goes into the sums, or may be held out."""
    counts, done = _Counts(), 0
    for texts in _chunks(stream, spec["batch_size"] * _BATCHES_AT_ONCE):
        done += len(texts)
        known, states = _states(model, texts, spec, chat, counts)
        for text, state in zip(known, states, strict=True):
            left = drawn[text.lang].put(Held(key_of(text.text, spec["seed"]), text.row, state))
            if left is not None:
                sums[text.lang].add(left.state)
        if progress is not None:
            progress(done)
    return counts


def _chunks(stream: Iterable[Text], size: int) -> Iterator[list[Text]]:
    texts = iter(stream)
    while chunk := list(islice(texts, size)):
        yield chunk


def _states(
    model: Model, texts: list[Text], spec: ProbeSpec, chat: AsChat, counts: _Counts
) -> tuple[list[Text], States]:
    """The texts that give tokens, and their states."""
    encoded = encode_texts(
        model, [text.text for text in texts], chat=chat, max_tokens=spec["max_tokens"]
    )
    counts.empty.update(text.lang for text, ids in zip(texts, encoded.ids, strict=True) if not ids)
    counts.cut.update(text.lang for text, cut in zip(texts, encoded.cut, strict=True) if cut)
    known = [text for text, ids in zip(texts, encoded.ids, strict=True) if ids]
    counts.read.update(text.lang for text in known)
    counts.rows.extend(row_key(ids) for ids in encoded.ids if ids)
    counts.keys.extend(text_key(text.text) for text in known)
    found = read_states(
        model,
        [ids for ids in encoded.ids if ids],
        pooling=check_pooling(spec["pooling"]),
        batch_size=spec["batch_size"],
    )
    states: States = found.numpy()
    _check_finite(model, known, states)
    return known, states


def _check_finite(model: Model, texts: list[Text], states: States) -> None:
    finite = np.isfinite(states).all(axis=2)
    if finite.all():
        return
    place, layer = (int(index) for index in np.argwhere(~finite)[0])
    where = f"block {layer}" if layer < model.n_layers else "the final state"
    text = texts[place]
    raise SpaceError(
        f"The states of {text.lang!r} are not finite in {where} (text of row {text.row}): the "
        f"model overflows in {str(model.dtype).removeprefix('torch.')}; try another dtype, such as "
        "bfloat16 or float32."
    )


def _hold_out(
    read: Mapping[str, int],
    spec: ProbeSpec,
    sums: Mapping[str, Sums],
    drawn: Mapping[str, Drawn],
) -> dict[str, list[Held]]:
    """The texts that stay held out, by language; the others that might have been join the sums."""
    check_enough({lang: read[lang] for lang in drawn})
    kept = {}
    for lang, candidates in drawn.items():
        n = read[lang]
        size = min(int(spec["held_out"] * n), n - LEAST, candidates.room)
        held = candidates.smallest_first()
        for one in held[size:]:
            sums[lang].add(one.state)
        kept[lang] = held[:size]
    return kept


def _space(
    model: Model,
    spec: ProbeSpec,
    sums: Mapping[str, Sums],
    kept: Mapping[str, list[Held]],
    record: SpaceRecord,
) -> Space:
    layers = (*range(model.n_layers), FINAL)
    held = [(lang, one) for lang, several in kept.items() for one in several]
    langs = tuple(lang for lang, _ in held)
    if held:
        states = np.stack([one.state for _, one in held])
        by_layer = separability(
            states,
            langs,
            [str(one.row) for _, one in held],
            _subspaces(sums, spec),
            layers,
            seed=spec["seed"],
        )
        record.separability.extend(by_layer)
    for lang, one in held:
        sums[lang].add(one.state)
    subspaces = _subspaces(sums, spec)
    record.between.extend(between(list(sums.values())))
    points = Points(langs, _coordinates(states, subspaces)) if held else None
    return Space(tuple(subspaces[:-1]), subspaces[-1], record, points)


def _subspaces(sums: Mapping[str, Sums], spec: ProbeSpec) -> list[Subspace]:
    """Of every layer, from what the sums hold so far."""
    means = {lang: one.mean for lang, one in sums.items()}
    layers = len(next(iter(means.values())))
    return [
        fit_means(
            {lang: mean[place] for lang, mean in means.items()},
            central=spec["central"],
            rank=spec["rank"],
        )
        for place in range(layers)
    ]


def _coordinates(
    states: States, subspaces: Sequence[Subspace]
) -> Float32[NDArray[np.float32], "texts layers coordinates"]:
    """First coordinates in the specific subspaces, at most `SHOWN`."""
    columns = [one.coordinates(states[:, k])[:, :SHOWN] for k, one in enumerate(subspaces)]
    return np.stack(columns, axis=1).astype(np.float32)


def _record(
    model: Model,
    spec: ProbeSpec,
    chat: AsChat,
    stream: TextStream,
    counts: _Counts,
    kept: Mapping[str, list[Held]],
) -> SpaceRecord:
    langs = stream.languages
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
        texts={lang: counts.read[lang] for lang in langs},
        held_out={lang: len(kept[lang]) for lang in langs},
        cut={lang: counts.cut[lang] for lang in langs},
        empty={lang: stream.empty[lang] + counts.empty[lang] for lang in langs},
        seed=spec["seed"],
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        versions={
            "crosslatent": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _SOFTWARE},
        },
    )
