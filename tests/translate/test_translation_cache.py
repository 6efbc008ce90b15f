from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from crosslatent.core.errors import RunFolderError
from crosslatent.translate import TranslationCache, default_path

ONE = {"model": "a", "decoding": "greedy"}


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.sqlite"
    TranslationCache(path).put_many(ONE, "sw", "en", {"jibu": "answer", "mto": "river"})
    found = TranslationCache(path).get_many(ONE, "sw", "en", ["jibu", "mto", "jiji"])
    assert found == {"jibu": "answer", "mto": "river"}


@pytest.mark.parametrize(
    ("identity", "source", "target", "text"),
    [
        ({"model": "b", "decoding": "greedy"}, "sw", "en", "jibu"),
        (ONE, "fr", "en", "jibu"),
        (ONE, "sw", "de", "jibu"),
        (ONE, "sw", "en", "jibu "),
    ],
)
def test_everything_that_decides_a_translation_counts(
    tmp_path: Path, identity: dict[str, str], source: str, target: str, text: str
) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    cache.put_many(ONE, "sw", "en", {"jibu": "answer"})
    assert cache.get_many(identity, source, target, [text]) == {}
    same = dict(reversed(ONE.items()))
    assert cache.get_many(same, "sw", "en", ["jibu"]) == {"jibu": "answer"}


def test_empty_translations_are_not_kept(tmp_path: Path) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    cache.put_many(ONE, "sw", "en", {"jibu": "", "mto": " \n"})
    assert cache.get_many(ONE, "sw", "en", ["jibu", "mto"]) == {}


def test_many_more_texts_than_one_query_takes(tmp_path: Path) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    texts = {f"neno {number}": f"word {number}" for number in range(2500)}
    cache.put_many(ONE, "sw", "en", texts)
    assert cache.get_many(ONE, "sw", "en", list(texts)) == texts


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "crosslatent" / "translations.sqlite"
    assert TranslationCache().path == default_path()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for no_absolute_path in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", no_absolute_path)
        assert default_path() == tmp_path / "home/.cache/crosslatent/translations.sqlite"


def test_a_file_that_is_no_cache_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_text("this is no database, but it is long enough to look like one " * 20)
    with pytest.raises(RunFolderError, match=r"cache\.sqlite.*not a database.*delete the file"):
        TranslationCache(path)


def test_a_file_that_is_damaged_later_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = TranslationCache(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(RunFolderError, match="cannot be used"):
        cache.get_many(ONE, "sw", "en", ["jibu"])
    with pytest.raises(RunFolderError, match="cannot be used"):
        cache.put_many(ONE, "sw", "en", {"jibu": "answer"})


@pytest.mark.parametrize("place", ["file/cache.sqlite", "folder"])
def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match="name one in a folder that can be written"):
        TranslationCache(tmp_path / place)


def test_nothing_is_kept_of_a_write_that_failed(tmp_path: Path) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    with pytest.raises(UnicodeEncodeError):
        cache.put_many(ONE, "sw", "en", {"jibu": "answer", "mto": "half a character \ud800"})
    assert cache.get_many(ONE, "sw", "en", ["jibu", "mto"]) == {}


def _write(path: Path, name: str) -> None:
    for number in range(30):
        cache = TranslationCache(path)
        cache.put_many({}, "sw", "en", {f"{name} {number}": "x", "both": name})


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    here = multiprocessing.get_context("fork")  # a fresh process would import torch again
    writers = [here.Process(target=_write, args=(path, name)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    texts = [f"{name} {number}" for name in ("a", "b", "c") for number in range(30)]
    found = TranslationCache(path).get_many({}, "sw", "en", [*texts, "both"])
    assert len(found) == 91
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
