"""The pair with most right answers on the tuning split (XTransplant v1; docs/methods.md 1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from crosslatent.analysis.pair_choice import Scope, Tie
from crosslatent.selectors.base import (
    FixedPairs,
    Selector,
    pair_scores,
    ranked,
    register_selector,
    with_report,
)
from crosslatent.selectors.candidates import Candidates, Labels


@register_selector("pilot")
@dataclass(frozen=True, slots=True)
class Pilot(Selector):
    """The best pair of the tuning split.

    Attributes:
        per_language: each language has its own pair; the others get the pooled one.
        scope: pairs that compete; see `analysis.pair_choice.pilot_pair`.
        tie: what decides between pairs with as many right answers.
    """

    per_language: bool = False
    scope: Scope = "all"
    tie: Tie = "logprob"

    @classmethod
    def variants(cls) -> Iterable[Self]:
        """For all languages and for each, over all pairs and as in the paper."""
        yield cls()
        yield cls(per_language=True)
        yield cls(scope="target-first", tie="authors")
        yield cls(per_language=True, scope="target-first", tie="authors")

    @property
    def name(self) -> str:
        """``pilot``, ``pilot-per-language-target-first-authors``."""
        parts = {
            "per-language": self.per_language,
            "target-first": self.scope != "all",
            "authors": self.tie != "logprob",
        }
        return "-".join(["pilot", *(part for part, said in parts.items() if said)])

    @property
    def about(self) -> str:
        """What it does."""
        where = " into the first layer" if self.scope == "target-first" else ""
        each = " of each language" if self.per_language else ""
        rule = ", the authors\u2019 tie rule" if self.tie == "authors" else ""
        return f"the pair{where} with most right answers on the pilot split{each}{rule}"

    def fit(self, seen: Candidates, labels: Labels) -> FixedPairs:
        """Count right answers.

        Raises:
            UsageError: no pair of the scope was run with gold answers.
        """
        (pooled,) = ranked(seen, labels, 1, scope=self.scope, tie=self.tie)
        own = {}
        for lang in sorted(set(seen.lang.tolist())) if self.per_language else ():
            items = seen.lang == lang
            if pair_scores(seen, labels, self.scope, items):
                best = ranked(seen, labels, 1, scope=self.scope, tie=self.tie, items=items)[0]
                own[lang] = seen.pairs[best]
        return with_report(FixedPairs(seen.pairs[pooled], own), seen, labels)


REFERENCE = Pilot()
"""The fixed pilot pair, which every selector is compared with."""
