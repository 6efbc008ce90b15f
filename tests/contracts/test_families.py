"""Every family keeps every contract, on the path that it is said to take."""

from __future__ import annotations

from functools import cache

import pytest
import transformers

from crosslatent import contracts
from crosslatent.contracts import CONTRACTS, Subject
from crosslatent.core.specs import EXPANDED_CACHE, SHARED_PREFIX
from crosslatent.engine import best_path
from scripts import models_docs
from support.families import EXPANDED, SETTINGS
from support.models import ALL_FAMILIES, has_type
from support.rows import wrapped

FAST_TIER = ("llama", "gemma2", "opt", "bloom")
"""A plain one; norms after modules, windows and caps; tokens without rows; no registry."""

NEWEST = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 24)
"""Earlier versions lead some models past the registry of attention functions."""


def kinds(model):
    """The kinds of blocks that a model has."""
    types = getattr(model.hf.config.get_text_config(decoder=True), "layer_types", None)
    return {type(module).__name__ for module in model.hf.modules()} | set(types or ())


def smallest(family):
    """A first block, one between and a last one, if three blocks are of all kinds that four are."""
    whole, settings = wrapped(family), SETTINGS.get(family, {})
    names = {"num_hidden_layers", "num_layers"} & settings.keys() or {"num_hidden_layers"}
    lists = {k: v[:3] for k, v in settings.items() if isinstance(v, list) and len(v) == 4}
    try:
        small = wrapped(family, **lists, **dict.fromkeys(names, 3))
    except ValueError:
        return whole
    return small if small.n_layers == 3 and kinds(small) == kinds(whole) else whole


@cache
def outcomes(family):
    """What came of all contracts, by name, and the path that the family takes."""
    subject = Subject.of(wrapped(family) if family in FAST_TIER else smallest(family))
    return {each.contract: each for each in contracts.run_all(subject)}, best_path(subject.model)


def check(family):
    if not has_type(family):
        pytest.skip(f"transformers {transformers.__version__} has no model type of {family!r}")
    found, path = outcomes(family)
    assert {name: (each.status, each.reason) for name, each in found.items()} == dict.fromkeys(
        CONTRACTS, ("passed", "")
    )
    facts = found["fast-equals-oracle"].facts
    assert facts["rows"] in (1 + 3 * 4 * 4, 1 + 3 * 3 * 3)
    assert facts["distinct"] >= facts["rows"] / 6
    assert facts["near_ties"] <= 1
    assert found["batch-size"].facts["near_ties"] <= 1
    assert found["generate"].facts["differing"] >= 1
    if NEWEST and family in EXPANDED:
        assert path.name == EXPANDED_CACHE
        assert EXPANDED[family] in path.reason
    elif NEWEST:
        assert (path.name, path.reason) == (SHARED_PREFIX, "")
    check_recorded(family, found, path)


def check_recorded(family, found, path):
    """docs/models.md says what this found, if it says something of this version."""
    here = models_docs.series(transformers.__version__)
    for version, recorded in models_docs.read().items():
        if models_docs.series(version) == here:
            said = recorded["families"][family]
            assert said["path"] == path.name, "run `make models`"
            statuses = {name: each.status for name, each in found.items()}
            assert said["contracts"] == statuses, "run `make models`"


@pytest.mark.parametrize("family", FAST_TIER)
def test_contracts_of_a_few(family):
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in ALL_FAMILIES if name not in FAST_TIER])
def test_contracts(family):
    check(family)


def test_what_is_claimed_is_what_is_tested():
    """Model types, so that variants of one count once."""
    tested = {family.partition("-")[0] for family in ALL_FAMILIES}
    expanded = {family.partition("-")[0] for family in EXPANDED}
    assert expanded <= tested
    assert len(tested) >= 70
    assert len(tested - expanded) >= 60
