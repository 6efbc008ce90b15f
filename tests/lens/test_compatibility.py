"""Whether a space goes with a model: weights are told apart in other types of numbers too."""

from __future__ import annotations

import pytest
import torch

import crosslatent as xl
from crosslatent.core.errors import SpaceError
from crosslatent.lens.compatibility import check_origin
from support.models import tiny_model

TEXTS = {"en": ["a house", "a tree", "water"], "sw": ["nyumba", "mti mmoja", "maji"]}


def model(dtype: torch.dtype = torch.float32, seed: int = 0) -> xl.Model:
    hf, tokenizer = tiny_model("llama", seed)
    return xl.wrap(hf.to(dtype), tokenizer)


def test_the_same_weights_go_with_their_space_in_any_type() -> None:
    space = xl.lens.probe(model(), TEXTS)
    check_origin(model(), space)
    check_origin(model(torch.bfloat16), space)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_weights_of_the_same_shape_are_refused(dtype: torch.dtype) -> None:
    space = xl.lens.probe(model(), TEXTS)
    with pytest.raises(SpaceError, match="another weights"):
        check_origin(model(dtype, seed=1), space)
