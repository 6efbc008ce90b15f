"""Models of two stacks keep every contract on their decoder, on the path that they can take."""

from __future__ import annotations

from functools import cache

import pytest
import transformers

from crosslatent import contracts
from crosslatent.contracts import CONTRACTS, Subject
from crosslatent.core.specs import EXPANDED_CACHE, ORACLE, SHARED_PREFIX
from crosslatent.engine import best_path
from support.two_stacks import BOTH_WAYS, ENCODED, SEEING, TWO_STACKS, has_type, wrapped_stacks

FAST_TIER = ("t5", "bart-forced", "llava")
"""Relative positions; positions, norms after modules and a forced token; a vision tower."""

NEWEST = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 24)
"""Earlier versions give Qwen's decoders positions of another shape, which rows cannot share."""

LEAST_DISTINCT = 8
"""Different answers among the rows of a family: fewer would compare too little."""

WRITTEN = {
    **dict.fromkeys(ENCODED, (EXPANDED_CACHE, "an encoder reads its prompts")),
    **dict.fromkeys(SEEING, (SHARED_PREFIX, "")),
    **dict.fromkeys(BOTH_WAYS, (ORACLE, "the tokens of its prompts see those after them")),
}
"""The path that each family takes, and why not a faster one."""


@cache
def outcomes(family):
    """What came of all contracts, by name, and the path that the family takes."""
    subject = Subject.of(wrapped_stacks(family))
    return {each.contract: each for each in contracts.run_all(subject)}, best_path(subject.model)


def check(family):
    if not has_type(family):
        pytest.skip(f"transformers {transformers.__version__} has no model type of {family!r}")
    found, path = outcomes(family)
    expected = dict.fromkeys(CONTRACTS, "passed")
    name, reason = WRITTEN[family]
    if name == ORACLE:
        expected["fast-equals-oracle"] = "skipped"
        assert reason in found["fast-equals-oracle"].reason
    else:
        components = 3 + (family in ENCODED)
        facts = found["fast-equals-oracle"].facts
        assert facts["rows"] == 1 + components * 4 * 4, found["fast-equals-oracle"]
        assert facts["distinct"] >= LEAST_DISTINCT
        assert facts["near_ties"] == 0
    assert {each.contract: each.status for each in found.values()} == expected, found
    if NEWEST or name != SHARED_PREFIX:
        assert (path.name, reason in path.reason) == (name, True), path
    assert found["generate"].facts["differing"] >= 1
    assert found["batch-size"].facts["near_ties"] == 0


@pytest.mark.parametrize("family", FAST_TIER)
def test_contracts_of_a_few(family):
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in TWO_STACKS if name not in FAST_TIER])
def test_contracts(family):
    check(family)
