"""How the recipe puts documents together; one step at most is trained here."""

import pytest
import torch

from recipes.demo_model.documents import Mix
from recipes.demo_model.tokenizer import CONTEXT, OPTIONS
from recipes.demo_model.train import Batch, Recipe, Run, learning_rate
from recipes.demo_model.world import codes


@pytest.fixture(scope="module")
def run():
    recipe = Recipe(hidden=24, ffn=32, layers=4, heads=2, far=(2,), mix=Mix(documents=2000))
    return Run.of(recipe)


def test_each_option_and_code_is_one_token_with_and_without_a_space(run):
    for option in (*OPTIONS, *codes()):
        (alone,) = run.tokenizer(option)["input_ids"]
        assert run.tokenizer(f"Answer: {option}")["input_ids"][-1] == alone
        assert run.tokenizer(f"Answer:{option}")["input_ids"][-1] == alone
        assert run.tokenizer.decode([alone], skip_special_tokens=True).strip() == option


def test_a_document_in_a_line_is_read_as_if_it_stood_alone(run):
    width, pad = CONTEXT, run.tokenizer.pad_token_id
    batch = Batch.of(run.lines[:2], width, pad)
    first, second = run.lines[0][:2]
    start, end = len(first), len(first) + len(second)
    model = run.model.eval()
    with torch.no_grad():
        packed = model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.masks(run.recipe.window),
        ).last_hidden_state
        alone = model.model(input_ids=torch.tensor([second])).last_hidden_state
    torch.testing.assert_close(packed[0, start:end], alone[0], rtol=1e-4, atol=1e-4)


def test_lower_blocks_look_back_one_token_each(run):
    """What the last token's state after a block depends on: one token more for each block."""
    model = run.model.eval()
    ids = torch.tensor([max(run.lines[0], key=len)])
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    states = model.model(inputs_embeds=embedded, output_hidden_states=True).hidden_states
    reach = []
    for state in states[1:]:
        (slope,) = torch.autograd.grad(state[0, -1].square().sum(), embedded, retain_graph=True)
        near = slope[0].abs().amax(-1).nonzero().min()
        reach.append(ids.shape[1] - 1 - int(near))
    assert reach[:2] == [1, 2]
    assert reach[2:] == [ids.shape[1] - 1] * 2


def test_no_token_is_predicted_across_documents(run):
    batch = Batch.of(run.lines[:4], CONTEXT, run.tokenizer.pad_token_id)
    assert not batch.counts[batch.positions == 0].any()
    assert batch.counts.any()


def test_steps_lower_the_loss(run):
    losses = [run.step(number) for number in range(15)]
    assert losses[0] == pytest.approx(8.3, abs=0.5)
    assert losses[-1] < losses[0] - 0.05


def test_learning_rate_rises_and_falls():
    recipe = Recipe()
    rates = [learning_rate(recipe, step, recipe.steps) for step in range(recipe.steps)]
    assert max(rates) == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert rates[0] < rates[recipe.warmup // 2] < rates[recipe.warmup]
    assert rates[-1] < 0.1 * recipe.learning_rate
