"""Which questions and texts of an evaluation a condition was fitted on, and that it is refused.

A question counts once: by its own token ids, else by its own text, else by the fact that it asks
(under the name of its task, or by its counterpart, which asks the same in another language).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.errors import UsageError
from crosslatent.core.seen import BY, FACT, TEXT, TOKENS, Seen, among, row_key
from crosslatent.lens.evaluation.asking import Asking, Question
from crosslatent.lens.evaluation.conditions import (
    Condition,
    Intervened,
    Steered,
    Tuned,
    sources_of,
    steered_of,
)
from crosslatent.lens.evaluation.results import ALL, Fitted, Overlap
from crosslatent.lens.evaluation.running import asked_centrally, asked_of
from crosslatent.model import Model
from crosslatent.model.loading import seen_by
from crosslatent.tasks.task import fact_key, fact_of, text_key

_ALLOW = "pass --allow-training-data (allow_training_data=True in Python)"


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a condition has seen of an evaluation.

    Attributes:
        fitted: whether it is known what it was fitted on.
        asked: of the target questions, of those of each language, and of the central ones.
        items: of the items, each counted once whatever of it is asked.
        texts: of the texts that the divergence is measured on; None without any.
    """

    fitted: Fitted
    asked: dict[str, Overlap] = field(default_factory=dict)
    items: Overlap = field(default_factory=lambda: Overlap(0, 0))
    texts: Overlap | None = None


def seen_of(condition: Condition, base: Seen | None) -> list[tuple[str | None, Seen | None]]:
    """What each part of a condition was fitted on, with the language that it is for.

    Args:
        condition: the condition; its trained models need not be loaded.
        base: what the unmodified model was trained on, if that is known. Nothing is listed for an
            ordinary model.

    Raises:
        ModelError: the record of a trained model is damaged.
    """
    found: list[tuple[str | None, Seen | None]] = [] if base is None else [(None, base)]
    if isinstance(condition, Tuned):
        for lang, source in sources_of(condition).items():
            found.append((lang, source.seen if isinstance(source, Model) else seen_by(source)))
    steering = steered_of(condition)
    if steering is not None:
        found.append((None, steering.space.seen))
    return found


def unseen(texts: Sequence[str], parts: Sequence[Seen | None]) -> list[str]:
    """The texts that nothing was fitted on, as far as that is known."""
    keys = [text_key(text) for text in texts]
    masks = [among(keys, one.texts) for one in parts if one is not None]
    return [text for at, text in enumerate(texts) if not any(mask[at] for mask in masks)]


def exposures(
    asking: Asking, conditions: Sequence[Condition], texts: Sequence[str]
) -> dict[str, Exposure]:
    """What every condition has seen of the questions and of the texts, by its name.

    Raises:
        ModelError: the record of a trained model is damaged.
    """
    lookup = _Lookup.of(asking, texts)
    return {one.name: _exposure(asking, one, lookup) for one in conditions}


def refuse_seen(found: Mapping[str, Exposure]) -> None:
    """Refuse to evaluate on what a condition was fitted on.

    Raises:
        UsageError: there is something.
    """
    for name, one in found.items():
        if one.items.n:
            raise UsageError(
                f"{one.items} questions were trained on for the condition {name!r} "
                f"({_by(one.items)}): evaluate on another split, or {_ALLOW} to have every figure "
                "say so."
            )
        if one.texts is not None and one.texts.n:
            raise UsageError(
                f"{one.texts} texts of the divergence were trained on for the condition {name!r}: "
                f"give other texts (--central-data), or {_ALLOW} to have every figure say so."
            )


def notes_of(one: Exposure) -> list[str]:
    """What of it a reader must know."""
    found = []
    if one.items.n:
        found.append(f"{one.items} questions were trained on ({_by(one.items)}).")
    if one.texts is not None and one.texts.n:
        found.append(f"{one.texts} texts of the divergence were trained on.")
    if one.fitted == "unknown":
        found.append("It is not known what it was trained on.")
    if one.fitted == "partly":
        found.append("It is not known what all of it was trained on.")
    return found


