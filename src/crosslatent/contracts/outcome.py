"""The outcome of a contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["passed", "failed", "skipped"]


class Broken(Exception):  # noqa: N818 - a finding about the model, not an error of the program
    """The contract does not hold; the message says where and by how much."""


class NotApplicable(Exception):  # noqa: N818 - a finding as well
    """The contract says nothing about this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one contract on one model.

    Attributes:
        contract: its name.
        status: whether it holds.
        reason: why it failed or was skipped; empty if it passed.
        seconds: how long it took.
        facts: what was counted on the way, as plain data (rows, distinct answers, path).
    """

    contract: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    facts: Mapping[str, str | int] = field(default_factory=dict)
