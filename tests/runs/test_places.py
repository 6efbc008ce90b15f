"""Paths and URLs: what they are taken for, and what is said of those that nothing serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from crosslatent.core.errors import RunFolderError
from crosslatent.runs.run_path import names_in, reaching, run_path


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("runs/a", "runs/a"),
        ("file:///runs/a%20b", "/runs/a b"),
        (Path("x"), "x"),
        ("C:/runs", "C:/runs"),
        ("s3:/no-url", "s3:/no-url"),
    ],
)
def test_what_is_on_this_machine_is_a_path(where, path):
    place = run_path(where)
    assert type(place) is type(Path())
    assert str(place) == path
    assert isinstance(place, Path)


def test_other_urls_keep_their_names():
    place = run_path("memory://runs/it's #1 [a]*?")
    assert not isinstance(place, Path)
    assert place.name == "it's #1 [a]*?"
    assert run_path(place) is place
    assert isinstance(run_path(UPath("/tmp")), Path)


@pytest.mark.parametrize("url", ["nonsense://a/b", "nonsense+s3://a"])
def test_urls_that_nothing_serves(url):
    with pytest.raises(RunFolderError, match=r"Protocol not known.*such as s3://bucket/run"):
        run_path(url)


def test_a_driver_that_is_missing_is_named(monkeypatch):
    import fsspec

    def missing(_):
        raise ImportError("Please install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(RunFolderError, match=r"a package is missing here \(Please install s3fs"):
        run_path("s3://bucket/run")


def test_a_place_that_cannot_be_reached_is_a_sentence():
    refused = pytest.raises(RunFolderError, match=r"Cannot reach 'x' \(Connection refused\)")
    with refused, reaching(Path("x")):
        raise ConnectionRefusedError(111, "Connection refused")


def test_nothing_is_in_a_folder_that_is_not_there(tmp_path):
    assert names_in(tmp_path / "none") == []
    assert names_in(run_path("memory://none/at/all")) == []
