"""What the steps of a large run may take, and which of them took more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.scale.measure import Step

MOST_SECONDS: Mapping[str, float] = {"aggregate": 10.0}
"""Upper bounds overall, by layer and by language, of five million rows."""

MOST_MEMORY = 2e9
"""Bytes that the process of a step may hold."""

WITHOUT_LIMIT = ("report",)
"""Steps that do much more than aggregate: measured only."""


def broken(steps: Iterable[Step]) -> list[str]:
    """What went over its limit, a sentence each."""
    found = []
    for step in steps:
        most = MOST_SECONDS.get(step.name)
        if most is not None and step.seconds >= most:
            found.append(f"{step.name} took {step.seconds:.1f} s: the limit is {most:.0f} s.")
        if step.name not in WITHOUT_LIMIT and step.peak_bytes >= MOST_MEMORY:
            found.append(
                f"{step.name} held {step.peak_bytes / 1e9:.1f} GB: "
                f"the limit is {MOST_MEMORY / 1e9:.0f} GB."
            )
    return found
