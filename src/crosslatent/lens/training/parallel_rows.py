"""Texts to rows: which belong together, which are held out, and in which order they come.

Everything follows from the seed and the rows, so that a resumed run sees the rest of the same rows
in the same order, whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.specs import AsChat
from crosslatent.lens.states import encode_texts
from crosslatent.model import Model

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """The same text in the central language and in some target languages, as token ids."""

    central: Ids
    targets: Mapping[str, Ids]


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Parallel texts, ready for training.

    Attributes:
        rows: with the central and one target language at least.
        left_out: how many rows were not used, because they lack one of these.
        cut: by language, texts that were longer than the limit and lost their end.
        numbers: which of the texts' rows these are.
    """

    rows: tuple[EncodedRow, ...]
    left_out: int
    cut: dict[str, int]
    numbers: tuple[int, ...]

    def texts(self, lang: str, central: str) -> list[Ids]:
        """All texts of one language."""
        if lang == central:
            return [row.central for row in self.rows]
        return [row.targets[lang] for row in self.rows if lang in row.targets]


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Numbers of the rows that are trained on, and of those that are not."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def as_rows(
    parallel: Sequence[Mapping[str, str]] | Mapping[str, Sequence[str]],
) -> list[Mapping[str, str]]:
    """Parallel texts as rows, from rows or from one list for each language.

    Raises:
        SpaceError: the lists are not equally long.
    """
    if not isinstance(parallel, Mapping):
        return list(parallel)
    lengths = {lang: len(texts) for lang, texts in parallel.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{lang} {length}" for lang, length in lengths.items())
        raise SpaceError(f"The languages have different numbers of parallel texts ({counts}).")
    return [dict(zip(parallel, row, strict=True)) for row in zip(*parallel.values(), strict=True)]


def encode_rows(
    model: Model,
    parallel: Sequence[Mapping[str, str]],
    *,
    central: str,
    languages: Sequence[str],
    chat: AsChat,
    max_tokens: int,
) -> EncodedRows:
    """Token ids of parallel texts.

    Args:
        model: whose tokenizer counts.
        parallel: rows of texts by language; empty texts are missing ones.
        central: the central language.
        languages: the target languages.
        chat: through the chat template.
        max_tokens: longer texts lose their end.

    Raises:
        SpaceError: a language has no text, or no row has both.
        ModelError: `chat`, but the tokenizer has no chat template.
    """
    encoded: dict[str, list[Ids | None]] = {}
    cut: dict[str, int] = {}
    for lang in (central, *languages):
        texts = [row.get(lang) for row in parallel]
        encoded[lang], cut[lang] = _encode(model, texts, chat, max_tokens)
        if not any(encoded[lang]):
            raise SpaceError(
                f"There is no text in {lang!r} among {len(parallel)} rows: name the languages that "
                "the data has."
            )
    rows: dict[int, EncodedRow] = {}
    for number, middle in enumerate(encoded[central]):
        targets = {lang: ids for lang in languages if (ids := encoded[lang][number]) is not None}
        if middle is not None and targets:
            rows[number] = EncodedRow(middle, targets)
    for lang in languages:
        if not any(lang in row.targets for row in rows.values()):
            raise SpaceError(
                f"No row has a text both in {lang!r} and in {central!r}: give parallel texts."
            )
    return EncodedRows(tuple(rows.values()), len(parallel) - len(rows), cut, tuple(rows))


def _encode(
    model: Model, texts: Sequence[str | None], chat: AsChat, max_tokens: int
) -> tuple[list[Ids | None], int]:
    """Ids of the texts, None where one is missing, and how many were cut."""
    there = {number: text for number, text in enumerate(texts) if text and text.strip()}
    encoded = encode_texts(model, list(there.values()), chat=chat, max_tokens=max_tokens)
    ids: list[Ids | None] = [None] * len(texts)
    for number, tokens in zip(there, encoded.ids, strict=True):
        ids[number] = tuple(tokens) or None
    return ids, sum(encoded.cut)


def split_rows(groups: Sequence[Hashable], held_out: float, seed: int) -> RowSplit:
    """Hold out a share of the rows, drawn by seed.

    Args:
        groups: what each row belongs to; rows of one group (such as one fact, asked in several
            languages) stay together.
        held_out: the share, of groups; with any above 0, one group at least.
        seed: of the draw.

    Raises:
        UsageError: no row would be left to train on.
    """
    members: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    order = np.random.default_rng([seed, 0]).permutation(len(members))
    count = max(1, round(held_out * len(members))) if held_out else 0
    if count >= len(members):
        raise UsageError(
            f"Training has {len(members)} row{'s' * (len(members) != 1)}, too few to hold out "
            f"{held_out:g} of them: give more rows, or hold out none."
        )
    parts = list(members.values())
    apart = sorted(number for index in order[:count] for number in parts[index])
    return RowSplit(tuple(sorted(set(range(len(groups))) - set(apart))), tuple(apart))


def order_of(rows: Sequence[int], epoch: int, seed: int) -> list[int]:
    """The rows of one epoch, in the order in which they are trained on."""
    order = np.random.default_rng([seed, 1, epoch]).permutation(len(rows))
    return [rows[index] for index in order]


def steps_of(rows: int, batch_size: int, accumulate: int) -> int:
    """Steps of an epoch; the last one may be smaller, and is not left out."""
    return -(-rows // (batch_size * accumulate))


def parts_of(rows: Sequence[int], size: int) -> list[list[int]]:
    """Rows in parts of `size`, the last one as large as it is."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def pieces_of(rows: Sequence[int], tokens: Mapping[int, int], room: int | None) -> list[list[int]]:
    """Rows of a batch in pieces that are computed one after the other, like lengths together.

    Args:
        rows: numbers of the rows.
        tokens: of the texts of each row, padded to the longest of them.
        room: tokens of a piece, padded to its longest row; None for one piece.
    """
    if room is None:
        return [list(rows)] if rows else []
    pieces: list[list[int]] = []
    for row in sorted(rows, key=lambda row: (tokens[row], row)):
        if not pieces or tokens[row] * (len(pieces[-1]) + 1) > room:
            pieces.append([])
        pieces[-1].append(row)
    return pieces
