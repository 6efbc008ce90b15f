"""Requests to the engine, and what its paths answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from crosslatent.engine.decoding import Decoded, Tick, silent
from crosslatent.interventions.intervention import Intervention, beyond_end, check_row, tail


@dataclass(frozen=True)
class Request:
    """One prompt and its rows.

    Attributes:
        main: token ids of the prompt.
        rows: the interventions of each answer; an empty row is the unmodified run.
        watch: token ids whose log-probability as first token is wanted.
        options: continuations, as token ids, whose log-probability is wanted.
        plain_only: of unmodified rows alone; rows with interventions then have no scores.
        least_tail: tokens at the end of the prompt that are read with the rows in any case, so that
            it can share a batch with requests whose rows touch as many.

    Raises:
        PairError: a row edits a site twice, or more tokens than the prompt has.
    """

    main: tuple[int, ...]
    rows: tuple[tuple[Intervention, ...], ...]
    watch: tuple[int, ...] = ()
    options: tuple[tuple[int, ...], ...] = ()
    least_tail: int = 1
    plain_only: bool = False

    def __post_init__(self) -> None:
        """Refuse rows that the prompt cannot have."""
        for row in self.rows:
            check_row(row, len(self.main))

    def options_of(self, row: int) -> tuple[tuple[int, ...], ...]:
        """The continuations that are scored in one of its rows."""
        return () if self.plain_only and self.rows[row] else self.options

    @cached_property
    def plain(self) -> frozenset[int]:
        """Which rows are unmodified."""
        return frozenset(at for at, row in enumerate(self.rows) if not row)

    @cached_property
    def tail(self) -> int:
        """How many tokens at the end of the prompt are read with the rows."""
        return max([self.least_tail, *map(tail, self.rows)])

    @cached_property
    def common(self) -> tuple[Intervention, ...]:
        """What changes more than the end of the prompt, the same in all rows (see `alike`)."""
        return beyond_end(self.rows[0]) if self.rows else ()

    def alike(self) -> list[tuple[tuple[int, ...], Request]]:
        """Parts whose rows have the same `common` interventions, with the places of their rows.

        A prompt is read once for rows that differ at its end only, so others are requests of their
        own.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(self.rows):
            places.setdefault(tuple(map(id, beyond_end(row))), []).append(place)
        if len(places) < 2:
            return [(tuple(range(len(self.rows))), self)]
        return [
            (tuple(some), replace(self, rows=tuple(self.rows[place] for place in some)))
            for some in places.values()
        ]


Pick = tuple[int, int]
"""(request, row): one requested answer."""


class Prompts(Protocol):
    """Prompts that have been read, on one of the paths."""

    def answer(
        self, picks: Sequence[Pick], max_new_tokens: int, tick: Tick = silent
    ) -> list[Decoded]:
        """Answer the picked rows together, in their order; tell `tick` how far it is."""
        ...


@dataclass(slots=True)
class Answered:
    """The answers to one request, one entry a row.

    Attributes:
        rows: the answers.
        paths: how each was computed; see `core.specs.PATHS`.
        seconds: its share of the wall time of its batch.
        reason: why no faster path was taken; empty for the fastest.
    """

    rows: list[Decoded]
    paths: list[str]
    seconds: list[float]
    reason: str = ""
