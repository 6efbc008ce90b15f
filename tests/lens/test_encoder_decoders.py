"""Texts have no states in the decoder of a model whose prompts an encoder reads."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import ModelError
from crosslatent.lens.evaluation.evaluated_conditions import Transplanted, Tuned
from crosslatent.lens.evaluation.evaluating import evaluate
from crosslatent.lens.probing import probe
from crosslatent.lens.states import read_states
from crosslatent.lens.steering import Steering, steered
from crosslatent.lens.training.answer_objective import train_answers
from crosslatent.lens.training.fork import fork
from crosslatent.lens.training.lens_objective import train
from crosslatent.tasks import Item, task_of
from support.models import byte_tokenizer
from support.rows import wrapped
from support.training import parallel
from support.two_stacks import tiny_two_stacks, wrapped_stacks

ITEM = Item(id="a", lang="sw", main="Mji?", answer="x", aux="City?", aux_lang="en")
TASK = task_of([ITEM])
TEXTS = {"en": ["a house", "a tree"], "sw": ["nyumba", "mti mmoja"]}


@pytest.fixture(scope="module")
def model():
    return wrapped_stacks("t5")


def uses(space):
    def steer(model):
        with steered(model, space, Steering("sw", 1.0, (0,))):
            pass

    return {
        "probing": lambda model: probe(model, TEXTS),
        "states": lambda model: read_states(model, [[5, 6]]),
        "steering": steer,
        "training": lambda model: train(model, space, parallel(langs=("en", "sw"))),
        "answers": lambda model: train_answers(model, [ITEM]),
        "evaluation": lambda model: evaluate(model, [Transplanted("t", "ffn", 0, 0)], TASK),
    }


@pytest.mark.parametrize("use", uses(None))
def test_lens_refuses_them_in_one_sentence(model, make_space, use):
    with pytest.raises(ModelError, match=r"^Lens does not work for encoder-decoder models such as"):
        uses(make_space())[use](model)


def test_they_are_no_trained_form_of_a_decoder(model, tmp_path):
    with pytest.raises(ModelError, match="Lens does not work for encoder-decoder models"):
        evaluate(wrapped(), [Tuned("t", model)], TASK)
    tiny_two_stacks("t5").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is an encoder-decoder model, and the unmodified model"):
        evaluate(wrapped(), [Tuned("t", tmp_path)], TASK)


def test_a_fork_keeps_all_that_is_known_of_a_block(model):
    names = {id(module): name for name, module in model.hf.named_modules()}
    tuned = fork(model, (3,))
    for before, after in zip(model.blocks, tuned.blocks, strict=True):
        for part in ("whole", "attn", "ffn", "cross_attn"):
            path = names[id(getattr(before, part))]
            assert getattr(after, part) is tuned.hf.get_submodule(path)
    flat = wrapped("opt")
    names = {id(module): name for name, module in flat.hf.named_modules()}
    tuned = fork(flat, (3,))
    for before, after in zip(flat.blocks, tuned.blocks, strict=True):
        assert after.flat == {tuned.hf.get_submodule(names[id(each)]) for each in before.flat}
