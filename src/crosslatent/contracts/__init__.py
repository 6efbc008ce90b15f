"""What must hold on every model: the contracts, to be run on any of them.

The tests run them on a tiny model of every family; on a user's own model they say what can be
relied on. Each takes a `Subject` and returns what it counted, or raises what it found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from crosslatent.contracts.facts import cost, found
from crosslatent.contracts.guarantees import (
    batches_agree,
    captures_are_independent,
    fast_equals_oracle,
    generate_equals_decoding,
    nothing_is_left_behind,
    padding_agrees,
    self_transplant,
)
from crosslatent.contracts.subject import Broken, NotApplicable, Outcome, Subject
from crosslatent.core.specs import check_component
from crosslatent.model import Model, loaded

__all__ = [
    "CONTRACTS",
    "Contract",
    "Outcome",
    "Subject",
    "check",
    "cost",
    "found",
    "run",
    "run_all",
    "subject_of",
]

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


_QUICK_LAYERS, _QUICK_TOKENS = 3, 2


def subject_of(model: Model, *, components: Sequence[str] = (), quick: bool = False) -> Subject:
    """What `check` runs the contracts on.

    Args:
        model: the model.
        components: what is carried over; by default what each contract takes by itself.
        quick: three blocks and two new tokens, in place of eight and four.

    Raises:
        PairError: an unknown component, or one that the model does not have.
        PromptError: the model's context is too short for the texts that are asked.
    """
    kinds = tuple(dict.fromkeys(model.check_component(check_component(c)) for c in components))
    if not quick:
        return Subject.of(model, components=kinds)
    return Subject.of(model, new_tokens=_QUICK_TOKENS, most_layers=_QUICK_LAYERS, components=kinds)


def check(
    model: Model | str | Path, *, components: Sequence[str] = (), quick: bool = False
) -> list[Outcome]:
    """Run all contracts on a model, as ``crosslatent check`` does.

    Args:
        model: the model, in which nothing stays behind; or its folder or name.
        components: "attn", "ffn", "attn_residual", "block", and in encoder-decoder models
            "cross_attn": what is carried over; by default what each contract takes by itself.
        quick: fewer blocks and tokens, for large models.

    Returns:
        What came of each contract, in the order of `CONTRACTS`: `Outcome.status` is "passed",
        "failed" or "skipped", with the reason. A contract that fails raises nothing.

    Raises:
        PairError: an unknown component, or one that the model does not have.
        PromptError: the model's context is too short for the texts that are asked.
    """
    return list(run_all(subject_of(loaded(model), components=components, quick=quick)))
