"""The culture card's statistics where the truth is known: `python -m scripts.culture_null`.

On simulated worlds (`crosslatent.planted.opinion_world`): how often intervals hold the planted
difference in differences, how often each step is claimed where nothing is planted, and how often
the third step is where a shift is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.stats import norm

from crosslatent.analysis.culture.differences import Contrasts, differences
from crosslatent.analysis.culture.opinion_rows import OpinionRows
from crosslatent.analysis.culture.steps import ALPHA, CountryClaim, country_claims
from crosslatent.planted.opinion_world import OpinionWorld

EXCHANGES = 999
"""Of a test, in simulations: the smallest p is 0.001, so that four countries can be corrected."""
LARGE = 20_000
"""Questions of the world that the true difference is computed from."""
POWER = 0.84
"""Normal quantile of a power of 80 %."""
NOTHING = OpinionWorld(questions=120)
SHIFTED = OpinionWorld(questions=120, shift=0.1)
ONE_SHIFTED = replace(SHIFTED, moved=1)
NULLS = {
    "nothing planted": NOTHING,
    "who is who drawn anew": replace(SHIFTED, same_labels=False),
    "temperature alone": replace(NOTHING, known=0.3, temperature=0.5),
    "any donor towards the mean": replace(NOTHING, mean_shift=0.2),
    "any donor towards the country": replace(NOTHING, any_shift=0.2),
}
"""What is simulated -> the world; under the last one the second step is true, the third is not."""
COVERED = ("did_country", "did_full", "over_flat")


def gaps(world: OpinionWorld, name: str) -> np.ndarray:
    """A difference by question and country in a large world, shape (questions, countries)."""
    one, other = _large_sides(replace(world, questions=LARGE))[name]
    return (one - other).reshape(LARGE, -1)


@lru_cache(maxsize=4)
def _large_sides(world: OpinionWorld) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return Contrasts(world.draw(10**6)).sides()


def coverage(world: OpinionWorld, seeds: Iterable[int]) -> dict[tuple[str, str], float]:
    """Share of draws whose interval holds the true value.

    Returns:
        By difference, over all countries ("") and for the first one, whose truth is the same.
    """
    truth = {name: float(gaps(world, name).mean()) for name in COVERED}
    held: dict[tuple[str, str], list[bool]] = {}
    for seed in seeds:
        found = differences(world.draw(seed), seed=seed, exchanges=1)
        for name, true in truth.items():
            for country, figure in list(found[name].items())[:2]:
                assert figure.low is not None
                assert figure.high is not None
                kind = country and "one country"
                held.setdefault((name, kind), []).append(figure.low <= true <= figure.high)
    return {key: float(np.mean(each)) for key, each in held.items()}


def claimed(world: OpinionWorld, seeds: Iterable[int]) -> tuple[list[float], list[float]]:
    """Share of draws in which each step is claimed for any country.

    Returns:
        With the steps before it, as the card claims it; and by its own tests alone.
    """
    steps, alone = [], []
    for seed in seeds:
        claims = [one for one in _claims(world, seed) if one.country]
        best = max(one.step for one in claims)
        steps.append([best >= step for step in (1, 2, 3)])
        p = [[one.holm[step] for one in claims] for step in (1, 2, 3)]
        alone.append([any(each is not None and each <= ALPHA for each in some) for some in p])
    return np.mean(steps, axis=0).tolist(), np.mean(alone, axis=0).tolist()


def power(world: OpinionWorld, seeds: Iterable[int]) -> float:
    """Share of the moved countries for which the third step is claimed."""
    count = world.countries if world.moved is None else world.moved
    found = [[one.step == 3 for one in _claims(world, seed)[1 : 1 + count]] for seed in seeds]
    return float(np.mean(found))


def _claims(world: OpinionWorld, seed: int) -> list[CountryClaim]:
    return country_claims(world.draw(seed), seed=seed, exchanges=EXCHANGES)


def questions_needed(world: OpinionWorld) -> int:
    """1.25 ((z + 0.84) sd / shift)^2 questions, with sd and shift of DiD-full in the first country.

    z is the normal quantile of the two-sided level 0.05 / number of countries.
    """
    gap = gaps(world, "did_full")[:, 0]
    z = float(norm.isf(ALPHA / world.countries / 2))
    return int(np.ceil(1.25 * ((z + POWER) * gap.std() / gap.mean()) ** 2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.culture_null", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    count = parser.parse_args().repetitions
    started = time.process_time()
    print("interval holds the true value (wanted: 93 to 97 %)")
    for (name, kind), share in coverage(SHIFTED, range(count)).items():
        print(f"  {name}, {kind or 'all countries'}: {100 * share:.1f} %")
    print("step claimed for any country (wanted where it is not true: at most 7 %)")
    for name, world in NULLS.items():
        steps, alone = claimed(world, range(count))
        print(f"  {name}: {_shares(steps)}; by its own tests alone: {_shares(alone)}")
    print("third step claimed for a country with a planted shift (wanted: at least 80 %)")
    for name, world in (("every country", SHIFTED), ("one country of four", ONE_SHIFTED)):
        needed = questions_needed(world)
        share = power(replace(world, questions=needed), range(count))
        print(f"  {name}, {needed} questions: {100 * share:.1f} %")
    _speed()
    print(f"all of it: {time.process_time() - started:.0f} s of CPU time")


def _speed() -> None:
    """Print what the largest card costs, from answers to claims, differences and intervals."""
    questions, runs = OpinionWorld(questions=300, countries=16, shift=0.1).answers(0)
    begun = time.process_time()
    closeness = OpinionRows(questions).closeness(runs)
    assert closeness is not None
    read = time.process_time()
    country_claims(closeness, seed=0)
    differences(closeness, seed=0)
    print(
        f"16 countries x 300 questions x {len(runs)} conditions: {read - begun:.1f} s of CPU time "
        f"for closeness, {time.process_time() - read:.1f} s for claims, differences and intervals"
    )


def _shares(found: list[float]) -> str:
    return ", ".join(f"{step}: {100 * share:.1f} %" for step, share in enumerate(found, 1))


if __name__ == "__main__":
    main()
