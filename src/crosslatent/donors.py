"""Which controls an item can have, and whose vectors they take; needs no model.

The pool of an item are the items of the same languages and split; items about the same fact, or
with the same aux prompt, are the same question, and never its donors.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosslatent.specs import Control
from crosslatent.tasks import Item

Pool = tuple[str, ...]
"""What the items of a pool have in common: both languages and the split."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get vectors for an item: the true one, or a control and its donor if any."""

    control: Control
    stratum: str | None = None
    donor: str | None = None


class Donors:
    """The pools of a run's items, and the variants that follow for each of them.

    Attributes:
        items: item id -> item, for every item that can be run.
        pools: what items have in common -> their ids, in the order of the items.
    """

    def __init__(self, items: Iterable[Item], seed: int = 0) -> None:
        """Sort items into pools.

        Args:
            items: every item of the run that the model can take.
            seed: of the draws of donors.
        """
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

    def variants(self, item: Item, controls: Sequence[Control]) -> list[Variant]:
        """The true transplant, and those of `controls` that exist (a donor may not)."""
        found = [Variant("none")]
        for control in controls:
            if control == "shuffled":
                found += self._shuffled(item)
            elif control == "paraphrase":
                found += [Variant(control)] if item.paraphrase is not None else []
            elif control != "mean" or len(self.same(item)) < len(self.pools[pool_of(item)]):
                found.append(Variant(control))
        return found

    def same(self, item: Item) -> frozenset[str]:
        """Ids in an item's pool of the same fact or aux prompt, its own among them.

        Their vectors could carry its own meaning.
        """
        pool = pool_of(item)
        facts = self._twins.get((pool, item.cluster), ())
        prompts = self._twins.get((pool, (item.aux, item.shots)), ())
        return frozenset((*facts, *prompts))

    def _shuffled(self, item: Item) -> list[Variant]:
        same = self.same(item)
        others = [self.items[name] for name in self.pools[pool_of(item)] if name not in same]
        if item.answer is None:
            strata = {"any": others}
        else:
            strata = {
                "same_answer": [other for other in others if other.answer == item.answer],
                "different_answer": [
                    other for other in others if other.answer not in (None, item.answer)
                ],
            }
        return [
            Variant("shuffled", stratum, self._draw(item, stratum, donors))
            for stratum, donors in strata.items()
            if donors
        ]

    def _draw(self, item: Item, stratum: str, donors: Sequence[Item]) -> str:
        # Seeding with the item's own id makes the draw independent of the order of items.
        chance = random.Random(f"{self._seed}/{item.id}/{stratum}")
        return chance.choice(sorted(donor.id for donor in donors))


def pool_of(item: Item) -> Pool:
    """What an item has in common with the other items of its pool."""
    return (item.lang, item.aux_lang, item.split or "")
