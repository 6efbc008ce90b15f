"""Pick the (source, target) pair that works best on one split: rows in, choice out.

The choice is optimistic on its own split by construction: report it on another one.
Source: XTransplant (arXiv 2412.12686 v1), the pilot-tuned pairs; tie rules: docs/methods.md 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from crosslatent.analysis.items import language_column
from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.specs import Component, Pair

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

Scope = Literal["all", "target-first"]

Tie = Literal["logprob", "authors"]

ENOUGH_PILOT_ITEMS = 50
"""Below this many pilot questions the choice is close to noise (docs/methods.md 1.2)."""


@dataclass(frozen=True, slots=True)
class PairChoice:
    """The pair that was picked, and how.

    Attributes:
        component: what was transplanted.
        split: the split that the pair was picked on.
        languages: the languages pooled for it.
        scope: the pairs that competed.
        tie: the rule for pairs with equally many right answers.
        source, target: the picked pair, counted from 0.
        correct: right answers of the picked pair on `split`.
        n: questions it was judged on.
        tied: pairs with as many right answers, itself included.
        warning: a sentence if the choice should not be trusted, else None.
    """

    component: Component
    split: str
    languages: tuple[str, ...]
    scope: Scope
    tie: Tie
    source: int
    target: int
    correct: int
    n: int
    tied: int
    warning: str | None

    @property
    def pair(self) -> Pair:
        """(source, target)."""
        return self.source, self.target


class PairScore(NamedTuple):
    """How one pair did on the split: right answers out of n, mean gold log-probability (nats)."""

    source: int
    target: int
    correct: int
    n: int
    gold_logprob: float | None


def pilot_pair(
    reader: RunReader,
    component: Component,
    split: str = "pilot",
    languages: Sequence[str] | None = None,
    scope: Scope = "all",
    tie: Tie = "logprob",
) -> PairChoice:
    """Pick the pair with most right answers on `split`.

    Args:
        reader: the run folder; its true transplants are used, no controls.
        component: what was transplanted.
        split: split to tune on.
        languages: languages to pool (see `language_column`); None = all of the run.
        scope: ``all`` pairs compete, or only ``target-first`` (target layer 0).
        tie: ``logprob`` = highest mean log-probability of the gold answer; ``authors`` = smallest
            target, then largest source.

    Raises:
        UsageError: unknown `scope` or `tie`.
        RunFolderError: no pair was run on that split with gold answers.
    """
    _check_options(scope, tie)
    found = _scores(reader, component, split, languages)
    scores = [score for _, score in found if _in_scope(score, scope)]
    if not scores:
        among = f" in {', '.join(languages)}" if languages else ""
        raise RunFolderError(
            f"{reader.path} has no {scope} rows of {component} with gold answers on the split "
            f"{split!r}{among}: sweep that split first, or name another one."
        )
    pooled = tuple(languages or _languages(reader, split))
    return _choice(scores, component, split, pooled, scope, tie)


def pilot_pairs(
    reader: RunReader,
    component: Component,
    split: str = "pilot",
    scope: Scope = "all",
    tie: Tie = "logprob",
) -> dict[str, PairChoice]:
    """`pilot_pair` of every language that has one; the rows are read once for all of them.

    Raises:
        UsageError: unknown `scope` or `tie`.
    """
    _check_options(scope, tie)
    by_language: dict[str, list[PairScore]] = {}
    for language, score in _scores(reader, component, split, apart=True):
        if _in_scope(score, scope):
            by_language.setdefault(language, []).append(score)
    return {
        language: _choice(scores, component, split, (language,), scope, tie)
        for language, scores in by_language.items()
    }


def _choice(
    scores: Sequence[PairScore],
    component: Component,
    split: str,
    languages: tuple[str, ...],
    scope: Scope,
    tie: Tie,
) -> PairChoice:
    best, tied = best_pair(scores, tie)
    warning = None
    if best.n < ENOUGH_PILOT_ITEMS:
        warning = (
            f"The pair was picked on only {best.n} questions of the split {split!r}; below about "
            f"{ENOUGH_PILOT_ITEMS} the choice is close to noise."
        )
    return PairChoice(component, split, languages, scope, tie, *best[:4], tied, warning)


def best_pair(scores: Iterable[PairScore], tie: Tie) -> tuple[PairScore, int]:
    """The best of some pairs, and how many had as many right answers.

    Only pairs that were run on the most questions compete: counts of right answers compare only
    over the same questions. A pair without log-probabilities loses a tie to one that has them.
    Pairs that the rule `logprob` cannot separate are separated by the rule `authors`.

    Args:
        scores: one or more pairs.
        tie: the rule, see `pilot_pair`.

    Raises:
        ValueError: there are no pairs.
    """
    every = list(scores)
    most = max(score.n for score in every)
    full = [score for score in every if score.n == most]
    top = max(score.correct for score in full)
    equal = [score for score in full if score.correct == top]
    return min(equal, key=lambda score: _tie_key(score, tie)), len(equal)


# favg adds with compensation, and rounding hides what is left of the order of threads: the same
# folder must always give the same choice.
_SCORE = """
    r.source, r.target, count(*) FILTER (r.correct), count(*),
    round(favg(r.gold_logprob::DOUBLE) FILTER (isfinite(r.gold_logprob)), 9)
    FROM rows r JOIN items i USING (item)
"""

_JUDGED = """
    r.control = 'none' AND r.component = $component AND i.split = $split AND r.correct IS NOT NULL
"""


def _scores(
    reader: RunReader,
    component: Component,
    split: str,
    languages: Sequence[str] | None = None,
    *,
    apart: bool = False,
) -> list[tuple[Any, PairScore]]:
    """Right answers and mean gold log-probability of every pair on a split, by target and source.

    Questions without a gold answer do not count.

    Args:
        reader: the run folder.
        component: what was transplanted.
        split: the questions.
        languages: their languages; None = all.
        apart: a score for each language, sorted by it, and not for all together.

    Returns:
        (language or None, score).
    """
    connection = reader.connect()
    language = f"i.{language_column(reader, connection)}"
    rows = connection.execute(
        f"""
        SELECT {language if apart else "NULL"} AS language, {_SCORE} WHERE {_JUDGED}
              AND ($languages IS NULL OR list_contains($languages::VARCHAR[], {language}))
        GROUP BY ALL ORDER BY language, r.target, r.source
        """,
        {
            "component": component,
            "split": split,
            "languages": None if languages is None else list(languages),
        },
    )
    return [(name, PairScore(*score)) for name, *score in rows.fetchall()]


def _tie_key(score: PairScore, tie: Tie) -> tuple[float, int, int]:
    """Smallest is best."""
    logprob = score.gold_logprob if tie == "logprob" else 0.0
    return (float("inf") if logprob is None else -logprob), score.target, -score.source


def _in_scope(score: PairScore, scope: Scope) -> bool:
    return scope == "all" or score.target == 0


def _languages(reader: RunReader, split: str) -> list[str]:
    connection = reader.connect()
    column = language_column(reader, connection)
    query = f"SELECT DISTINCT {column} FROM items WHERE split = $split ORDER BY ALL"
    return [lang for (lang,) in connection.execute(query, {"split": split}).fetchall()]


def _check_options(scope: str, tie: str) -> None:
    for name, value, known in (("scope", scope, Scope), ("tie", tie, Tie)):
        if value not in get_args(known):
            raise UsageError(f"Unknown {name} {value!r}: use {' or '.join(get_args(known))}.")
