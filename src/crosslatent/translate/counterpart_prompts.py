"""Counterpart prompts: items without aux prompt get one by translation of their main prompt."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crosslatent.core.errors import CrosslatentError, TaskError
from crosslatent.core.languages import ENGLISH, UNKNOWN, identify, name_of, same_language
from crosslatent.runs.files import whole_file
from crosslatent.tasks import Item, Task
from crosslatent.translate import segments
from crosslatent.translate.translations import TranslationCache, Translator

_SHOWN = 60
"""Characters of a segment that a message shows."""


@dataclass(frozen=True, slots=True)
class TranslatedItems:
    """Items with their counterparts.

    Attributes:
        items: in their order, those that failed left out.
        failures: id of an item -> one sentence that says why it has no counterpart.
        made: segments that were translated.
        cached: segments whose translation was in the cache.
    """

    items: tuple[Item, ...]
    failures: dict[str, str]
    made: int
    cached: int


def add_counterparts(
    items: Sequence[Item],
    translator: Translator,
    *,
    aux_lang: str | None = None,
    cache: TranslationCache | None = None,
    progress: Progress | None = None,
) -> TranslatedItems:
    """Give every item whose aux prompt is empty one, by translation of its main prompt.

    Prompts are translated in segments (see `segments`), every segment of a pair of languages once.
    A segment that cannot be translated costs the items that hold it, and no others.

    Args:
        items: those that have an aux prompt stay as they are.
        translator: what translates.
        aux_lang: language of counterparts, for items that do not name it; "en" if None.
        cache: translations of earlier runs; None for none.
        progress: called with the number of uncached segments that are done, and their total.

    Raises:
        RunFolderError: the cache cannot be used.
    """
    failures: dict[str, str] = {}
    pairs: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        if not item.aux.strip():
            source, target, problem = _languages(item, aux_lang or ENGLISH)
            if problem:
                failures[item.id] = problem
            else:
                pairs[source, target].append(item)
    done: dict[str, Item] = {}
    lookups = []
    for (source, target), group in pairs.items():
        lookup = Lookup(translator, source, target, cache, progress)
        lookups.append(lookup)
        made, failed = _translate(group, lookup)
        done |= made
        failures |= failed
    return TranslatedItems(
        items=tuple(done.get(item.id, item) for item in items if item.id not in failures),
        failures={item.id: failures[item.id] for item in items if item.id in failures},
        made=sum(lookup.made for lookup in lookups),
        cached=sum(lookup.cached for lookup in lookups),
    )


def all_translated(items: Sequence[Item], translator: Translator) -> tuple[Item, ...]:
    """`add_counterparts` where no item may be left out.

    Raises:
        TaskError: an item has no counterpart, and none can be made.
    """
    made = add_counterparts(items, translator)
    for reason in made.failures.values():
        raise TaskError(f"{len(made.failures)} questions cannot be translated; the first: {reason}")
    return made.items


def parallel_line(item: Item) -> dict[str, Any]:
    """An item as one line of a prompts file: the fields that are set, as plain data."""
    fields = item.to_dict()
    if item.cluster == item.id:
        del fields["cluster"]  # what it would be anyway
    for name in ("lang", "aux_lang"):
        if fields[name] == UNKNOWN:
            del fields[name]
    return {name: value for name, value in fields.items() if value not in (None, "", {}, [])}


def write_parallel(items: Iterable[Item], path: str | Path) -> None:
    """Write items as JSON Lines that `--prompts` reads again, whole or not at all.

    Raises:
        RunFolderError: the file cannot be written.
    """
    _write(
        Path(path), [json.dumps(parallel_line(item), ensure_ascii=False) + "\n" for item in items]
    )


def _write(path: Path, lines: Sequence[str]) -> None:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(lines)


def write_task(task: Task, items: Path) -> Path:
    """Write a task's file beside its items, so that they are judged as they were.

    Args:
        task: the task that the items are of.
        items: their file; the task's has the same name and ends in ``.yaml``.

    Returns:
        The task's file.

    Raises:
        RunFolderError: the file cannot be written.
    """
    fields = {
        "name": task.name,
        "title": task.title,
        "direction": task.direction,
        "type": task.type,
        "rule": task.rule,
        "metric": task.metric,
        "max_new_tokens": task.max_new_tokens,
        "items": items.name,
    }
    path = items.with_suffix(".yaml")
    # Every JSON value is YAML, and JSON's quotes keep every name a text.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()]
    _write(path, lines)
    return path


def _languages(item: Item, default: str) -> tuple[str, str, str]:
    """Source and target language of an item, and what is wrong with them."""
    target = default if item.aux_lang == UNKNOWN else item.aux_lang
    source = identify(item.main) if item.lang == UNKNOWN else item.lang
    problem = ""
    if source is None:
        problem = (
            f"The language of item {item.id!r} is not known, and its text {_shown(item.main)} "
            "does not tell it: give lang."
        )
    elif same_language(source, target):
        problem = (
            f"Item {item.id!r} is in {name_of(source)} ({source}), and its counterpart would be "
            f"as well ({target}): give another aux_lang."
        )
    return source or UNKNOWN, target, problem


def _translate(items: Sequence[Item], lookup: Lookup) -> tuple[dict[str, Item], dict[str, str]]:
    """Items of one pair of languages with their counterparts, and what failed, by id."""
    pieces = {item.id: segments.cut(item.main) for item in items}
    lookup.prepare(piece.text for cut in pieces.values() for piece in cut if piece.translated)
    made, failed = {}, {}
    for item in items:
        aux = segments.join(pieces[item.id], lookup.translation)
        if aux and any(piece.translated for piece in pieces[item.id]):
            made[item.id] = replace(item, aux=aux, lang=lookup.source, aux_lang=lookup.target)
        else:
            failed[item.id] = _why(item, pieces[item.id], lookup)
    return made, failed


def _why(item: Item, pieces: Sequence[segments.Piece], lookup: Lookup) -> str:
    texts = [piece.text for piece in pieces if piece.translated]
    if not texts:
        return f"The main prompt of item {item.id!r} has no text to translate: give its aux prompt."
    text = next(text for text in texts if not lookup.translation(text))
    if text in lookup.errors:
        return f"Item {item.id!r} has no counterpart: {lookup.errors[text]}"
    return (
        f"{lookup.translator.name} gave no usable translation of {_shown(text)} of item "
        f"{item.id!r} from {name_of(lookup.source)} to {name_of(lookup.target)}: give its aux "
        "prompt, or use another translator."
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


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
