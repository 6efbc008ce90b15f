"""What the methods that make their own English counterpart share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crosslatent.methods.method import Bench, Way
from crosslatent.methods.prompting import counterpart
from crosslatent.tasks import Item
from crosslatent.translate import OwnTranslator, add_counterparts

if TYPE_CHECKING:
    from crosslatent.translate import Translator


class Translations:
    """Counterparts by translation, each question's once.

    Attributes:
        made: id of a question -> the question with its counterpart.
        tokens: of texts through the model for it, if the model translates itself.
    """

    def __init__(self, bench: Bench, translator: Translator) -> None:
        """Nothing is translated yet."""
        self._bench, self._translator = bench, translator
        self.made: dict[str, Item] = {}
        self._own = isinstance(translator, OwnTranslator)

    def prepare(self, items: Sequence[Item]) -> Mapping[str, str]:
        """Translate what is not translated yet; why some questions could not be."""
        missing = [replace(item, aux="") for item in items if item.id not in self.made]
        found = add_counterparts(missing, self._translator)
        self.made |= {item.id: item for item in found.items}
        return found.failures

    def text(self, item: Item) -> str:
        """The counterpart that was made."""
        return self.made[item.id].aux

    def tokens(self, item: Item) -> int:
        """Tokens through the model to make a counterpart: text read and text written."""
        if not self._own:
            return 0
        read, written = self._bench.ids([item.main, self.text(item)])
        return len(read) + len(written)


class TranslateTestWay(Way):
    """The question's translation in its place."""

    def __init__(self, translations: Translations) -> None:
        """Take what translates."""
        self._translations = translations

    def prepare(self, items: Sequence[Item], /) -> Mapping[str, str]:
        """Translate them."""
        return self._translations.prepare(items)

    def asked(self, item: Item, /) -> Item:
        """The translation, judged as the given counterpart is."""
        return counterpart(item, self._translations.text(item))

    def extra_tokens(self, item: Item, /) -> int:
        """Those of the translation."""
        return self._translations.tokens(item)


def own_or_given(bench: Bench) -> Translator:
    """The translator that was given, else the model itself.

    Raises:
        ModelError: there is none, and the model cannot be asked.
    """
    return bench.translator or OwnTranslator(bench.model, chat=bench.chat)
