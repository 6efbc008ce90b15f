"""Translations of many segments: from the cache, else from the translator, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from crosslatent.core.errors import CrosslatentError
from crosslatent.translate import segments
from crosslatent.translate.cache import TranslationCache
from crosslatent.translate.translator import Translator

Progress = Callable[[int, int], None]
"""Called with the number of segments that are done, and their total."""

_AT_ONCE = 512
"""Segments in one call of the translator; what a call gave is kept before the next one."""


@dataclass(slots=True)
class Lookup:
    """Translates segments of one pair of languages.

    Attributes:
        translator: asked for what the cache does not hold.
        source: language of the segments.
        target: language of the translations.
        cache: None for no cache.
        progress: called after every call of the translator.
        made: segments that the translator has translated.
        cached: segments that the cache held.
        errors: what the translator said, by segment that it failed at.
    """

    translator: Translator
    source: str
    target: str
    cache: TranslationCache | None = None
    progress: Progress | None = None
    made: int = 0
    cached: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    """Translations as they came, by segment."""
    _whole: dict[str, str] = field(default_factory=dict)
    """Translations that have every placeholder of their segment, by segment."""

    def prepare(self, texts: Iterable[str]) -> None:
        """Translate segments, so that `translation` has them.

        Those whose translation lost, doubled or changed a placeholder are cut at their
        placeholders, and the parts translated by themselves.

        Raises:
            RunFolderError: the cache cannot be used.
        """
        wanted = list(dict.fromkeys(texts))
        self._fetch(wanted)
        broken = {}
        for text in wanted:
            tidy = segments.tidy(self._known.get(text, ""))
            if segments.kept(text, tidy):
                self._whole[text] = tidy
            elif segments.placeholders(text):
                broken[text] = segments.cut_placeholders(text)
        parts = [piece.text for cut in broken.values() for piece in cut if piece.translated]
        self._fetch(list(dict.fromkeys(parts)))
        for text, cut in broken.items():
            self._whole[text] = segments.join(cut, self._part)
            for piece in cut:
                if piece.text in self.errors:
                    self.errors[text] = self.errors[piece.text]

    def translation(self, text: str) -> str:
        """The translation of a segment, as one line; empty if there is none."""
        return self._whole.get(text, "")

    def _part(self, text: str) -> str:
        """The translation of a part without placeholders; empty if it brings one of its own."""
        tidy = segments.tidy(self._known.get(text, ""))
        return tidy if segments.kept(text, tidy) else ""

    def _fetch(self, texts: list[str]) -> None:
        missing = [text for text in texts if text not in self._known]
        if self.cache and missing:
            identity = self.translator.identity
            found = self.cache.get_many(identity, self.source, self.target, missing)
            self._known |= found
            self.cached += len(found)
            missing = [text for text in missing if text not in found]
        for start in range(0, len(missing), _AT_ONCE):
            self._ask(missing[start : start + _AT_ONCE])
            if self.progress:
                self.progress(min(start + _AT_ONCE, len(missing)), len(missing))

    def _ask(self, texts: list[str]) -> None:
        """Ask the translator; an error of its own leaves only these texts without translation."""
        try:
            answers = self.translator.translate(texts, self.source, self.target)
        except CrosslatentError as error:
            self.errors |= dict.fromkeys(texts, str(error))
            return
        found = {
            text: answer for text, answer in zip(texts, answers, strict=True) if answer.strip()
        }
        self._known |= found
        self.made += len(found)
        if self.cache:
            identity = self.translator.identity
            self.cache.put_many(identity, self.source, self.target, found)
