"""`Translator`, the interface for translating text, and the file that keeps what it gave."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from crosslatent.core.errors import RunFolderError

BUDGET = (3, 16)
"""New tokens for a text of n tokens: 3 n + 16, since tokenizers cut some languages much finer."""


def new_tokens(tokens: int) -> int:
    """How many tokens a translation of a text may take."""
    factor, more = BUDGET
    return factor * tokens + more


class Translator(Protocol):
    """Translates texts without line breaks, option marks or closing colons (see `segments`).

    Attributes:
        name: for people.
        identity: plain data that decides what comes out, such as model and settings: two
            translators of the same identity share what the cache holds.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that decides what comes out."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate texts between two languages (ISO 639 codes or BCP 47 tags).

        Returns:
            One translation a text, in their order; empty for a text that could not be translated.

        Raises:
            CrosslatentError: nothing can be translated, for example because the translator does
                not know one of the languages.
        """
        ...


_WAIT_SECONDS = 60.0
"""How long to wait for another process that is writing."""
_AT_ONCE = 500
"""Keys in one query; SQLite takes 999 at least."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS translations "
    "(key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
)


def default_path() -> Path:
    """`$XDG_CACHE_HOME` or `~/.cache`, then `crosslatent/translations.sqlite`."""
    # A relative path in there is to be ignored, says the XDG specification.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "crosslatent" / "translations.sqlite"


class TranslationCache:
    """Translations by what decides them: translator, languages and text.

    A connection is opened for each call, so that a cache may be used from several threads and
    survives a fork.

    Args:
        path: the file, made if it does not exist; None for `default_path`.

    Raises:
        RunFolderError: the file cannot be read or written, or is no such cache.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = default_path() if path is None else Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._open() as connection:
            # Readers do not wait for a writer then; the setting stays with the file.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_TABLE)

    def get_many(
        self, identity: Mapping[str, Any], source: str, target: str, texts: Sequence[str]
    ) -> dict[str, str]:
        """The translations that are known, by text; `identity` is that of the translator.

        Raises:
            RunFolderError: the file cannot be read.
        """
        keys = {_key(identity, source, target, text): text for text in texts}
        found: dict[str, str] = {}
        wanted = list(keys)
        with self._open() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, text FROM translations WHERE key IN ({marks})"
                found |= {keys[key]: text for key, text in connection.execute(query, some)}
        return found

    def put_many(
        self, identity: Mapping[str, Any], source: str, target: str, translations: Mapping[str, str]
    ) -> None:
        """Keep translations, by text; empty ones are failures, and left out.

        Raises:
            RunFolderError: the file cannot be written.
        """
        rows = [
            (_key(identity, source, target, text), translation)
            for text, translation in translations.items()
            if translation.strip()
        ]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO translations VALUES (?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection; what was written is kept if nothing is raised."""
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS)
            with closing(connection), connection:
                yield connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> RunFolderError:
        return RunFolderError(
            f"The translation cache {str(self.path)!r} cannot be used ({error}): delete the file "
            "if it is damaged, or name one in a folder that can be written."
        )


def _key(identity: Mapping[str, Any], source: str, target: str, text: str) -> str:
    content = json.dumps([identity, source, target, text], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
