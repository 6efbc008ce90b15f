"""Neurons and heads of all families: proven, or refused for a reason that is known."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import PairError
from crosslatent.engine import oracle
from crosslatent.engine.prefix_attention import takes_attention_functions
from crosslatent.interventions.kinds.ablate import Ablate
from support.families import EXPANDED
from support.models import ALL_FAMILIES, has_type
from support.rows import ids_of, wrapped

pytestmark = pytest.mark.slow

_EXPERTS = """
mixtral qwen2_moe qwen3_moe phimoe gpt_oss olmoe flex_olmo granitemoe granitemoeshared deepseek_v2
deepseek_v3 glm4_moe llama4_text ernie4_5_moe hunyuan_v1_moe dots1 solar_open afmoe jetmoe
exaone_moe minimax_m2
"""
EXPERTS = frozenset(_EXPERTS.split())
"""Families whose feed-forward is several matrices that are added up."""


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_they_act_where_they_are_proven(family):
    if not has_type(family):
        pytest.skip("this version of transformers does not have it")
    model = wrapped(family)
    main = ids_of(model, "Swali la kwanza ni lipi? Jibu:")
    without = {"neurons": EXPERTS, "heads": EXPANDED}
    rows = [()]
    own_attention = not takes_attention_functions(model)  # as some have in older versions
    for component, families in without.items():
        if family in families or (component == "heads" and own_attention):
            with pytest.raises(PairError, match=f"no '{component}' that could be proven"):
                model.check_component(component)
        else:
            rows += [
                (Ablate.of(model, component, layer, range(units.count // 2), scale=4.0),)
                for layer, units in enumerate(model.units(component))
            ]
    plain, *found = oracle.run_rows(model, main, rows, max_new_tokens=2, watch=range(0, 200, 5))
    assert all(answer.watched != plain.watched for answer in found)
    assert len({answer.watched for answer in found}) == len(found)
