"""Shapes in annotations are checked in the tests, and not in use."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from crosslatent.core.specs import Site
from crosslatent.core.subspace import Subspace, fit_means
from crosslatent.engine.decoding import log_probabilities, logsumexp
from crosslatent.engine.prefix_layout import select
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.rewrites import Window
from crosslatent.lens.state_statistics import nearest
from support.shapes import ShapeError

LOGITS = torch.zeros(2, 5)
FLAT = np.zeros(7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: logsumexp(LOGITS[0]), "logsumexp, logits"),
        (lambda: logsumexp(logits=LOGITS.long()), "logsumexp, logits"),
        (lambda: log_probabilities(LOGITS, [1], torch.zeros(3)), "log_probabilities, mass"),
        (lambda: select(LOGITS, torch.zeros(1)), "select, rows"),
        (lambda: Window(torch.zeros(2, 2).long()), "__init__, last"),
        (
            lambda: Transplant(Site("ffn", 0), torch.zeros(2, 2, 5)).vector_at(0),
            "vector_at, return",
        ),
        (lambda: Subspace((), "", FLAT, FLAT, FLAT, FLAT), "__init__, means"),
        (lambda: nearest(np.zeros((3, 4)), np.zeros((2, 5))), "nearest, means"),
    ],
)
def test_a_wrong_shape_is_refused(call, words):
    for _ in range(2):
        with pytest.raises(ShapeError, match=words):
            call()


def test_right_shapes_pass_more_than_once():
    for rows in (2, 3, 2):
        assert logsumexp(torch.zeros(rows, 5)).shape == (rows,)
    space = fit_means({"en": FLAT + 1, "de": np.arange(7.0)}, central="en")
    assert space.explained.shape == (1,)
    assert "Share of the variance" in Subspace.explained.__doc__


def test_in_use_nothing_is_checked():
    program = (
        "import sys, numpy as np; from crosslatent.core.subspace import Subspace; "
        "Subspace((), '', *[np.zeros(7)] * 4); print('beartype' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
