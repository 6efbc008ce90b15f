"""What must hold on every model: the contracts, to be run on any of them.

The tests run them on a tiny model of every family; on a user's own model they say what can be
relied on. Each takes a `Subject` and returns what it counted, or raises what it found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from crosslatent.contracts.answers import (
    batches_agree,
    fast_equals_oracle,
    generate_equals_decoding,
)
from crosslatent.contracts.identity import self_transplant
from crosslatent.contracts.outcome import Broken, NotApplicable, Outcome
from crosslatent.contracts.reading import captures_are_independent, padding_agrees
from crosslatent.contracts.subject import Subject
from crosslatent.contracts.traces import nothing_is_left_behind

__all__ = ["CONTRACTS", "Contract", "Outcome", "Subject", "run", "run_all"]

Contract = Callable[[Subject], Mapping[str, str | int]]

CONTRACTS: Mapping[str, Contract] = {
    "self-transplant": self_transplant,
    "fast-equals-oracle": fast_equals_oracle,
    "padding": padding_agrees,
    "batch-size": batches_agree,
    "hooks-removed": nothing_is_left_behind,
    "generate": generate_equals_decoding,
    "independent-capture": captures_are_independent,
}
"""By the names under which outcomes are reported."""


def run(name: str, subject: Subject) -> Outcome:
    """Run one contract.

    Whatever the model's own code raises is a contract that does not hold, not an end of the run.
    """
    started = time.monotonic()
    try:
        facts = CONTRACTS[name](subject)
    except Broken as broken:
        return Outcome(name, "failed", str(broken), time.monotonic() - started)
    except NotApplicable as reason:
        return Outcome(name, "skipped", str(reason), time.monotonic() - started)
    except Exception as error:  # noqa: BLE001 - any model, any code: the outcome says what it was
        said = f"{type(error).__name__} ({next(iter(str(error).splitlines()), '')})"
        return Outcome(name, "failed", said, time.monotonic() - started)
    return Outcome(name, "passed", "", time.monotonic() - started, facts)


def run_all(subject: Subject) -> Iterator[Outcome]:
    """Run all contracts, in their order."""
    for name in CONTRACTS:
        yield run(name, subject)
