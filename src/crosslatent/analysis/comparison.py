"""Two runs side by side: paired differences on the questions that both have (docs/methods.md 5.6).

The second run minus the first, question by question, so that what is hard for both cancels out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from crosslatent.analysis.data import RunData
from crosslatent.analysis.picked import Pairs
from crosslatent.analysis.replication import Replication, replication
from crosslatent.analysis.run_differences import (
    DifferenceMap,
    Picks,
    RunDifference,
    RunSide,
    RunSides,
    difference_maps,
    differences,
    picks_of,
    sides_of,
    unmodified_alike,
)
from crosslatent.analysis.run_facts import identity
from crosslatent.analysis.shared_questions import (
    SharedCounts,
    only_in_one,
    refuse_same_run,
    shared_questions,
    what_differs,
)
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import Component
from crosslatent.runs.contents import readable
from crosslatent.runs.reader import RunReader

if TYPE_CHECKING:
    import pandas as pd
    from upath import UPath


@dataclass(frozen=True, slots=True)
class OtherAnswer:
    """A question that the runs answer differently.

    Attributes:
        where: ``unmodified``, or the component at each run's own picked pair.
        item, other_item: its id in either run.
        first, second: the outputs; `first_correct`, `second_correct`: None if not known.
        change: became right, became wrong, still right, still wrong, or not known.
    """

    where: str
    item: str
    other_item: str
    lang: str
    question: str
    first: str
    second: str
    first_correct: bool | None
    second_correct: bool | None
    change: str


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How many of n questions are answered differently, became right and became wrong."""

    where: str
    n: int
    different: int
    became_right: int
    became_wrong: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        runs, tasks, titles, models: of the first and of the second; the names of their folders
            and tasks, and what tasks and models are called.
        differs: settings that are not the same, such as ``strength: 1.0 and 0.5``.
        shared: how many questions both have.
        differences: the figures, unmodified model first.
        maps: by component, for models of as many layers.
        counts, answers: what is answered differently.
        replication: what came of the first run's declared headline on other questions.
        missing: sentences on what only one run has, or what cannot be compared.
    """

    runs: tuple[str, str]
    tasks: tuple[str, str]
    titles: tuple[str, str]
    models: tuple[str, str]
    differs: list[str]
    shared: SharedCounts
    differences: list[RunDifference]
    maps: list[DifferenceMap]
    counts: list[AnswerCounts]
    answers: list[OtherAnswer]
    replication: Replication | None
    missing: list[str]

    def to_pandas(self) -> pd.DataFrame:
        """The differences, a row each, with the columns of a report's ``compared.csv``."""
        import pandas as pd

        from crosslatent.analysis.declared_tables import TABLES
        from crosslatent.analysis.figure_tables import records

        root = SimpleNamespace(comparison=self)
        (table,) = (table for table in TABLES if table.name == "compared")
        return pd.DataFrame(list(records(table, root)))


@readable()
def compare(
    first: str | Path | UPath | RunReader,
    second: str | Path | UPath | RunReader,
    *,
    seed: int = 0,
    tune: str = "pilot",
) -> Comparison:
    """Compare two runs on the questions that both have.

    Args:
        first: a run folder, its URL, or its reader.
        second: another one, whose figures minus those of the first are given.
        seed: of the intervals and tests.
        tune: the split that pairs are picked on.

    Raises:
        UsageError: both are one run; or they share no question, and the second one does not repeat
            the declared headline of the first on others.
        RunFolderError: one is no run folder.
    """
    readers = [one if isinstance(one, RunReader) else RunReader(one) for one in (first, second)]
    found, why_not = compare_runs(*(RunData(one, seed) for one in readers), seed=seed, tune=tune)
    if found is None:
        raise UsageError(why_not)
    return found


def compare_runs(
    first: RunData, second: RunData, *, seed: int = 0, tune: str = "pilot"
) -> tuple[Comparison | None, str | None]:
    """`compare` of runs that are open: the result, or the reason why there is none.

    Raises:
        UsageError: both are one run.
    """
    refuse_same_run(first.reader, second.reader)
    shared = shared_questions(first, second)
    repeated = replication(first, second, shared)
    if not shared.counts.n and repeated is None:
        return None, _nothing_shared(first, second)
    sides = sides_of(first, second, shared)
    picks = picks_of(sides, shared, tune, seed) if shared.counts.n else {}
    answers = [one for one in _answers(sides, picks) if one[0].n]
    return Comparison(
        **_identities(first, second),
        differs=what_differs(first, second),
        shared=shared.counts,
        differences=differences(sides, shared, picks, seed),
        maps=list(difference_maps(sides, shared, seed)),
        counts=[counts for counts, _ in answers],
        answers=[answer for _, found in answers for answer in found],
        replication=repeated,
        missing=[*only_in_one(first, second), *_missing(sides, picks, tune)],
    ), None


