"""Settings are refused before any work, with what would be right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from crosslatent.core.errors import CrosslatentError, ModelError, SpaceError, UsageError
from crosslatent.lens.compatibility import check_languages, check_training, read_otherwise
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec
from support.training import made_up_space, tiny


def test_defaults_are_those_of_the_released_training():
    spec = TrainSpec()
    assert (spec.blocks, spec.at, spec.epochs, spec.batch_size) == (2, ("final",), 1, 8)
    assert (spec.lr, spec.weight_decay, spec.warmup, spec.schedule) == (1e-5, 0.1, 0.05, "cosine")
    assert (spec.align, spec.separate, spec.retain, spec.strength_of("sw")) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "'epochs' is 0"),
        ({"batch_size": 0}, "'batch size' is 0"),
        ({"lr": 0.0}, "'learning rate' is 0.0"),
        ({"lr": float("nan")}, "'learning rate' is nan"),
        ({"lr": float("inf")}, "'learning rate' is inf"),
        ({"clip": 0.0}, "'clip' is 0.0"),
        ({"warmup": 1.0}, "'warmup' is 1.0"),
        ({"held_out": -0.1}, "'held out' is -0.1"),
        ({"align": -1.0}, "'align' is -1.0"),
        ({"retain": float("nan")}, "'retain' is nan"),
        ({"seed": -1}, "'seed' is -1"),
        ({"patience": 0}, "'patience' is 0"),
        ({"patience": 1, "held_out": 0.0}, "no row is held out"),
        ({"schedule": "steps"}, "'schedule' is 'steps': give one of cosine, linear, constant"),
        ({"precision": "int8"}, "'precision' is 'int8': give one of auto, float32, bfloat16"),
        ({"at": ("last",)}, "Unknown layer 'last'"),
        ({"at": ()}, "No layer is named"),
        ({"align": 0.0, "separate": 0.0, "retain": 0.0}, "All three losses have weight 0"),
        ({"strength": {"sw": float("inf")}}, "strength is inf"),
    ],
)
def test_values_that_make_no_sense_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        TrainSpec(**given)


def test_lora_values_are_checked():
    for given in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}):
        with pytest.raises(UsageError, match="LoRA"):
            LoraSpec(**given)


def test_blocks_are_counted_from_the_top_or_named():
    assert TrainSpec(blocks=2).trained_blocks(24) == (22, 23)
    assert TrainSpec(blocks=(23, 20, -1)).trained_blocks(24) == (20, 23)
    for blocks in (0, 25, (24,), ()):
        with pytest.raises(UsageError):
            TrainSpec(blocks=blocks).trained_blocks(24)


def test_layers_lie_where_training_changes_something_and_is_seen():
    assert TrainSpec(at=("final", 3, -2)).read_at(4) == (2, 3, "final")
    assert TrainSpec(at=("all",)).read_at(4) == (2, 3, "final")
    assert TrainSpec(blocks=(1, 2), at=(2,)).read_at(4) == (2,)
    with pytest.raises(UsageError, match="block 1, which training does not change.*block is 2"):
        TrainSpec(at=(1, "final")).read_at(4)
    with pytest.raises(UsageError, match="Block 3 is to be trained, but no loss"):
        TrainSpec(at=(2,)).read_at(4)
    with pytest.raises(UsageError, match="out of range"):
        TrainSpec(at=(4,)).read_at(4)


def test_a_spec_is_plain_data():
    spec = TrainSpec(at=(3, "final"), strength={"sw": 2.0}, lora=LoraSpec(), blocks=(2, 3))
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain == spec.to_dict()
    assert plain["lora"] == {"rank": 8, "alpha": 16.0, "dropout": 0.0}
    assert plain["strength"] == {"sw": 2.0}


def test_strength_of_a_language_that_is_not_named_is_one():
    spec = TrainSpec(strength={"sw": 2.0})
    assert (spec.strength_of("sw"), spec.strength_of("hi")) == (2.0, 1.0)
    with pytest.raises(UsageError, match="'sw', which is not trained.*are hi"):
        check_training(spec, tiny(), None, ["hi"])


def test_space_of_another_model_is_refused():
    model = tiny()
    space = made_up_space(model)
    check_training(TrainSpec(), model, space, ["sw"])
    for other, word in (
        (tiny(seed=1), "another weights"),
        (tiny(num_hidden_layers=3), "4 blocks of width 32, but tiny-llama has 3"),
        (tiny("qwen3"), "another type"),
    ):
        with pytest.raises(SpaceError, match=word):
            check_training(TrainSpec(), other, space, ["sw"])
    unknown = replace(space, record=replace(space.record, model={}))
    check_training(TrainSpec(), tiny(seed=1), unknown, ["sw"])


@pytest.mark.parametrize(
    ("central", "languages", "word"),
    [
        ("en", ["sw", "zz"], "nothing of 'zz', only en, sw, hi"),
        ("en", ["en"], "no target language beside the central one, 'en'"),
        ("en", [], "no target language"),
        ("sw", ["hi"], "start from 'en'"),
    ],
)
def test_languages_go_with_the_space(central, languages, word):
    with pytest.raises(SpaceError, match=word):
        check_languages(made_up_space(tiny()), central, languages)


def test_float32_training_needs_float32_weights():
    model = tiny()
    model.hf.to(torch.bfloat16)
    with pytest.raises(ModelError, match="needs a model in float32, and this one is in bfloat16"):
        check_training(TrainSpec(precision="float32"), model, None, ["sw"])


def test_every_refusal_is_wrong_usage():
    with pytest.raises(CrosslatentError) as caught:
        TrainSpec(epochs=0)
    assert caught.value.exit_code == 2


def test_a_space_that_was_read_otherwise_is_told_of(make_space):
    space = make_space()
    assert read_otherwise(space, TrainSpec()) == []
    other = replace(space, record=replace(space.record, pooling="mean", chat=True))
    first, second = read_otherwise(other, TrainSpec())
    assert "averaged over tokens (pooling mean)" in first
    assert "probed with the chat template, but training reads texts without it" in second
    assert len(read_otherwise(other, TrainSpec(chat=True))) == 1
