"""What methods share that learn from texts and answer under edits: texts, a memory, the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from crosslatent.core.errors import UsageError
from crosslatent.interventions.intervention import Intervention
from crosslatent.methods.method import Bench, Way
from crosslatent.tasks import Item

CENTRAL = "en"
"""Where no question names the language of its counterpart."""

QUICK = 4
"""Configurations of a quick search."""

Ids = tuple[int, ...]
"""Token ids of one text."""

_Made = TypeVar("_Made")


@dataclass
class EditedWay(Way):
    """Every question as it is, answered under the same interventions.

    Attributes:
        row: these; the same objects for every question, so that questions share batches.
    """

    row: tuple[Intervention, ...] = ()
    edits_only: bool = field(default=True, init=False)
    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    notes: tuple[str, ...] = ()

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """The interventions."""
        del item
        return self.row


class Once(Generic[_Made]):
    """Keeps the last thing that was made: configurations differ in less than what they learn."""

    def __init__(self) -> None:
        """Nothing has been made."""
        self._kept: tuple[tuple[Any, ...], _Made] | None = None

    def __call__(self, key: tuple[Any, ...], make: Callable[[], _Made]) -> _Made:
        """What `make` returns, or has returned for an equal key just before."""
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # Not two at once in memory.
            self._kept = (key, make())
        return self._kept[1]


def central_of(bench: Bench) -> str:
    """The language of the counterparts of a bench."""
    return next((item.aux_lang for item in bench.learn if item.aux), CENTRAL)


def languages_of(bench: Bench) -> tuple[str, ...]:
    """The languages that there are texts in: that of the counterparts first."""
    asked = (item.lang for item in bench.learn)
    return tuple(dict.fromkeys([central_of(bench), *asked, *bench.texts]))


def texts_in(bench: Bench, lang: str, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Texts in one language, each once: the prompts in it of some pairs, and further texts.

    Args:
        bench: has the further texts.
        lang: the language; of pairs, that of the counterparts has the second texts.
        pairs: prompts with their counterparts.
    """
    place = int(lang == central_of(bench))
    prompts = (pair[place] for pair in pairs)
    return tuple(dict.fromkeys([*prompts, *bench.texts.get(lang, ())]))


def texts_by_language(bench: Bench, langs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Texts in languages, that of the counterparts among them if it is asked for.

    Those in it are the counterparts of the questions in the other ones, and its own questions.
    """
    central = central_of(bench)
    others = [lang for lang in langs if lang != central]
    found = {lang: texts_in(bench, lang, bench.pairs([lang])) for lang in others}
    if central in langs:
        own = tuple(item.main for item in bench.of([central]))
        counterparts = texts_in(bench, central, bench.pairs(others or languages_of(bench)))
        found[central] = tuple(dict.fromkeys([*counterparts, *own]))
    return found


def read_as_asked(bench: Bench, texts: Sequence[str]) -> tuple[Ids, ...]:
    """Token ids of texts, through the chat template if questions are; long ones are cut.

    Those of a text may be none.
    """
    from crosslatent.lens.states import encode_texts

    found = encode_texts(bench.model, texts, chat=bench.chat)
    return tuple(map(tuple, found.ids))


def read_all(bench: Bench, langs: Sequence[str] | None = None) -> dict[str, tuple[Ids, ...]]:
    """Token ids of the texts in languages, by default all; those without a token are left out."""
    found = texts_by_language(bench, languages_of(bench) if langs is None else langs)
    return {lang: tuple(filter(None, read_as_asked(bench, texts))) for lang, texts in found.items()}


def check_texts(texts: Mapping[str, Sequence[Any]], least: int, title: str) -> None:
    """Refuse languages with few texts.

    Raises:
        UsageError: there are fewer than `least` texts in a language.
    """
    for lang, some in texts.items():
        if len(some) < least:
            raise UsageError(
                f"There are {len(some)} texts in {lang!r} for {title} to learn from, but it needs "
                f"{least} or more: give more pilot questions, with their counterparts."
            )


def without_decoder(bench: Bench) -> str:
    """Why states of texts cannot be read: an encoder reads the prompts; empty if they can."""
    if bench.model.has_encoder:
        return "An encoder reads the prompts of this model, so that texts have no states in blocks."
    return ""


def some_layers(n_layers: int, shares: Sequence[float]) -> list[int]:
    """Blocks at some shares of the depth, each once."""
    return list(dict.fromkeys(round(share * (n_layers - 1)) for share in shares))