def _identities(first: RunData, second: RunData) -> dict[str, Any]:
    facts = [identity(one) for one in (first, second)]
    names = {"runs": "name", "tasks": "task", "titles": "title", "models": "model"}
    return {name: tuple(one[key] for one in facts) for name, key in names.items()}


def _nothing_shared(first: RunData, second: RunData) -> str:
    ours, theirs = (f"{len(one.items.ids):,} of {one.reader.name!r}" for one in (first, second))
    return (
        f"Nothing is compared, because no question is in both runs with the same gold answers "
        f"({ours}, {theirs}): compare runs that share questions."
    )


def _missing(sides: RunSides, picks: Picks, tune: str) -> Iterator[str]:
    """Sentences on what could not be compared, or not as it usually is."""
    if unmodified_alike(sides) and len(sides[0].places):
        yield (
            "A and B are of the same model, which is right on the same questions without a "
            "transplant: its unmodified answers are not compared."
        )
    layers = [side.data.n_layers for side in sides]
    if layers[0] != layers[1]:
        yield (
            f"A has {layers[0]} layers and B {layers[1]}: no pair of one is a pair of the other, "
            "so there is no map of differences, and each upper bound is over its own pairs."
        )
    for at, name in enumerate(("A", "B")):
        if any(own[at].halves for own in picks.values()):
            yield (
                f"{name} has no rows of a split {tune!r} to pick a pair on, so the pair of either "
                "half of the shared facts is the best one of the other half."
            )


_OUTPUTS = """
SELECT p.place, r.output, r.correct FROM rows r JOIN places p USING (item)
WHERE r.control = $control AND r.component IS NOT DISTINCT FROM $component
      AND r.source IS NOT DISTINCT FROM $source AND r.target IS NOT DISTINCT FROM $target
"""
_ASKED = "SELECT item, lang, main FROM items JOIN places p USING (item) ORDER BY p.place"

CHANGES = ("became right", "became wrong", "still wrong", "still right", "not known")
"""What became of an answer from the first run to the second, in the order of the table."""

_Said = tuple[str, bool | None]


def _answers(sides: RunSides, picks: Picks) -> Iterator[tuple[AnswerCounts, list[OtherAnswer]]]:
    """What is answered differently: unmodified, and at the picked pair of each component."""
    yield _different("unmodified", sides, [_outputs(side, "vanilla") for side in sides])
    for component, own in picks.items():
        both = zip(sides, own, strict=True)
        said = [_outputs(side, "none", component, pick.pairs) for side, pick in both]
        yield _different(component, sides, said)


def _outputs(
    side: RunSide, control: str, component: Component | None = None, pairs: Pairs | None = None
) -> list[_Said | None]:
    """Output of each shared question, at its pair, and whether it is right; None without a row."""
    own = [(None, None)] * len(side.places) if pairs is None else list(map(tuple, pairs.tolist()))
    there: dict[Any, _Said] = {}
    for source, target in dict.fromkeys(own):
        names = {"control": control, "component": component, "source": source, "target": target}
        for place, *said in side.data.con.execute(_OUTPUTS, names).fetchall():
            there[place, (source, target)] = said[0], said[1]
    return [there.get(key) for key in zip(side.places.tolist(), own, strict=True)]


def _different(
    where: str, sides: RunSides, said: Sequence[Sequence[_Said | None]]
) -> tuple[AnswerCounts, list[OtherAnswer]]:
    asked = [side.data.con.execute(_ASKED).fetchall() for side in sides]
    both = [
        (asked[0][place], asked[1][other][0], before, after)
        for place, other, before, after in zip(sides[0].places, sides[1].places, *said, strict=True)
        if before is not None and after is not None
    ]
    found = [_answer(where, *one) for one in both if one[2] != one[3]]
    found.sort(key=lambda one: (CHANGES.index(one.change), one.item))
    changes = Counter(one.change for one in found)
    counts = (changes[name] for name in CHANGES[:2])
    return AnswerCounts(where, len(both), len(found), *counts), found


def _answer(
    where: str, asked: tuple[str, str, str], other: str, before: _Said, after: _Said
) -> OtherAnswer:
    item, lang, question = asked
    if before[1] is None or after[1] is None:
        change = CHANGES[-1]
    elif before[1] == after[1]:
        change = "still right" if after[1] else "still wrong"
    else:
        change = "became right" if after[1] else "became wrong"
    return OtherAnswer(
        where, item, other, lang, question, before[0], after[0], before[1], after[1], change
    )
