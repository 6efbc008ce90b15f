"""Conditions in words and by their identity."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from crosslatent.core.errors import PairError, UsageError
from crosslatent.core.specs import Site
from crosslatent.interventions import condition
from crosslatent.interventions.condition import Condition, check_texts, conditions_of
from crosslatent.interventions.intervention import ALL, LAST, PROMPT, Intervention, Tokens
from crosslatent.interventions.kinds.ablate import Ablate
from crosslatent.interventions.kinds.steer import Steer
from support.rows import wrapped


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        (
            "ablate:neurons:3:5,17",
            ["ablate:neurons:3:5,17"],
            [[("neurons", 3, (5, 17), 0.0, ALL)]],
        ),
        (
            "off=ablate:ffn:-1:0:0.5@last",
            ["off"],
            [[("ffn", 3, (0,), 0.5, LAST)]],
        ),
        (
            "ablate:ffn:0,2:all:-1@prompt",
            ["ablate:ffn:0,2:all:-1@prompt"],
            [[("ffn", 0, None, -1.0, PROMPT), ("ffn", 2, None, -1.0, PROMPT)]],
        ),
        (
            "ablate:attn:each:all@last3",
            [f"ablate:attn:{layer}:all@last3" for layer in range(4)],
            [[("attn", layer, None, 0.0, Tokens("last", 3))] for layer in range(4)],
        ),
        (
            "each head=ablate:heads:1:each",
            [f"each head ablate:heads:1:{head}" for head in range(4)],
            [[("heads", 1, tuple(range(8 * head, 8 * head + 8)), 0.0, ALL)] for head in range(4)],
        ),
        (
            "both=ablate:ffn:0:all + ablate:attn:1:all",
            ["both"],
            [[("ffn", 0, None, 0.0, ALL), ("attn", 1, None, 0.0, ALL)]],
        ),
        (
            "ablate:block:all:0",
            ["ablate:block:all:0"],
            [[("block", layer, (0,), 0.0, ALL) for layer in range(4)]],
        ),
    ],
)
def test_words_stand_for_interventions(model, text, names, rows):
    check_texts([text])
    found = conditions_of(model, [text])
    assert [one.name for one in found] == names
    told = [
        [
            (each.site.component, each.site.layer, each.units, each.scale, each.tokens)
            for each in one.row
        ]
        for one in found
    ]
    assert told == rows
    assert len({one.id for one in found}) == len(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a kind and its settings"),
        ("ablate", "a kind and its settings"),
        ("x=", "a kind and its settings"),
        ("ablat:heads:0:1", "no kind 'ablat'"),
        ("ablate:heads", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:x:1", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:0:", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:0:1:nan", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:0:1:1e999", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:0:1@first", "COMPONENT:LAYERS:UNITS"),
        ("ablate:heads:0:1@last0", "last 0 tokens"),
        ("ablate:tails:0:1", "Unknown component 'tails'"),
        ("ablate:heads:4:1", "layer 4 is out of range"),
        ("ablate:heads:0:-1", "no head -1"),
        ("ablate:ffn:0:all@last + ablate:ffn:0:1@last", "more than once"),
        ("steer:0:1", "cannot be given in words"),
    ],
)
def test_other_words_are_refused(model, text, reason):
    with pytest.raises(UsageError, match=reason):
        conditions_of(model, [text])


def test_conditions_differ_in_name_and_in_what_they_change(model):
    with pytest.raises(UsageError, match="Two conditions are called 'a'"):
        conditions_of(model, ["a=ablate:heads:0:1", "a=ablate:heads:0:2"])
    with pytest.raises(UsageError, match="'a' and 'b' change the same"):
        conditions_of(model, ["a=ablate:heads:0:1", "b=ablate:heads:0:1"])


def test_there_are_at_most_as_many_as_a_key_has_room_for(model, monkeypatch):
    monkeypatch.setattr(condition, "MOST", 3)
    with pytest.raises(UsageError, match="There are 4 conditions, but a run can have 3"):
        conditions_of(model, ["ablate:heads:0:each"])


VECTOR = torch.arange(32, dtype=torch.float64)
PLAIN = Steer(Site("block", 1), VECTOR, 2.0)


def test_the_identity_is_what_is_changed_and_not_the_object():
    again = Steer(Site("block", 1), VECTOR.clone(), 2.0)
    assert Condition("a", (PLAIN,)).id == Condition("b", (again,)).id
    others = [
        Steer(Site("block", 2), VECTOR, 2.0),
        Steer(Site("ffn", 1), VECTOR, 2.0),
        Steer(Site("block", 1), VECTOR, 2.5),
        Steer(Site("block", 1), VECTOR + 1e-12, 2.0),
        Steer(Site("block", 1), VECTOR.float(), 2.0),
        Steer(Site("block", 1), VECTOR, 2.0, place=0.0),
        Steer(Site("block", 1), VECTOR, 2.0, tokens=PROMPT),
        Ablate(Site("block", 1), means=VECTOR),
    ]
    ids = [Condition("a", (one,)).id for one in (PLAIN, *others)]
    assert len(set(ids)) == len(ids)
    assert Condition("a", (PLAIN, others[0])).id != Condition("a", (others[0], PLAIN)).id


def test_the_identity_does_not_change_from_release_to_release():
    row = (Ablate(Site("heads", 3), (0, 1), 0.5, tokens=ALL),)
    assert Condition("a", row).id == "e334f297c5cf62ec"


def test_what_has_no_identity_is_refused():
    class Bare(Intervention):
        site, tokens = Site("block", 0), LAST

        def change(self, own, _back=None, /):
            return own

    @dataclasses.dataclass(frozen=True, eq=False)
    class Calling(Bare):
        how: object = len

    with pytest.raises(UsageError, match="Bare is no dataclass"):
        Condition("a", (Bare(),))
    with pytest.raises(UsageError, match="Calling holds a builtin_function"):
        Condition("a", (Calling(),))
    with pytest.raises(UsageError, match="changes nothing"):
        Condition("a", ())
    with pytest.raises(UsageError, match="has no name"):
        Condition(" ", (PLAIN,))
    with pytest.raises(PairError, match="more than once"):
        Condition("a", (Ablate(Site("ffn", 0)), Ablate(Site("ffn", 0), (1,))))
