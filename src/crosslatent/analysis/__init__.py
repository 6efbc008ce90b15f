"""Run folders in, one plain summary out: accuracy, grids, bounds beside controls, picked pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.analysis.across_runs import (
    ModuleClaim,
    ModuleSample,
    OpenedRun,
    Repeat,
    judge_modules,
    module_sample,
    repeats,
)
from crosslatent.analysis.comparison import Comparison, compare, compare_runs
from crosslatent.analysis.data import RunData
from crosslatent.analysis.figure_tables import long_table
from crosslatent.analysis.headline import (
    Headline,
    HeadlineResult,
    declaration,
    judge,
    read_headline,
)
from crosslatent.analysis.run_summary import RunSummary, summarise_run, summary_of
from crosslatent.core.errors import UsageError
from crosslatent.core.untrusted import json_text
from crosslatent.runs.contents import readable
from crosslatent.stats import CONFIDENCE, RESAMPLES

if TYPE_CHECKING:
    import pandas as pd
    from upath import UPath

    from crosslatent.runs.reader import RunReader

SCHEMA_VERSION = 4

__all__ = [
    "Comparison",
    "Headline",
    "HeadlineResult",
    "RunSummary",
    "Summary",
    "compare",
    "declaration",
    "estimates",
    "summarise",
    "summarise_run",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class Summary:
    """The analysis of one or more run folders, as written to summary.json.

    Attributes:
        modules: attention against feed-forward; None if no run can tell anything of it.
        repeats: runs of one task on one model, two by two.
        comparison: of exactly two runs, the second beside the first; None if they share nothing,
            with a sentence on it in `comparison_missing`.
    """

    schema_version: int
    seed: int
    confidence: float
    resamples: int
    headline: HeadlineResult | None
    headline_missing: str | None
    modules: ModuleClaim | None
    repeats: list[Repeat]
    runs: list[RunSummary]
    comparison: Comparison | None = None
    comparison_missing: str | None = None


def estimates(run: str | Path | UPath | RunReader, *, seed: int = 0) -> pd.DataFrame:
    """Every figure of a run in one long table, a row each.

    Columns: `task`; `table`, as the tables of a report are called; `quantity`; `component`;
    `control`: what gave the answers, ``none`` for true transplants; `split` and `lang`; `pair`,
    such as ``3-7``, or ``3-*`` for all pairs of a source layer; `group`: any further key; `value`
    with its interval `low` to `high`; `n` observations in `clusters`; `seed` of the interval; `p`,
    and `p_adjusted` after Holm's correction. What is undefined is missing.

    Args:
        run: a run folder, its URL, or its reader.
        seed: of the intervals.

    Raises:
        RunFolderError: it is no run folder, or declares a headline that cannot be read.
    """
    return long_table(summarise([run], seed=seed))


@readable()
def summarise(
    runs: Sequence[str | Path | UPath | RunReader], *, seed: int = 0, insist: bool = False
) -> Summary:
    """Analyse run folders; two that share questions are compared.

    Args:
        runs: one or more run folders, or their readers.
        seed: of the intervals.
        insist: refuse what cannot be compared.

    Raises:
        RunFolderError: a folder is no run folder, or declares a headline that cannot be read.
        UsageError: two runs are one; or `insist`, and there are not two that share questions.
    """
    from crosslatent.runs.reader import RunReader

    readers = [run if isinstance(run, RunReader) else RunReader(run) for run in runs]
    declared = [read_headline(reader.manifest) for reader in readers]
    headline = next((found for found in declared if found is not None), None)
    tune = headline.tune if headline else "pilot"
    opened: list[OpenedRun] = []
    samples: list[ModuleSample] = []
    runs_data = [RunData(reader, seed) for reader in readers]
    compared = _compared(runs_data, seed, tune, insist)
    for data in runs_data:
        opened.append(OpenedRun(data, summary_of(data, tune, headline)))
        samples.append(module_sample(*opened[-1]))
        # Large runs fill gigabytes, and what is left to do needs little of them.
        data.forget_cubes()
    summaries = [one.run for one in opened]
    result, missing = _judge(headline, declared, summaries)
    return Summary(
        schema_version=SCHEMA_VERSION,
        seed=seed,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        headline=result,
        headline_missing=missing,
        modules=judge_modules(samples, seed),
        repeats=repeats(opened, seed),
        runs=summaries,
        comparison=compared[0],
        comparison_missing=compared[1],
    )


def to_json(summary: Summary, **more: Any) -> str:
    """The summary as JSON text, with more plain data beside it: undefined is null, never NaN."""
    plain = {**asdict(summary), **more}
    return json_text(plain, indent=1)


def _compared(
    runs: Sequence[RunData], seed: int, tune: str, insist: bool
) -> tuple[Comparison | None, str | None]:
    """Two runs side by side, or why they are not; first, so that a refusal takes no time."""
    if len(runs) != 2:
        if insist:
            raise UsageError(f"The number of runs to compare is {len(runs)}: give two.")
        return None, None
    found, why_not = compare_runs(*runs, seed=seed, tune=tune)
    if insist and found is None:
        raise UsageError(why_not)
    for data in runs:
        data.forget_cubes()
    return found, why_not


def _judge(
    headline: Headline | None, declared: Sequence[Headline | None], summaries: Sequence[RunSummary]
) -> tuple[HeadlineResult | None, str | None]:
    if headline is None:
        return None, "No run declares a headline."
    # The run that declares it comes before others of the same task.
    for place in sorted(range(len(summaries)), key=lambda place: declared[place] is None):
        run, own = summaries[place], declared[place]
        if run.task == headline.task or (headline.task is None and own is not None):
            return judge(headline, run, place)
    return None, f"No run is of the task {headline.task!r} that the headline names."
