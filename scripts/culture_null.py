"""The culture card's statistics where the truth is known: `python -m scripts.culture_null`.

On simulated worlds (`crosslatent.planted.opinion_world`): how often intervals of the difference in
differences hold the planted value, how often each step is claimed where nothing is planted, and how
often the third step is where a shift is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from crosslatent.analysis.culture.differences import Contrasts, differences
from crosslatent.analysis.culture.steps import country_claims
from crosslatent.planted.opinion_world import OpinionWorld

EXCHANGES = 999
"""Of a test, in simulations."""
LARGE = 20_000
"""Questions of the world that the true difference is computed from."""
NOTHING = OpinionWorld(questions=120)
SHIFTED = OpinionWorld(questions=120, shift=0.1)


def true_difference(world: OpinionWorld) -> float:
    """DiD-country over all countries, of very many questions."""
    sides = Contrasts(replace(world, questions=LARGE).draw(10**6)).sides()["did_country"]
    return float(np.mean(sides[0] - sides[1]))


def coverage(world: OpinionWorld, seeds: Iterable[int]) -> float:
    """Share of draws whose interval of DiD-country holds the true value."""
    true, held = true_difference(world), []
    for seed in seeds:
        found = differences(world.draw(seed), seed=seed, exchanges=1)["did_country"][""]
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= true <= found.high)
    return float(np.mean(held))


def claimed(world: OpinionWorld, seeds: Iterable[int]) -> dict[int, float]:
    """Share of draws in which each step is claimed for any country."""
    steps = []
    for seed in seeds:
        claims = country_claims(world.draw(seed), seed=seed, exchanges=EXCHANGES)
        best = max(one.step for one in claims if one.country)
        steps.append([best >= step for step in (1, 2, 3)])
    return dict(zip((1, 2, 3), np.mean(steps, axis=0).tolist(), strict=True))


def passed(world: OpinionWorld, seeds: Iterable[int]) -> dict[int, float]:
    """Share of draws in which each step's own tests pass for any country, the others aside."""
    steps = []
    for seed in seeds:
        claims = country_claims(world.draw(seed), seed=seed, exchanges=EXCHANGES)
        p = [[one.holm[step] for one in claims if one.country] for step in (1, 2, 3)]
        steps.append([any(each is not None and each <= 0.05 for each in some) for some in p])
    return dict(zip((1, 2, 3), np.mean(steps, axis=0).tolist(), strict=True))


def questions_needed(world: OpinionWorld) -> int:
    """1.25 ((z + 0.84) sd / shift)^2, with sd and shift of DiD-full per question and country."""
    one, other = Contrasts(replace(world, questions=LARGE).draw(10**6)).sides()["did_full"]
    gap = (one - other).reshape(LARGE, -1)  # a column for each country
    z = float(norm.isf(0.05 / world.countries / 2))
    needed = 1.25 * ((z + 0.84) * gap.std(0) / gap.mean(0)) ** 2
    return int(np.ceil(needed.max()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.culture_null", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    count = parser.parse_args().repetitions
    started = time.monotonic()
    print(f"interval holds the true DiD-country: {100 * coverage(SHIFTED, range(count)):.1f} %")
    worlds = {
        "nothing planted": NOTHING,
        "who is who drawn anew": replace(SHIFTED, same_labels=False),
        "temperature alone": replace(NOTHING, temperature=2.0),
        "any donor alike": replace(NOTHING, any_shift=0.2),
    }
    for name, world in worlds.items():
        print(f"{name}: step claimed for any country, {_shares(claimed(world, range(count)))}")
        print(f"{name}: tests of a step alone, {_shares(passed(world, range(count)))}")
    needed = questions_needed(SHIFTED)
    shifted = claimed(replace(SHIFTED, questions=needed), range(count))
    print(f"shift planted, {needed} questions: {_shares(shifted)}")
    large = OpinionWorld(questions=300, countries=16, shift=0.1).draw(0)
    begun = time.process_time()
    country_claims(large, seed=0)
    print(f"16 countries x 300 questions: {time.process_time() - begun:.1f} s of CPU time")
    print(f"{time.monotonic() - started:.0f} s")


def _shares(found: dict[int, float]) -> str:
    return ", ".join(f"{step}: {100 * share:.1f} %" for step, share in found.items())


if __name__ == "__main__":
    main()