def _by(overlap: Overlap) -> str:
    return ", ".join(f"{overlap.by[by]:,} by {by}" for by in BY if by in overlap.by)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Hashes of questions and texts, by what they are looked up with."""

    questions: tuple[Question, ...]
    rows: list[int]
    texts: list[int]
    facts: list[tuple[list[int], list[int]]]
    """Each time hashes to look for among facts, and among texts."""
    central: list[int]

    @classmethod
    def of(cls, asking: Asking, texts: Sequence[str]) -> _Lookup:
        questions = asking.questions
        own = [each.item.aux if each.of_aux else each.item.main for each in questions]
        other = [each.item.main if each.of_aux else each.item.aux for each in questions]
        again = [each.item.paraphrase or "" for each in questions]
        facts = [fact_of(each.item) for each in questions]
        named = [0 if fact is None else fact_key(fact, asking.task.name) for fact in facts]
        nameless = [0 if fact is None else fact_key(fact) for fact in facts]
        return cls(
            questions,
            [row_key(each.ids(asking.tokens[each.item.id])) for each in questions],
            list(map(text_key, own)),
            [(named, list(map(text_key, other))), (nameless, list(map(text_key, again)))],
            [text_key(text) for text in dict.fromkeys(texts)],
        )

    def by(self, seen: Seen) -> list[str | None]:
        """By what each question was seen, if it was."""
        fact = np.zeros(len(self.questions), dtype=np.bool_)
        for facts, texts in self.facts:
            fact |= among(facts, seen.facts) | among(texts, seen.texts)
        ways = {TOKENS: among(self.rows, seen.rows), TEXT: among(self.texts, seen.texts)}
        ways[FACT] = fact
        return [
            next((by for by, mask in ways.items() if mask[at]), None)
            for at in range(len(self.questions))
        ]


def _exposure(asking: Asking, condition: Condition, lookup: _Lookup) -> Exposure:
    base = asking.model.seen
    parts = seen_of(condition, base)
    centrals = asked_centrally(asking, condition)
    by: dict[int, str] = {}
    asked: dict[int, Question] = {}
    seen_texts = np.zeros(len(lookup.central), dtype=np.bool_)
    places = {id(each): at for at, each in enumerate(lookup.questions)}
    for lang, seen in parts or [(None, None)]:
        matches = [None] * len(places) if seen is None else lookup.by(seen)
        for each in (*asked_of(asking, lang), *centrals):
            at = places[id(each)]
            asked[at] = each
            if matches[at] is not None:
                by.setdefault(at, str(matches[at]))
        if seen is not None:
            seen_texts |= among(lookup.central, seen.texts)
    return Exposure(
        fitted=_fitted([seen for _, seen in parts]),
        asked=_asked(asked, by, asking.central),
        items=_items(asked, by),
        texts=_texts(seen_texts) if _moves_texts(condition) else None,
    )


def _moves_texts(condition: Condition) -> bool:
    if isinstance(condition, Intervened):
        return condition.changes_texts
    return isinstance(condition, Tuned | Steered)


def _fitted(parts: Sequence[Seen | None]) -> Fitted:
    if not parts:
        return "nothing"
    known = [one for one in parts if one is not None]
    if not known:
        return "unknown"
    whole = len(known) == len(parts) and all(one.complete for one in known)
    return "known" if whole else "partly"


def _asked(
    asked: Mapping[int, Question], by: Mapping[int, str], central: str
) -> dict[str, Overlap]:
    groups: dict[str, list[int]] = {}
    for at, each in asked.items():
        keys = (ALL, each.lang) if each.role == "target" else (central,)
        for key in keys:
            groups.setdefault(key, []).append(at)
    return {
        key: _overlap([by[at] for at in places if at in by], len(places))
        for key, places in groups.items()
    }


def _items(asked: Mapping[int, Question], by: Mapping[int, str]) -> Overlap:
    """Items, each by the first of its prompts that was seen."""
    ways: dict[str, str] = {}
    for at, each in asked.items():
        if at in by:
            ways.setdefault(each.item.id, by[at])
    return _overlap(list(ways.values()), len({each.item.id for each in asked.values()}))


def _texts(seen: NDArray[np.bool_]) -> Overlap | None:
    return _overlap([TEXT] * int(seen.sum()), len(seen)) if len(seen) else None


def _overlap(ways: Sequence[str], of: int) -> Overlap:
    return Overlap(len(ways), of, dict(Counter(ways)))
