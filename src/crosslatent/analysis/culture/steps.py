"""Three steps of what may be said of a country, each decided by tests.

1 changes answers; 2 changes them towards the country; 3 more than any other donor does. Within a
step all tests must pass, so that its p is the largest of them; p of a step are corrected over
countries (Holm); a step needs the steps before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from crosslatent.analysis.culture.contrasts import EXCHANGES, Frame
from crosslatent.analysis.culture.culture_answers import TRANSPLANT, VANILLA, Closeness
from crosslatent.analysis.culture.differences import (
    Contrasts,
    Floats,
    holm_by_country,
)

ALPHA = 0.05
TESTS = {
    2: ("did_country", "over_flat"),
    3: ("did_full", "over_other_culture", "over_shuffled"),
}
"""Step -> differences that must be above zero."""
NEEDED = {2: ("did_country",), 3: TESTS[3]}
"""Those without which a step is not tested; flatness is tested where there are probabilities."""
_MISSING = {
    "did_country": "there is no other country to compare with",
    "did_full": "there is no donor of another country",
    "over_other_culture": "no other culture is matched",
    "over_shuffled": "no other question is there",
}


@dataclass(frozen=True, slots=True)
class CountryClaim:
    """What is shown for one country.

    Attributes:
        country: its name; empty for the mean over all countries.
        step: the last step that is shown, 0 to 3.
        n: questions.
        tests: name of a test -> p (of a difference 1 where it is not above zero).
        holm: step -> p of the step, corrected; None where it is not tested.
        reasons: step -> why it is not tested.
    """

    country: str
    step: int
    n: int
    tests: Mapping[str, float | None]
    holm: Mapping[int, float | None]
    reasons: Mapping[int, str] = field(default_factory=dict)


def country_claims(
    closeness: Closeness, *, seed: int, exchanges: int = EXCHANGES, alpha: float = ALPHA
) -> list[CountryClaim]:
    """What is shown: over all countries, then for each.

    Args:
        closeness: of every condition.
        seed: of the draws.
        exchanges: of a test.
        alpha: level of each step, over all countries.
    """
    contrasts = Contrasts(closeness)
    frame = contrasts.frame(seed, exchanges)
    changed = _changed(contrasts, frame)
    tests: dict[str, dict[str, float | None]] = {
        country: {"changed": changed[country]} for country in ["", *frame.countries]
    }
    for name, sides in contrasts.sides().items():
        if name in _USED:
            found, p = frame.tested(*contrasts.sums(frame, *sides))
            for country, value, each in zip(tests, found, p, strict=True):
                tests[country][name] = _above(float(value), float(each))
    runs = closeness.runs
    sums, _ = contrasts.sums(frame, contrasts.own(runs[TRANSPLANT]), contrasts.own(runs[VANILLA]))
    n = dict(zip(tests, [int(sums.n.sum()), *sums.n[:, 0].tolist()], strict=True))
    return _claims(tests, n, alpha)


_USED = {name for names in TESTS.values() for name in names}


def _claims(
    tests: Mapping[str, Mapping[str, float | None]], n: Mapping[str, int], alpha: float
) -> list[CountryClaim]:
    raw = {
        country: {step: _of_step(one, step) for step in (1, 2, 3)} for country, one in tests.items()
    }
    single = [country for country in tests if country]
    holm = {step: holm_by_country({name: raw[name][step] for name in single}) for step in (1, 2, 3)}
    found = []
    for country, one in tests.items():
        p = raw[country] if not country else {step: holm[step][country] for step in (1, 2, 3)}
        step = 0
        for each in (1, 2, 3):
            value = p[each]
            if value is None or value > alpha:
                break
            step = each
        reasons = {
            each: f"It is not tested: {_MISSING[name]}."
            for each in (3, 2)
            for name in reversed(NEEDED[each])
            if one.get(name) is None
        }
        found.append(CountryClaim(country, step, n[country], one, p, reasons))
    return found


def _of_step(tests: Mapping[str, float | None], step: int) -> float | None:
    """The largest p of a step; None where a test that it needs is missing."""
    if step == 1:
        return tests["changed"]
    if any(tests.get(name) is None for name in NEEDED[step]):
        return None
    known = [p for name in TESTS[step] if (p := tests.get(name)) is not None]
    return max(known)


def _above(value: float, p: float) -> float | None:
    """P that a difference is zero, where it is above zero; else 1; None if it is undefined."""
    if np.isnan(value):
        return None
    return p if value > 0 else 1.0


def _changed(contrasts: Contrasts, frame: Frame) -> dict[str, float | None]:
    """P that answers do not change, by country: closeness and entropy together.

    The largest change of all, each in units of its own spread under exchanges.
    """
    runs, sure = contrasts.closeness.runs, contrasts.closeness.sureness
    new, old = runs[TRANSPLANT], runs[VANILLA]
    sides = [
        (contrasts.own(new), contrasts.own(old)),
        (contrasts.others(new), contrasts.others(old)),
    ]
    if TRANSPLANT in sure and VANILLA in sure:
        sides.append((sure[TRANSPLANT], sure[VANILLA]))
    observed, drawn = [], []
    for one, other in sides:
        sums = contrasts.sums(frame, one, other)
        totals = [frame.estimate(each.above.sum(0), each.below.sum(0)) for each in sums]
        observed.append(np.abs(totals[0] - totals[1]))
        drawn.append(np.abs(frame.exchanged(*sums)))
    return dict(zip(["", *frame.countries], _largest(observed, drawn), strict=True))


def _largest(observed: list[Floats], drawn: list[Floats]) -> list[float | None]:
    scales = [np.sqrt((each**2).mean(0)) for each in drawn]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.stack(
            [np.where(s > 0, o / s, 0.0) for o, s in zip(observed, scales, strict=True)]
        )
        each = np.stack([np.where(s > 0, d / s, 0.0) for d, s in zip(drawn, scales, strict=True)])
    most, others = np.nan_to_num(ratios).max(0), np.nan_to_num(each).max(0)
    p = ((others >= most - 1e-9).sum(0) + 1) / (len(others) + 1)
    known = np.isfinite(observed[0])
    return [float(value) if some else None for value, some in zip(p, known, strict=True)]
