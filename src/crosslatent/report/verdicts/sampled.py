"""What sampling the unmodified model as often as there are pairs says of an upper bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosslatent.analysis.passk import PassAtK
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import Family, Verdict, points_with_interval
from crosslatent.stats import Estimate


@dataclass(frozen=True, slots=True)
class Sampled:
    """pass@K of one component, and what is to be said of it: ``exploratory`` or nothing."""

    found: PassAtK
    note: str = ""


def _sampled_values(one: Sampled) -> Mapping[str, str]:
    found = one.found
    return {
        "component": formatting.first_upper(formatting.component(found.component)),
        "name": found.name,
        "n": f"{found.samples or 0:,}",
        "tries": f"{found.attempts[1]:,} {'pair' if found.attempts[1] == 1 else 'pairs'}",
        "share": formatting.percent(found.share.value),
        "gap": points_with_interval(found.versus.difference) if found.versus else "",
        "note": one.note,
    }


def _gap_of(one: Sampled) -> Estimate | None:
    return one.found.versus.difference if one.found.versus else None


PASS_AT_K: Family[Sampled] = Family(
    "pass_at_k",
    _sampled_values,
    {
        "above": Verdict(
            lambda one: (gap := _gap_of(one)) is not None and gap.above_zero,
            "{component}: sampled as often as there are pairs, the unmodified model is right at "
            "least once on {share} ({name}); the upper bound minus that is {gap}{note}.",
        ),
        "below": Verdict(
            lambda one: (gap := _gap_of(one)) is not None and gap.below_zero,
            "{component}: sampled as often as there are pairs, the unmodified model alone is right "
            "at least once on {share} ({name}), more than the upper bound, which minus that is "
            "{gap}{note}.",
        ),
        "not_shown": Verdict(
            lambda one: (
                (gap := _gap_of(one)) is not None and not (gap.above_zero or gap.below_zero)
            ),
            "{component}: that the upper bound lies above what the unmodified model reaches when "
            "it is sampled as often as there are pairs ({name}, {share}) could not be shown: the "
            "difference is {gap}{note}.",
        ),
        "too_few": Verdict(
            lambda one: _gap_of(one) is None,
            "{component}: of {n} sampled answers of the unmodified model at least one is right on "
            "{share} ({name}); the upper bound counts {tries}, so it is not compared with that"
            "{note}.",
        ),
    },
)
"""pass@K beside an upper bound: a comparison of its own, whatever the controls say."""
