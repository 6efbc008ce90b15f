"""Conditions as the command line names them, and what cannot stand beside each other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crosslatent.core.errors import PairError, UsageError
from crosslatent.lens.evaluation.evaluated_conditions import (
    Steered,
    Transplanted,
    Tuned,
    Unmodified,
    check_conditions,
    parse_combined,
    parse_steer,
    parse_transplant,
    parse_tuned,
    steered_of,
    transplanted_of,
)


@pytest.fixture
def space(make_space):
    return make_space()


def test_trained_models_of_all_languages_and_of_one_each():
    found = parse_tuned(["lens=out/a", "sft:sw=out/b", "sft:hi=out/c=d", "other=x"])
    assert found == [
        Tuned("lens", "out/a"),
        Tuned("sft", {"sw": "out/b", "hi": "out/c=d"}),
        Tuned("other", "x"),
    ]


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (["out"], "'out'"),
        (["=out"], "'=out'"),
        (["a="], "'a='"),
        (["a=x", "a=y"], "'a'"),
        (["a=x", "a:sw=y"], "'a'"),
        (["a:sw=x", "a=y"], "'a'"),
        (["a:sw=x", "a:sw=y"], "'a'"),
    ],
)
def test_trained_models_that_do_not_go_together(texts, word):
    with pytest.raises(UsageError, match=word):
        parse_tuned(texts)


@pytest.mark.parametrize(
    ("text", "name", "layers", "alpha", "part"),
    [
        ("s=3:0.5", "s", (3,), 0.5, "direction"),
        ("s=-1,0:-2", "s", (-1, 0), -2.0, "direction"),
        ("two=1:1e-1:agnostic", "two", (1,), 0.1, "agnostic"),
        ("two=1:1:direction", "two", (1,), 1.0, "direction"),
    ],
)
def test_steering(space, text, name, layers, alpha, part):
    found = parse_steer(text, space)
    assert (found.name, found.layers, found.alpha, found.part) == (name, layers, alpha, part)
    assert found.space is space
    steering = found.towards("sw")
    assert (steering.lang, steering.layers, steering.alpha, steering.part) == (
        "sw",
        layers,
        alpha,
        part,
    )


@pytest.mark.parametrize(
    "text",
    ["3:0.5", "s=3", "s=:1", "s=3:x", "s=final:1", "s=3:1:specific", "s=3:1:agnostic:x", "="],
)
def test_steering_that_cannot_be_read(space, text):
    with pytest.raises(UsageError, match="--steer"):
        parse_steer(text, space)


def test_transplants():
    assert parse_transplant("ffn:0:0") == Transplanted("ffn:0:0", "ffn", 0, 0)
    assert parse_transplant("late=attn:-1:3") == Transplanted("late", "attn", -1, 3)


@pytest.mark.parametrize("text", ["ffn", "ffn:0", "ffn:0:0:0", "ffn:a:0", "x=", ""])
def test_transplants_that_cannot_be_read(text):
    with pytest.raises(UsageError, match="--transplant"):
        parse_transplant(text)
    with pytest.raises(PairError, match="'mlp'"):
        parse_transplant("mlp:0:0")


def test_both_at_once(space):
    steer, transplant = parse_steer("s=0:1", space), parse_transplant("t=ffn:0:0")
    both = parse_combined("both=s+t", [steer, transplant])
    assert (both.name, both.kind) == ("both", "steering+transplant")
    assert (steered_of(both), transplanted_of(both)) == (steer, transplant)
    assert both.settings == {**steer.settings, **transplant.settings}
    for text in ("both=s", "both=t+s", "both=s+x", "s+t"):
        with pytest.raises(UsageError, match="--combine"):
            parse_combined(text, [steer, transplant])


def test_what_is_in_a_condition(space):
    steer = Steered("s", space, 1.0, (0,))
    assert (steered_of(steer), transplanted_of(steer)) == (steer, None)
    transplant = Transplanted("t", "ffn", 0, 0)
    assert (steered_of(transplant), transplanted_of(transplant)) == (None, transplant)
    assert (steered_of(Tuned("a", "b")), transplanted_of(Unmodified())) == (None, None)


def test_what_people_and_programs_read(space):
    found = [
        Unmodified(),
        Tuned("a", "out/a"),
        Tuned("b", {"sw": "out/b"}),
        Steered("s", space, 0.5, (1, 2)),
        Steered("g", space, 0.5, (1,), "agnostic"),
        Transplanted("t", "ffn", 0, -1),
    ]
    assert [one.kind for one in found] == [
        "unmodified", "tuned", "tuned", "steering", "steering", "transplant",
    ]  # fmt: skip
    assert len({one.about for one in found}) == len(found)
    assert [one.settings for one in found] == [
        {},
        {"model": "out/a"},
        {"models": {"sw": "out/b"}},
        {"alpha": 0.5, "layers": [1, 2], "part": "direction"},
        {"alpha": 0.5, "layers": [1], "part": "agnostic"},
        {"component": "ffn", "source": 0, "target": -1},
    ]


def test_the_unmodified_model_comes_first_and_once(space):
    one, two = Tuned("a", "b"), Steered("s", space, 1.0, (0,))
    assert check_conditions([one, Unmodified(), two]) == (Unmodified(), one, two)


def test_conditions_that_cannot_stand_beside_each_other():
    with pytest.raises(UsageError, match="--tuned"):
        check_conditions([])
    with pytest.raises(UsageError, match="nothing to compare"):
        check_conditions([Unmodified()])
    for name, word in (("a", "'a'"), ("unmodified", "'unmodified'"), (" ", "no name")):
        with pytest.raises(UsageError, match=word):
            check_conditions([Tuned("a", "x"), Transplanted(name, "ffn", 0, 0)])


def test_naming_conditions_takes_no_torch():
    module = "crosslatent.lens.evaluation.evaluated_conditions"
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
