"""Which questions and texts of an evaluation a condition was fitted on, and that it is refused.

A question counts once: by its own token ids, else by its own text, else by the fact that it asks
(under the name of its task, or by its counterpart, which asks the same in another language).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crosslatent.core.errors import UsageError
from crosslatent.core.seen import BY, FACT, TEXT, TOKENS, Seen, among, row_key
from crosslatent.lens.evaluation.asking import EvaluationPlan
from crosslatent.lens.evaluation.evaluated_conditions import (
    Condition,
    Intervened,
    Steered,
    Tuned,
    sources_of,
    steered_of,
)
from crosslatent.lens.evaluation.evaluation_record import ALL, Fitted, Overlap
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
    known = np.zeros(len(texts), dtype=np.bool_)
    for part in parts:
        known |= among(keys, part.texts) if part is not None else False
    return [text for text, seen in zip(texts, known, strict=True) if not seen]


def exposures(
    asking: EvaluationPlan, conditions: Sequence[Condition], texts: Sequence[str]
) -> dict[str, Exposure]:
    """What every condition has seen of the questions and of the texts, by its name.

    Raises:
        ModelError: the record of a trained model is damaged.
    """
    lookup = _Lookup(asking, texts)
    return {each.name: _exposure(asking, each, lookup) for each in conditions}


def refuse_seen(found: Mapping[str, Exposure]) -> None:
    """Refuse to evaluate on what a condition was fitted on.

    Raises:
        UsageError: there is something.
    """
    for name, exposure in found.items():
        if exposure.items.n:
            raise UsageError(
                f"{exposure.items} questions were trained on for the condition {name!r} "
                f"({_by(exposure.items)}): evaluate on another split, or {_ALLOW} to have every "
                "figure say so."
            )
        if exposure.texts is not None and exposure.texts.n:
            raise UsageError(
                f"{exposure.texts} texts of the divergence were trained on for the condition "
                f"{name!r}: give other texts (--central-data), or {_ALLOW} to have every figure "
                "say so."
            )


def notes_of(exposure: Exposure) -> list[str]:
    """What of it a reader must know."""
    notes = []
    if exposure.items.n:
        notes.append(f"{exposure.items} questions were trained on ({_by(exposure.items)}).")
    if exposure.texts is not None and exposure.texts.n:
        notes.append(f"{exposure.texts} texts of the divergence were trained on.")
    if exposure.fitted == "unknown":
        notes.append("It is not known what it was trained on.")
    if exposure.fitted == "partly":
        notes.append("It is not known what all of it was trained on.")
    return notes


def _by(overlap: Overlap) -> str:
    return ", ".join(f"{overlap.by[by]:,} by {by}" for by in BY if by in overlap.by)


class _Lookup:
    """Hashes of questions and texts, by what they are looked up with."""

    def __init__(self, asking: EvaluationPlan, texts: Sequence[str]) -> None:
        questions = asking.questions
        own = [each.item.aux if each.of_aux else each.item.main for each in questions]
        other = [each.item.main if each.of_aux else each.item.aux for each in questions]
        again = [each.item.paraphrase or "" for each in questions]
        facts = [fact_of(each.item) for each in questions]
        self.rows = [row_key(each.ids(asking.tokens)) for each in questions]
        self.texts = [text_key(text) for text in own]
        # Each time hashes to look for among facts, and among texts.
        self.facts = [
            (
                [0 if fact is None else fact_key(fact, task) for fact in facts],
                list(map(text_key, say)),
            )
            for task, say in ((asking.task.name, other), (None, again))
        ]
        self.central = [text_key(text) for text in dict.fromkeys(texts)]

    def by(self, seen: Seen) -> list[str | None]:
        """By what each question was seen, if it was."""
        fact = np.zeros(len(self.rows), dtype=np.bool_)
        for facts, texts in self.facts:
            fact |= among(facts, seen.facts) | among(texts, seen.texts)
        ways = {TOKENS: among(self.rows, seen.rows), TEXT: among(self.texts, seen.texts)}
        ways[FACT] = fact
        return [
            next((by for by, mask in ways.items() if mask[number]), None)
            for number in range(len(self.rows))
        ]


def _exposure(asking: EvaluationPlan, condition: Condition, lookup: _Lookup) -> Exposure:
    parts = seen_of(condition, asking.model.seen)
    centrals = asked_centrally(asking, condition)
    numbers = {id(each): number for number, each in enumerate(asking.questions)}
    by: dict[int, str | None] = {}
    texts = np.zeros(len(lookup.central), dtype=np.bool_)
    for lang, seen in parts or [(None, None)]:
        matches = [None] * len(numbers) if seen is None else lookup.by(seen)
        for each in (*asked_of(asking, lang), *centrals):
            number = numbers[id(each)]
            by[number] = by.get(number) or matches[number]
        if seen is not None:
            texts |= among(lookup.central, seen.texts)
    groups: dict[str, list[str | None]] = {}
    items: dict[str, str | None] = {}
    for number, way in by.items():
        each = asking.questions[number]
        for key in (ALL, each.lang) if each.role == "target" else (asking.central,):
            groups.setdefault(key, []).append(way)
        # An item counts by the first of its prompts that was seen.
        items[each.item.id] = items.get(each.item.id) or way
    measured = len(texts) and _moves_texts(condition)
    return Exposure(
        fitted=_fitted([seen for _, seen in parts]),
        asked={key: _overlap(ways) for key, ways in groups.items()},
        items=_overlap(list(items.values())),
        texts=_overlap([TEXT if seen else None for seen in texts]) if measured else None,
    )


def _moves_texts(condition: Condition) -> bool:
    if isinstance(condition, Intervened):
        return condition.changes_texts
    return isinstance(condition, Tuned | Steered)


def _fitted(parts: Sequence[Seen | None]) -> Fitted:
    if not parts:
        return "nothing"
    known = [part for part in parts if part is not None]
    if not known:
        return "unknown"
    whole = len(known) == len(parts) and all(part.complete for part in known)
    return "known" if whole else "partly"


def _overlap(ways: Sequence[str | None]) -> Overlap:
    """Of questions or texts, those that were seen, by what they were recognised."""
    seen = [way for way in ways if way is not None]
    return Overlap(len(seen), len(ways), dict(Counter(seen)))
