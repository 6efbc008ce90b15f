"""`Task`: a named set of items and the rule that judges their answers; shots; keys of questions.

A question is recognised by its normalised text, without shots and chat templates, and by the fact
that it asks. Blanks and case do not count, nor what else `core.normal.unspaced` makes alike.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from crosslatent.core.errors import TaskError
from crosslatent.core.languages import code_among
from crosslatent.core.normal import unspaced
from crosslatent.core.seen import Keys, Seen, among, hash_of
from crosslatent.core.specs import ACCURACY, canonical_hash
from crosslatent.tasks.item import Item, Shot

Direction = Literal["en->x", "x->en", "custom"]
"""Which prompt is answered: ``en->x`` answers in X with English as aux, ``x->en`` the reverse."""

DEFAULT_NEW_TOKENS = 20
"""How many tokens the paper's evaluations decode."""

TaskType = Literal["understanding", "culture", "generation", "custom"]


@dataclass(frozen=True)
class Task:
    """A task, as loaded: nothing in it depends on a model.

    Attributes:
        name: short name, as in ``--task NAME``.
        title: one line for people.
        description: what is asked and where the facts come from.
        direction: which language answers.
        type: kind of task, in the paper's terms.
        rule: name of the primary answer rule, a key of `crosslatent.tasks.rules.RULES`.
        max_new_tokens: how many tokens an answer may take.
        items: the questions.
        sources: where the content comes from.
        metric: the figure that counts: `ACCURACY` under `rule`, or a graded score of
            `crosslatent.tasks.metrics.METRICS`, which reports show first.
    """

    name: str
    title: str
    description: str
    direction: Direction
    type: TaskType
    rule: str
    max_new_tokens: int
    items: tuple[Item, ...]
    sources: tuple[str, ...] = ()
    metric: str = ACCURACY

    @cached_property
    def hash(self) -> str:
        """Canonical hash of what decides a result; title, description and sources do not."""
        return canonical_hash(
            {
                "name": self.name,
                "direction": self.direction,
                "type": self.type,
                "rule": self.rule,
                "max_new_tokens": self.max_new_tokens,
                # What is not set does not count, so that a new field changes no hash.
                "items": [
                    {name: value for name, value in item.to_dict().items() if value}
                    for item in self.items
                ],
            }
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of `main`, in the order in which they first appear."""
        return tuple(dict.fromkeys(item.lang for item in self.items))

    @property
    def aux_languages(self) -> tuple[str, ...]:
        """The languages of `aux`, in the order in which they first appear."""
        return tuple(dict.fromkeys(item.aux_lang for item in self.items))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order in which they first appear; empty if the task has none."""
        return tuple(dict.fromkeys(item.split for item in self.items if item.split is not None))

    def about(
        self, languages: Iterable[str] | None, aux_languages: Iterable[str] | None = None
    ) -> Task:
        """The task in some of its languages: those of main, or of aux where the task is ``x->en``.

        Raises:
            TaskError: a language that the task does not have.
        """
        known = (*self.languages, *self.aux_languages)
        wanted = None if languages is None else [code_among(name, known) for name in languages]
        elsewhere = wanted is not None and not set(wanted) <= set(self.languages)
        if self.direction == "x->en" and aux_languages is None and elsewhere:
            wanted, aux_languages = None, wanted
        return self.select(wanted, aux_languages=aux_languages)

    def select(
        self,
        languages: Iterable[str] | None = None,
        splits: Iterable[str] | None = None,
        limit: int | None = None,
        aux_languages: Iterable[str] | None = None,
    ) -> Task:
        """The task with fewer items.

        Args:
            languages: languages of `main` to keep; None keeps all.
            splits: splits to keep; None keeps all.
            limit: keep the first so many items of each pair of languages and split; None keeps all.
            aux_languages: languages of `aux` to keep; None keeps all.

        Raises:
            TaskError: a language or split that the task does not have, a limit below 1, or nothing
                is left.
        """
        if limit is not None and limit < 1:
            raise TaskError(f"The limit is {limit}, but it must be 1 or more items per language.")
        chosen = (
            (languages, self.languages, "language", "lang"),
            (aux_languages, self.aux_languages, "aux language", "aux_lang"),
            (splits, self.splits, "split", "split"),
        )
        kept = self.items
        for names, known, what, field in chosen:
            if names is not None:
                if field != "split":
                    names = [code_among(name, known) for name in names]  # noqa: PLW2901
                wanted = _known(names, known, f"Task {self.name!r}", what)
                kept = tuple(item for item in kept if getattr(item, field) in wanted)
        if limit is not None:
            kept = tuple(_first(kept, limit))
        if not kept:
            raise TaskError(f"Task {self.name!r} has no items that are all of what was chosen.")
        return replace(self, items=kept)


def _known(names: Iterable[str], known: tuple[str, ...], subject: str, what: str) -> frozenset[str]:
    wanted = frozenset(names)
    for name in sorted(wanted):
        if name not in known:
            raise TaskError(
                f"{subject} has no {what} {name!r}: it has {', '.join(known) or 'none'}."
            )
    if not wanted:
        raise TaskError(f"The list of {what}s is empty: name one or more of {', '.join(known)}.")
    return wanted


def _first(items: Iterable[Item], limit: int) -> Iterator[Item]:
    seen: Counter[tuple[str, str, str | None]] = Counter()
    for item in items:
        group = (item.lang, item.aux_lang, item.split)
        seen[group] += 1
        if seen[group] <= limit:
            yield item


_TURNED: Mapping[Direction, Direction] = {
    "en->x": "x->en",
    "x->en": "en->x",
    "custom": "custom",
}


def turned(task: Task) -> Task:
    """The other direction: what was aux is answered, and vectors come from what was main.

    Answers to aux are judged as those of the translate-test are: by `Item.aux_answer`, or by the
    option where options are the same in both languages. Paraphrases, which are of main, are left
    out. Items without a counterpart stay as they are. The name ends in ``-back``.

    Args:
        task: the task, with its counterparts.

    Raises:
        TaskError: the answer to aux of an item with options is none of them.
    """
    return replace(
        task,
        name=f"{task.name}-back",
        title=f"{task.title}, the other direction",
        direction=_TURNED[task.direction],
        items=tuple(_turned(item) if item.aux else item for item in task.items),
    )


def _turned(item: Item) -> Item:
    there = item.as_aux()
    if item.options is not None and not set(there.golds) <= set(item.options):
        raise TaskError(
            f"Item {item.id!r} cannot be asked the other way round: its answer to aux is "
            f"{there.golds[0]!r}, which is none of its options ({', '.join(item.options)}). Give "
            "options that are the same in both languages."
        )
    return replace(
        there,
        aux_lang=item.lang,
        main=item.aux,
        aux=item.main,
        aux_answer=item.answer,
        other_aux_answers=item.other_answers,
        aux_labels=item.labels,
        shots=tuple(Shot(s.aux, s.aux_answer, s.main, s.main_answer) for s in item.shots),
        paraphrase=None,
    )


PILOT = "pilot"


def with_shots(task: Task, count: int, *, seed: int = 0) -> Task:
    """The task with solved pilot questions before each question, in both of its languages.

    The order in which pilot questions are taken is drawn once, by what is independent
    (`Item.cluster`), so that items get the same ones in every language of a parallel data set. A
    question is never put before itself or one about the same fact.

    Args:
        task: the task; its items need gold answers and counterparts.
        count: how many solved questions; 0 changes nothing.
        seed: of the draw.

    Raises:
        TaskError: `count` is negative, or the pilot split has too few questions that can be shown.
    """
    if count < 0:
        raise TaskError(f"The number of shots is {count}: it must be 0 or more.")
    if count == 0:
        return task
    pools = _pools(task.items, seed)
    items = tuple(replace(item, shots=_shots(task, item, pools, count)) for item in task.items)
    return replace(task, items=items)


def _pools(items: Iterable[Item], seed: int) -> dict[tuple[str, str], list[Item]]:
    """Solved pilot questions by languages, one for each cluster, in the drawn order."""
    pools: dict[tuple[str, str], dict[str, Item]] = defaultdict(dict)
    for item in items:
        if item.split == PILOT and item.answer is not None:
            pools[item.lang, item.aux_lang].setdefault(item.cluster, item)
    return {
        languages: sorted(pool.values(), key=lambda item: _drawn(item.cluster, seed))
        for languages, pool in pools.items()
    }


def _drawn(cluster: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{cluster}".encode()).digest()


def _shots(
    task: Task, item: Item, pools: dict[tuple[str, str], list[Item]], count: int
) -> tuple[Shot, ...]:
    pool = pools.get((item.lang, item.aux_lang), [])
    chosen = [other for other in pool if other.cluster != item.cluster][:count]
    if len(chosen) < count:
        raise TaskError(
            f"Item {item.id!r} of {task.name!r} was to get {count} shots, but the split {PILOT!r} "
            f"has only {len(chosen)} solved questions of these languages about other facts: give a "
            "smaller number of shots."
        )
    return tuple(_shot(one) for one in chosen)


def _shot(item: Item) -> Shot:
    """A solved question; an unknown answer in aux's language is replaced by main's."""
    answer = item.answer or ""
    return Shot(item.main, answer, item.aux, item.as_aux().answer or answer)


def text_key(text: str) -> int:
    """Hash of a normalised text; 0 if nothing is left of it."""
    left = unspaced(text)
    return hash_of(left.encode(errors="surrogatepass")) if left else 0


def fact_key(cluster: str, task: str | None = None) -> int:
    """Hash of a fact: a cluster of a task, or of a task whose name is not known."""
    return hash_of(json.dumps([task, cluster]).encode())


def seen_of(questions: Iterable[tuple[str, str, str, str]], task: str | None) -> Seen:
    """What something was fitted on, from id, cluster, main and aux of each question.

    Args:
        questions: rows of a run folder.
        task: the name of their task, as its run folder has it.
    """
    rows = list(questions)
    return Seen.of(
        texts=(text_key(text) for *_, main, aux in rows for text in (main, aux)),
        facts=(fact_key(fact, task) for item, fact, *_ in rows if fact != item),
    )


def fact_of(item: Item) -> str | None:
    """The fact that an item asks; None if none was named.

    An id alone names no fact: lines of two files may have the same number.
    """
    return item.cluster if item.cluster != item.id else None


def facts_in(items: Iterable[Item], texts: Keys, task: str | None) -> set[int]:
    """Hashes of the facts of items of which a prompt is among some texts.

    Args:
        items: the items of a task.
        texts: hashes of texts.
        task: its name; None if it is not known.
    """
    having = [(fact, item) for item in items if (fact := fact_of(item)) is not None]
    found = among([text_key(item.main) for _, item in having], texts)
    found |= among([text_key(item.aux) for _, item in having], texts)
    return {fact_key(fact, task) for (fact, _), one in zip(having, found, strict=True) if one}
