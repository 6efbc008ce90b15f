"""Paths and URLs: what they are taken for, and what is said of those that nothing serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from crosslatent.errors import RunFolderError
from crosslatent.store.places import is_local, names_in, place_of, reaching


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
    place = place_of(where)
    assert type(place) is type(Path())
    assert str(place) == path
    assert is_local(place)


def test_other_urls_keep_their_names():
    place = place_of("memory://runs/it's #1 [a]*?")
    assert not is_local(place)
    assert place.name == "it's #1 [a]*?"
    assert place_of(place) is place
    assert is_local(place_of(UPath("/tmp")))


@pytest.mark.parametrize("url", ["nonsense://a/b", "nonsense+s3://a"])
def test_urls_that_nothing_serves(url):
    with pytest.raises(RunFolderError, match=r"Protocol not known.*such as s3://bucket/run"):
        place_of(url)


def test_a_driver_that_is_missing_is_named(monkeypatch):
    import fsspec

    def missing(_):
        raise ImportError("Please install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(RunFolderError, match=r"a package is missing here \(Please install s3fs"):
        place_of("s3://bucket/run")


def test_a_place_that_cannot_be_reached_is_a_sentence():
    refused = pytest.raises(RunFolderError, match=r"Cannot reach 'x' \(Connection refused\)")
    with refused, reaching(Path("x")):
        raise ConnectionRefusedError(111, "Connection refused")


def test_nothing_is_in_a_folder_that_is_not_there(tmp_path):
    assert names_in(tmp_path / "none") == []
    assert names_in(place_of("memory://none/at/all")) == []
