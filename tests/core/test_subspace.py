"""Language subspaces of one layer, against formulas written down a second time and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crosslatent as xl
from crosslatent.core.errors import SpaceError
from crosslatent.core.subspace import Floats, Subspace, fit_means, fit_subspaces

LANGUAGES = ("en", "sw", "hi", "ja", "bn")


def states(seed: int = 0, d: int = 24, languages: tuple[str, ...] = LANGUAGES) -> dict[str, Floats]:
    """Samples around a common point and one of the language's own, of unequal numbers."""
    draw = np.random.default_rng(seed)
    common = draw.normal(size=d) * 3
    return {
        lang: common + draw.normal(size=d) + draw.normal(size=(7 + 3 * place, d))
        for place, lang in enumerate(languages)
    }


def by_formula(data: dict[str, Floats], rank: int) -> tuple[Floats, Floats]:
    """METHODS 3.1 word for word: M_a, and P_s = M_s M_s^T."""
    means = np.stack([values.mean(0) for values in data.values()], axis=1)
    ones = np.ones((means.shape[1], 1))
    centre = means @ ones / len(ones)
    u, s, vt = np.linalg.svd(means - centre @ ones.T, full_matrices=False)
    lowered = centre @ ones.T + u[:, :rank] @ np.diag(s[:rank]) @ vt[:rank]
    spread = np.linalg.pinv(lowered, rcond=1e-10).T @ ones
    agnostic = spread / np.linalg.norm(spread) ** 2
    basis = np.linalg.svd(lowered - agnostic @ ones.T, full_matrices=False)[0][:, :rank]
    return agnostic[:, 0], basis @ basis.T


def projector(fit: Subspace) -> Floats:
    return np.asarray(fit.specific @ fit.specific.T)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, None])
def test_equals_the_formulas_written_down_again(rank: int | None) -> None:
    data = states()
    fit = xl.lens.fit_subspaces(data, central="en", rank=rank)
    agnostic, specific = by_formula(data, rank or 4)
    np.testing.assert_allclose(fit.agnostic, agnostic, atol=1e-10)
    np.testing.assert_allclose(projector(fit), specific, atol=1e-10)
    for lang in LANGUAGES:
        expected = (specific @ data[lang].T).mean(1) - (specific @ data["en"].T).mean(1)
        np.testing.assert_allclose(fit.direction(lang), expected, atol=1e-10)
    assert fit.rank == (rank or 4)
    assert not fit.direction("en").any()


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 7), d=st.integers(8, 40), data=st.data())
def test_agnostic_is_orthogonal_to_specific(seed: int, n: int, d: int, data: st.DataObject) -> None:
    languages = tuple(f"l{place}" for place in range(n))
    rank = data.draw(st.integers(1, n - 1))
    fit = fit_subspaces(states(seed, d, languages), central="l0", rank=rank)
    scale = np.linalg.norm(fit.agnostic)
    assert np.abs(fit.specific.T @ fit.agnostic).max() < 1e-8 * scale
    np.testing.assert_allclose(fit.specific.T @ fit.specific, np.eye(rank), atol=1e-10)


def test_at_full_rank_the_parts_sum_up_to_the_means() -> None:
    fit = fit_subspaces(states(), central="en")
    parts = fit.agnostic_part(fit.means) + fit.specific_part(fit.means)
    np.testing.assert_allclose(parts, fit.means, atol=1e-9)
    # Along the agnostic direction all languages are alike: that part of every mean is M_a itself.
    np.testing.assert_allclose(
        fit.agnostic_part(fit.means), np.tile(fit.agnostic, (5, 1)), atol=1e-9
    )


def test_at_full_rank_a_direction_is_the_difference_of_means() -> None:
    fit = fit_subspaces(states(), central="sw")
    for lang in LANGUAGES:
        np.testing.assert_allclose(fit.direction(lang), fit.mean(lang) - fit.mean("sw"), atol=1e-9)


