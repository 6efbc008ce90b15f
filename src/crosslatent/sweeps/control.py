"""`Control`: where a row's vectors come from, if not from the item's own counterpart.

An upper bound over many pairs rises by luck alone, so it is compared with the same pairs and the
same number of attempts under vectors that cannot carry the item's meaning. Each control is one
registered class in one file.

Donors: the pool of an item are the items of the same languages and split; items about the same
fact, or with the same aux prompt, are the same question, and never its donors.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from crosslatent.core.normal import answer_keys
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.specs import STRATA, Component, Pair
from crosslatent.tasks import Item

if TYPE_CHECKING:
    from torch import Tensor

    from crosslatent.sweeps.vectors import Vectors

Role = Literal["main", "aux", "paraphrase"]

_Kind = TypeVar("_Kind", bound="type[Control]")


class SourcePrompt(NamedTuple):
    """A prompt that vectors are captured from."""

    role: Role
    item: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get vectors for an item: the true one, or a control and its donor if any."""

    control: str
    stratum: str | None = None
    donor: str | None = None


class Control:
    """A control; an instance serves one run and may keep what it has computed.

    This class itself is the true transplant: the vectors of the item's own counterpart.

    Attributes:
        knows_answer: the vectors may carry the gold answer, or the question in other words: then an
            upper bound need not beat this control.
        every_pair: it has a row for each pair. One with fewer attempts than the true transplants is
            no control of a union over the pairs, and is compared with nothing but single pairs.
    """

    knows_answer: ClassVar[bool] = False
    every_pair: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        """A control under its registered name."""
        self.name = name

    def variants(self, item: Item, donors: Donors) -> Iterable[Variant]:
        """The rows of vectors that an item has; none if it cannot have the control."""
        del item, donors
        yield Variant(self.name)

    def pairs(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The (source, target) pairs that it has rows of, each once; by default those of the sweep.

        Where these are others, `every_pair` must be false.
        """
        return pairs

    def reads(self, item: Item, variant: Variant) -> SourcePrompt:
        """The prompt whose vectors are wanted first; those of some items are captured together."""
        del variant
        return SourcePrompt("aux", item.id)

    def layers(
        self, item: Item, variant: Variant, component: Component, vectors: Vectors
    ) -> Tensor:
        """The vectors, layers (positions, if several) width, in any dtype; by default as read.

        Args:
            item: the item.
            variant: one of its `variants`.
            component: what is carried.
            vectors: the vectors of all prompts of the run; `vectors.of(Prompt("aux", item.id))` has
                the true ones by component.

        Raises:
            ValueError: there are none for this item, which then fails.
        """
        return vectors.of(self.reads(item, variant))[component]


TRUE = "none"
"""Control of the rows of the true transplant."""


def register_control(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a control known under a name.

    Raises:
        UsageError: the name is another control's.
    """
    return CONTROL_KINDS.register(name)


def described(names: Iterable[str]) -> dict[str, Any]:
    """What a run folder says of controls that are not this package's: plain data, by name."""
    return {
        name: _described(CONTROL_KINDS[name]) for name in names if name not in CONTROL_KINDS.own
    }


def _described(kind: type[Control]) -> dict[str, Any]:
    # Only where it is so, so that runs of before it was asked can be resumed.
    fewer = {} if kind.every_pair else {"every_pair": False}
    return {"knows_answer": kind.knows_answer, **fewer}


def made(name: str) -> Control:
    """A control by its name, new; the true transplant by `TRUE`.

    Raises:
        UsageError: there is none, or it cannot be loaded.
    """
    return Control(TRUE) if name == TRUE else CONTROL_KINDS[name](name)


T = TypeVar("T")

Pool = tuple[str, ...]
"""What the items of a pool have in common: both languages and the split."""

KEPT = 4096
"""Items whose variants are kept: a sweep asks for them several times in a row."""


class _Sorted:
    """The ids of a pool in the order in which donors are drawn.

    Attributes:
        ids: all of them.
        answered: those with a gold answer.
        places: gold answer -> where in `answered` the ids with this answer are, in order.
        texts: option and the text behind it -> where in `places` of this option the ids with this
            text are.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.ids: list[str] = []
        self.answered: list[str] = []
        self.places: dict[str, list[int]] = defaultdict(list)
        self.texts: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
        for item in sorted(items, key=lambda item: item.id):
            self.ids.append(item.id)
            if item.options is not None:
                before = len(self.places[item.answer]) if item.answer is not None else 0
                self.texts[item.answer, text_of(item)].append(before)
            for answer in answers_of(item):
                self.places[answer].append(len(self.answered))
            if item.answer is not None:
                self.answered.append(item.id)

    def sharing(self, item: Item) -> list[int]:
        """Where in `answered` the ids that share a gold answer with an item are, in order."""
        found = [self.places.get(answer, []) for answer in answers_of(item)]
        return found[0] if len(found) == 1 else sorted({place for one in found for place in one})

    def saying_the_same(self, item: Item) -> Sequence[int]:
        """Where in `sharing` the ids are whose answer also says the same, in order."""
        if item.options is None:
            return range(len(self.sharing(item)))
        return self.texts.get((item.answer, text_of(item)), [])


class Donors:
    """The pools of a run's items, and the variants that follow for each of them.

    Attributes:
        items: item id -> item, for every item that can be run.
        pools: what items have in common -> their ids, in the order of the items.
    """

    def __init__(self, items: Iterable[Item], seed: int = 0) -> None:
        """Sort every item of the run that the model can take into pools."""
        self.items = {item.id: item for item in items}
        self._seed = seed
        pools: dict[Pool, list[str]] = defaultdict(list)
        twins: dict[tuple[Pool, object], list[str]] = defaultdict(list)
        for item in self.items.values():
            pool = pool_of(item)
            pools[pool].append(item.id)
            twins[pool, item.cluster].append(item.id)
            twins[pool, (item.aux, item.shots)].append(item.id)
        self.pools: dict[Pool, list[str]] = dict(pools)
        self._twins = dict(twins)
        self._sorted: dict[Pool, _Sorted] = {}
        self._kept: dict[tuple[str, tuple[str, ...]], list[Variant]] = {}
        self._controls: dict[str, Control] = {}

    def variants(self, item: Item, controls: Sequence[str]) -> list[Variant]:
        """The true transplant, and those of `controls` that exist (a donor may not)."""
        if self.items.get(item.id) is not item:
            return self._variants(item, controls)
        asked = (item.id, tuple(controls))
        if asked not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[asked] = self._variants(item, controls)
        return list(self._kept[asked])

    def _variants(self, item: Item, controls: Sequence[str]) -> list[Variant]:
        found = [Variant(TRUE)]
        for name in controls:
            found += self.control(name).variants(item, self)
        return found

    def control(self, name: str) -> Control:
        """A control by its name, the same in every call; the true transplant by `TRUE`."""
        if name not in self._controls:
            self._controls[name] = made(name)
        return self._controls[name]

    def same(self, item: Item) -> frozenset[str]:
        """Ids in an item's pool of the same fact or aux prompt, its own among them.

        Their vectors could carry its own meaning.
        """
        pool = pool_of(item)
        facts = self._twins.get((pool, item.cluster), ())
        prompts = self._twins.get((pool, (item.aux, item.shots)), ())
        return frozenset((*facts, *prompts))

    def shuffled(self, item: Item) -> list[Variant]:
        """A donor of each stratum, as far as there is one."""
        pool, twins = self._pool(item), self.same(item)
        if item.answer is None:
            drawn = {"any": self._draw(item, "any", pool.ids, _places(pool.ids, twins))}
        else:
            drawn = self._by_answer(item, pool, twins)
        return [
            Variant("shuffled", stratum, donor)
            for stratum, donor in drawn.items()
            if donor is not None
        ]

    def _by_answer(self, item: Item, pool: _Sorted, twins: frozenset[str]) -> dict[str, str | None]:
        """A donor of each of `STRATA`, none of them a twin."""
        alike, same = pool.sharing(item), pool.saying_the_same(item)
        known = [name for name in twins if self.items[name].answer is not None]
        with_answer, others = _split(_places(pool.answered, known), alike)
        with_text, with_symbol = _split(with_answer, same)
        numbers = (len(same), len(alike) - len(same), len(pool.answered) - len(alike))
        left_out = (with_text, with_symbol, others)
        drawn = [
            self._draw(item, stratum, range(number), gaps)
            for stratum, number, gaps in zip(STRATA, numbers, left_out, strict=True)
        ]
        places = (
            None if drawn[0] is None else alike[same[drawn[0]]],
            None if drawn[1] is None else alike[_without(same, drawn[1])],
            None if drawn[2] is None else _without(alike, drawn[2]),
        )
        donors = [None if place is None else pool.answered[place] for place in places]
        return dict(zip(STRATA, donors, strict=True))

    def _pool(self, item: Item) -> _Sorted:
        name = pool_of(item)
        if name not in self._sorted:
            self._sorted[name] = _Sorted(self.items[one] for one in self.pools[name])
        return self._sorted[name]

    def _draw(self, item: Item, stratum: str, among: Sequence[T], left_out: list[int]) -> T | None:
        """One of `among`, but for some places, in order; None if nothing is left."""
        number = len(among) - len(left_out)
        if not number:
            return None
        # Seeding with the item's own id makes the draw independent of the order of items.
        chance = random.Random(f"{self._seed}/{item.id}/{stratum}")
        return among[_without(left_out, chance.choice(range(number)))]


def answers_of(item: Item) -> tuple[str, ...]:
    """Gold answers, in the form that is the same for the same answer."""
    return item.golds if item.options else answer_keys(item.golds)


def text_of(item: Item) -> str | None:
    """What the gold option says, where that is written; an open answer is its own text."""
    if item.answer is None or item.options is None or item.labels is None:
        return None
    return item.labels[item.options.index(item.answer)]


def _split(places: Iterable[int], within: Sequence[int]) -> tuple[list[int], list[int]]:
    """Places that are in `within`, as places there; the others, as places among those that are not.

    Both arguments are in order.
    """
    inside, outside = list[int](), list[int]()
    for place in places:
        before = bisect_left(within, place)
        if before < len(within) and within[before] == place:
            inside.append(before)
        else:
            outside.append(place - before)
    return inside, outside


def _places(ids: Sequence[str], some: Iterable[str]) -> list[int]:
    """Where some ids are among others, all in order."""
    return sorted(bisect_left(ids, name) for name in some)


def _without(gaps: Sequence[int], number: int) -> int:
    """The place of a number (from 0) if the places in `gaps`, in order, are not counted."""
    return number + bisect_right(range(len(gaps)), number, key=lambda at: gaps[at] - at)


def pool_of(item: Item) -> Pool:
    """What an item has in common with the other items of its pool."""
    return (item.lang, item.aux_lang, item.split or "")
