"""METHODS 3.2: against NumPy and matrices, against finite differences, against two whole models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosslatent.core.specs import FINAL
from crosslatent.lens.training.fork import fork, parameters_of
from crosslatent.lens.training.frozen_cache import compute_frozen_cache
from crosslatent.lens.training.lens_objective import LensObjective, projections, retain
from crosslatent.lens.training.parallel_rows import encode_rows
from crosslatent.lens.training.trained_blocks import Cut, TrainedBlocks, last_token, token_mean
from support.training import made_up_space, parallel, plain_terms, tiny

STRENGTH = {"sw": 1.5, "hi": -0.5}
WEIGHTS = {"align": 0.7, "separate": 1.3, "retain": 2.0}


def double(family="llama"):
    model = tiny(family)
    model.hf.double()
    return model


def spaces_of(space, layers=(FINAL,), langs=("sw", "hi")):
    return projections(space, layers, langs, STRENGTH.__getitem__, dtype=torch.float64)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(1)
    return [rng.normal(size=(5, 32)) for _ in range(3)]


def test_losses_equal_numpy_with_projection_matrices(values):
    space = made_up_space(tiny(), rank=1)
    central, target, reference = values
    sub = space.final
    unit = sub.agnostic / np.linalg.norm(sub.agnostic)
    p_a, p_s = np.outer(unit, unit), sub.specific @ sub.specific.T
    expected_align = (((central - target) @ p_a) ** 2).mean(1).sum()
    moved = (target - reference) @ p_s - 1.5 * sub.direction("sw")
    one = spaces_of(space)[FINAL]
    tensors = [torch.tensor(value) for value in values]
    assert float(one.align(tensors[0], tensors[1])) == pytest.approx(expected_align, rel=1e-12)
    found = float(one.separate(tensors[1], tensors[2], "sw"))
    assert found == pytest.approx((moved**2).mean(1).sum(), rel=1e-12)
    expected = ((central - reference) ** 2).mean(1).sum()
    assert float(retain(tensors[0], tensors[2])) == pytest.approx(expected, rel=1e-12)


def test_gradients_of_the_losses_equal_finite_differences(values):
    one = spaces_of(made_up_space(tiny()))[FINAL]
    central, target, reference = (torch.tensor(v, requires_grad=True) for v in values)
    fixed = reference.detach()
    assert torch.autograd.gradcheck(one.align, (central, target))
    assert torch.autograd.gradcheck(lambda h: one.separate(h, fixed, "hi"), (target,))
    assert torch.autograd.gradcheck(lambda h: retain(h, fixed), (central,))


def test_pooling_leaves_out_the_padding_whatever_stands_there():
    states = torch.arange(24, dtype=torch.float64).reshape(2, 4, 3)
    lengths = torch.tensor([4, 2])
    states[1, 2:] = torch.nan
    assert last_token(states, lengths)[1].tolist() == [15, 16, 17]
    assert token_mean(states, lengths)[1].tolist() == [13.5, 14.5, 15.5]
    assert token_mean(states, lengths)[0].tolist() == states[0].mean(0).tolist()


def test_token_mean_of_half_precision_is_summed_in_float32():
    states = torch.ones(1, 4000, 2, dtype=torch.bfloat16)
    found = token_mean(states, torch.tensor([4000]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, 1.0]]


class Case:
    """An objective on a fork whose blocks have moved, and everything to compute it plainly."""

    def __init__(self, tmp_path, family, blocks, layers, rows):
        self.reference = double(family)
        self.space = made_up_space(self.reference)
        self.layers = layers
        self.tuned = fork(self.reference, blocks)
        self.parameters = parameters_of(self.tuned, blocks)
        found = encode_rows(
            self.reference, rows, central="en", languages=("sw", "hi"), chat=False, max_tokens=64
        )
        self.rows = found.rows
        cut = Cut(blocks[0], layers, "float32")
        trunks = {
            lang: compute_frozen_cache(self.tuned, found.texts(lang, "en"), cut, tmp_path)
            for lang in ("en", "sw", "hi")
        }
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for weight in self.parameters.values():
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight += 0.05 * noise
        self.top = TrainedBlocks(self.tuned, cut, trunks)
        spaces = spaces_of(self.space, layers)
        self.objective = LensObjective(self.top, self.rows, "en", spaces, WEIGHTS)

    def loss(self):
        numbers = range(len(self.rows))
        terms = self.objective.terms(numbers, self.objective.sizes(numbers))
        return terms, self.objective.loss(terms)

    def plain(self):
        texts = [{"en": row.central, **row.targets} for row in self.rows]
        terms = plain_terms(self.tuned, self.reference, self.space, texts, self.layers, STRENGTH)
        return terms, sum(WEIGHTS[name] * term for name, term in terms.items())


def uneven_rows():
    rows = parallel(6)
    del rows[1]["hi"], rows[4]["sw"]
    return rows


@pytest.mark.parametrize(
    ("family", "blocks", "layers"),
    [
        ("gpt_neox", (2, 3), (FINAL,)),
        ("gpt_neox", (1, 3), (1, 2, FINAL)),
        ("llama", (2, 3), (FINAL,)),
        ("gemma3_text", (3,), (3, FINAL)),
        ("falcon", (2, 3), (FINAL,)),
        ("gpt_neox", (0, 1), (1, FINAL)),
    ],
)
def test_terms_and_gradients_equal_two_whole_models(tmp_path, family, blocks, layers):
    # Norms of the other families compute in float32, whatever comes in.
    exact = 1e-9 if family == "gpt_neox" else 1e-5
    case = Case(tmp_path, family, blocks, layers, uneven_rows())
    with case.top.standing_in():
        terms, loss = case.loss()
        loss.backward()
    found = {name: weight.grad.clone() for name, weight in case.parameters.items()}
    for weight in case.parameters.values():
        weight.grad = None
    expected, plain = case.plain()
    plain.backward()
    for name, term in expected.items():
        assert term > 1e-6
        torch.testing.assert_close(terms[name], term, rtol=exact, atol=0)
    for name, weight in case.parameters.items():
        assert weight.grad.abs().max() > 0, name
        torch.testing.assert_close(found[name], weight.grad, rtol=exact, atol=exact)


def test_parameter_gradients_equal_finite_differences_of_the_plain_loss(tmp_path):
    case = Case(tmp_path, "gpt_neox", (2, 3), (FINAL,), parallel(2))
    with case.top.standing_in():
        _, loss = case.loss()
        loss.backward()
    step = 1e-6
    for name, weight in list(case.parameters.items())[::4]:
        place = int(weight.grad.abs().argmax())
        with torch.no_grad():
            flat = weight.view(-1)
            flat[place] += step
            above = float(case.plain()[1])
            flat[place] -= 2 * step
            below = float(case.plain()[1])
            flat[place] += step
        slope = (above - below) / (2 * step)
        assert float(weight.grad.view(-1)[place]) == pytest.approx(slope, rel=1e-5), name


def test_contributions_of_parts_add_up(tmp_path):
    case = Case(tmp_path, "llama", (3,), (3, FINAL), uneven_rows())
    numbers = range(len(case.rows))
    sizes = case.objective.sizes(numbers)
    assert sizes == {"en": 6.0, "sw": 5.0, "hi": 5.0}
    with case.top.standing_in(), torch.no_grad():
        whole = case.objective.terms(numbers, sizes)
        parts = [case.objective.terms(part, sizes) for part in ([5, 0], [1], [3, 2, 4])]
    for name, term in whole.items():
        assert float(sum(part[name] for part in parts)) == pytest.approx(float(term), rel=1e-9)


def test_an_untouched_model_retains_and_has_the_whole_way_to_go(tmp_path):
    case = Case(tmp_path, "llama", (2, 3), (FINAL,), parallel(4))
    with torch.no_grad():
        own = dict(case.reference.hf.named_parameters())
        for name, weight in case.parameters.items():
            weight.copy_(own[name])
    with case.top.standing_in(), torch.no_grad():
        terms, _ = case.loss()
    assert float(terms["retain"]) < 1e-20
    shifts = [STRENGTH[lang] * case.space.final.direction(lang) for lang in ("sw", "hi")]
    expected = sum(float((shift**2).mean()) for shift in shifts)
    assert float(terms["separate"]) == pytest.approx(expected, rel=1e-9)