def test_a_lower_rank_keeps_the_largest_differences() -> None:
    means = {"en": [10.0, 0, 0, 1], "sw": [10.0, 5, 0, 1], "hi": [10.0, 0, 0.1, 1]}
    fit = fit_means(means, central="en", rank=1)
    assert abs(fit.specific[1, 0]) > 0.99
    assert fit.explained[0] > 0.99
    assert fit.explained.sum() == pytest.approx(1)


def test_neither_the_order_of_samples_nor_that_of_languages_matters() -> None:
    data = states()
    draw = np.random.default_rng(1)
    shuffled = {lang: draw.permutation(data[lang]) for lang in reversed(LANGUAGES)}
    first, second = (fit_subspaces(each, central="en") for each in (data, shuffled))
    np.testing.assert_allclose(first.agnostic, second.agnostic, atol=1e-9)
    np.testing.assert_allclose(projector(first), projector(second), atol=1e-9)
    np.testing.assert_allclose(first.direction("hi"), second.direction("hi"), atol=1e-9)


def test_parts_of_many_states_at_once() -> None:
    fit = fit_subspaces(states(), central="en", rank=2)
    block = np.random.default_rng(3).normal(size=(2, 3, 24))
    unit = fit.agnostic / np.linalg.norm(fit.agnostic)
    np.testing.assert_allclose(fit.agnostic_part(block), block @ np.outer(unit, unit), atol=1e-12)
    np.testing.assert_allclose(fit.specific_part(block), block @ projector(fit), atol=1e-12)
    assert fit.coordinates(block).shape == (2, 3, 2)


def test_angles_between_languages() -> None:
    means = {"en": [9.0, 1, 0], "sw": [9.0, -1, 1], "hi": [9.0, -1, -1]}
    angles = fit_means(means, central="en").angles()
    assert np.allclose(angles, angles.T)
    assert np.allclose(np.diag(angles), 0)
    rays = np.array([[4 / 3, 0], [-2 / 3, 1], [-2 / 3, -1]])
    cosine = rays[0] @ rays[1] / np.linalg.norm(rays[0]) / np.linalg.norm(rays[1])
    assert angles[0, 1] == pytest.approx(np.degrees(np.arccos(cosine)))


def test_a_language_in_the_middle_of_all_has_no_angle() -> None:
    means = {"en": [9.0, 1, 0], "sw": [9.0, -1, 0], "hi": [9.0, 0, 0]}
    angles = fit_means(means, central="en", rank=1).angles()
    assert np.isnan(angles[2]).all()
    assert angles[0, 1] == pytest.approx(180)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"states": {"en": [[1.0, 2]]}}, "two languages or more"),
        ({"states": {}}, "there is none"),
        ({"central": "fr"}, "'fr' is not among the languages"),
        ({"rank": 5}, "The rank is 5, but 5 languages differ in at most 4"),
        ({"rank": 0}, "give 1 to 4"),
        ({"states": {"en": np.zeros((0, 4)), "sw": np.ones((3, 4))}}, "no state of language 'en'"),
        ({"states": {"en": np.ones((2, 4)), "sw": np.ones((3, 5))}}, "different widths"),
        ({"states": {"en": np.ones(4), "sw": np.ones((3, 4))}}, "samples by d_model"),
        ({"states": {"en": np.ones((2, 4)), "sw": np.full((3, 4), np.nan)}}, "'sw' is not finite"),
        ({"states": {"en": np.ones((2, 4)), "sw": np.ones((3, 4))}}, "span 0 dimensions"),
        ({"states": {"en": [[1.0, 2]], "sw": [[2.0, 4]]}}, "share no direction"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    given = {"states": states(), "central": "en", "rank": None} | arguments
    with pytest.raises(SpaceError, match=message):
        fit_subspaces(given["states"], central=given["central"], rank=given["rank"])  # type: ignore[arg-type]


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(SpaceError, match="no language 'fr'.*en, sw, hi, ja, bn"):
        fit_subspaces(states(), central="en").direction("fr")
