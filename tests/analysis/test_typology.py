"""Typological distances from a features file of the form that URIEL+ has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from crosslatent.analysis import typology


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """English and Swahili over 200 features from two sources, and Wolof with next to none."""
    data = np.full((4, 200, 2), -1.0, dtype=np.float32)
    data[0, :, 0] = 1
    data[1, :100, 0] = 1
    data[1, 100:, 1] = 0
    data[2, :10, 0] = 1
    data[3, :, 1] = 1
    path = tmp_path / "database" / "original_uriel"
    path.mkdir(parents=True)
    np.savez(path / "features.npz", data=data, langs=np.array(["eng", "swh", "wol", "swa"]))
    monkeypatch.setattr(typology, "_folder", lambda: tmp_path)
    clear()
    yield
    clear()


def clear() -> None:
    typology.distance.cache_clear()
    typology._table.cache_clear()


@pytest.mark.usefixtures("features")
def test_distance_is_the_angle_over_features_known_of_both() -> None:
    # The member swh is taken, not the macrolanguage swa. cos = 100 / sqrt(200 * 100).
    assert typology.distance("en", "sw") == pytest.approx(2 * np.arccos(np.sqrt(0.5)) / np.pi)
    assert typology.distance("sw", "en-GB") == typology.distance("en", "sw")
    assert typology.distance("en", "en-GB") == 0


@pytest.mark.usefixtures("features")
@pytest.mark.parametrize("code", ["wo", "de", "xx", "und"])
def test_languages_that_are_little_known_have_no_distance(code: str) -> None:
    assert typology.distance("en", code) is None


def test_without_the_features_there_is_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typology, "_folder", lambda: None)
    clear()
    assert typology.distance("en", "sw") is None
    assert not typology.available()
    clear()


def test_distances_of_the_installed_features_are_those_of_uriel_plus() -> None:
    if not typology.available():
        pytest.skip("urielplus is not installed: the extra distances")
    clear()
    # From urielplus 1.3.2: URIELPlus().new_distance("featural", ["eng", ...]).
    for code, expected in {"sw": 0.5467, "zh": 0.5494, "de": 0.4033, "id": 0.4559}.items():
        assert typology.distance("en", code) == pytest.approx(expected, abs=5e-5)
