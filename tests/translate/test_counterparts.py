from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from crosslatent.core.errors import ModelError, RunFolderError
from crosslatent.tasks import Item
from crosslatent.tasks.item import read_items
from crosslatent.translate import (
    TranslationCache,
    add_counterparts,
    parallel_line,
    write_parallel,
)
from crosslatent.translate.segments import cut, placeholders

SWAHILI = (
    "Jibu swali hili kwa neno moja tu tafadhali:\n(1) ndiyo kabisa\n(2) hapana kabisa\nJibu lako:"
)


class Upper:
    """Translates by writing in capitals."""

    name = "Upper"

    def __init__(self, change: Callable[[str], str] = str.upper, version: int = 1) -> None:
        self.change = change
        self.identity: dict[str, Any] = {"upper": version}
        self.calls: list[tuple[list[str], str, str]] = []

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        self.calls.append((list(texts), source, target))
        return [self.change(text) for text in texts]

    @property
    def asked(self) -> list[str]:
        return [text for texts, _, _ in self.calls for text in texts]


def _item(number: int, main: str = SWAHILI, lang: str = "sw", **fields: Any) -> Item:
    return Item(
        **({"id": f"q{number}", "lang": lang, "aux_lang": "und", "aux": ""} | fields), main=main
    )


def test_an_item_gets_a_counterpart_of_the_same_structure() -> None:
    item = _item(1, options=("(1)", "(2)"), answer="(1)", labels=("ndiyo", "hapana"), split="pilot")
    found = add_counterparts([item], Upper())
    (made,) = found.items
    assert made.aux == (
        "JIBU SWALI HILI KWA NENO MOJA TU TAFADHALI:\n"
        "(1) NDIYO KABISA\n(2) HAPANA KABISA\nJIBU LAKO:"
    )
    assert (made.lang, made.aux_lang, made.main) == ("sw", "en", SWAHILI)
    assert (made.options, made.answer, made.labels) == (("(1)", "(2)"), "(1)", ("ndiyo", "hapana"))
    assert (made.split, made.cluster, found.failures) == ("pilot", "q1", {})
    assert (found.made, found.cached) == (4, 0)


def test_items_that_have_a_counterpart_stay_as_they_are() -> None:
    translator = Upper()
    given = _item(1, aux="Answer:", aux_lang="en")
    found = add_counterparts([given, _item(2), given], translator)
    assert found.items[0] is given
    assert found.items[2] is given
    assert found.items[1].aux.startswith("JIBU")


@pytest.mark.parametrize(
    ("fields", "aux_lang", "pair"),
    [
        ({}, None, ("sw", "en")),
        ({}, "fr", ("sw", "fr")),
        ({"aux_lang": "de"}, "fr", ("sw", "de")),
        ({"lang": "und"}, None, ("sw", "en")),
    ],
)
def test_which_languages(
    fields: dict[str, str], aux_lang: str | None, pair: tuple[str, str]
) -> None:
    translator = Upper()
    (made,) = add_counterparts([_item(1, **fields)], translator, aux_lang=aux_lang).items
    assert [(source, target) for _, source, target in translator.calls] == [pair]
    assert (made.lang, made.aux_lang) == pair


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_item(1, lang="en"), r"'q1' is in English \(en\).*as well \(en\): give another aux_lang"),
        (_item(1, aux_lang="sw-KE"), r"'q1' is in Swahili \(sw\).*as well \(sw-KE\)"),
        (_item(1, "17 + 4 =", lang="und"), r"language of item 'q1' is not known.*give lang"),
        (_item(1, "17 + 4 =", lang="sw"), r"'q1' has no text to translate"),
    ],
)
def test_an_item_that_cannot_have_one_is_left_out_alone(bad: Item, reason: str) -> None:
    found = add_counterparts([bad, _item(2)], Upper())
    assert [item.id for item in found.items] == ["q2"]
    assert list(found.failures) == ["q1"]
    assert re.search(reason, found.failures["q1"])


def test_every_segment_is_translated_once_in_one_call_a_pair() -> None:
    translator = Upper()
    french = _item(3, "Quelle est la réponse ?\nRéponse :", lang="fr")
    add_counterparts([_item(1), french, _item(2)], translator)
    assert len(translator.calls) == 2
    assert len(translator.asked) == len(set(translator.asked)) == 6
    assert not any("\n" in text or text.endswith(":") for text in translator.asked)


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    first = add_counterparts([_item(1)], Upper(), cache=cache)
    translator = Upper()
    more = _item(2, "Jibu lako:\nmpya kabisa")
    second = add_counterparts([_item(1), more], translator, cache=cache)
    assert second.items[0] == first.items[0]
    assert translator.asked == ["mpya kabisa"]
    assert (first.made, first.cached, second.made, second.cached) == (4, 0, 1, 4)
    other = Upper(version=2)
    assert add_counterparts([_item(1)], other, cache=cache).cached == 0
    assert len(other.asked) == 4


def test_an_empty_translation_costs_its_items_only(tmp_path: Path) -> None:
    cache = TranslationCache(tmp_path / "cache.sqlite")
    broken = Upper(lambda text: "" if text == "ndiyo kabisa" else text.upper())
    items = [_item(1), _item(2, "Jibu lako:\nhapana kabisa")]
    found = add_counterparts(items, broken, cache=cache)
    assert [item.aux for item in found.items] == ["JIBU LAKO:\nHAPANA KABISA"]
    assert found.failures == {
        "q1": "Upper gave no usable translation of 'ndiyo kabisa' of item 'q1' from Swahili to "
        "English: give its aux prompt, or use another translator."
    }
    assert found.made == 3
    # What failed was not kept, and is asked for again.
    again = Upper()
    assert len(add_counterparts(items, again, cache=cache).items) == 2
    assert again.asked == ["ndiyo kabisa"]


def test_an_error_of_the_translator_costs_its_pair_only() -> None:
    class NoFrench(Upper):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            if source == "fr":
                raise ModelError("The model does not know 'fr'.")
            return super().translate(texts, source, target)

    french = _item(1, "Quelle est la réponse ?", lang="fr")
    found = add_counterparts([french, _item(2)], NoFrench())
    assert [item.id for item in found.items] == ["q2"]
    reason = "Item 'q1' has no counterpart: The model does not know 'fr'."
    assert found.failures == {"q1": reason}


def test_an_error_in_a_later_call_leaves_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Upper):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            if len(self.calls) == 1:
                self.calls.append(([], source, target))
                raise ModelError("Memory does not suffice.")
            return super().translate(texts, source, target)

    monkeypatch.setattr("crosslatent.translate.counterpart_prompts._AT_ONCE", 2)
    items = [_item(number, f"neno {'a' * number} kabisa") for number in range(1, 6)]
    seen: list[tuple[int, int]] = []
    cache = TranslationCache(tmp_path / "cache.sqlite")
    found = add_counterparts(
        items, Failing(), cache=cache, progress=lambda done, of: seen.append((done, of))
    )
    assert [item.id for item in found.items] == ["q1", "q2", "q5"]
    assert list(found.failures) == ["q3", "q4"]
    assert "Memory does not suffice" in found.failures["q3"]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert add_counterparts(items, Upper(), cache=cache).cached == 3


def test_mistakes_in_a_translator_are_not_hidden() -> None:
    def wrong(text: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_counterparts([_item(1)], Upper(wrong))


PLACED = "Jina la {name} ni nani katika <b>kitabu</b> hiki: https://a.bc/d?e=1"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.upper(),  # changes {name} to {NAME}
        lambda text: text.replace("{name}", ""),
        lambda text: f"{text} {text}",
        lambda text: " ".join(reversed(text.split())),
        lambda text: f"{text} {{more}}" if "{name}" in text else text,
    ],
)
def test_placeholders_survive(change: Callable[[str], str]) -> None:
    (made,) = add_counterparts([_item(1, PLACED)], Upper(change)).items
    assert placeholders(made.aux) == placeholders(PLACED)


def test_a_broken_segment_is_translated_in_parts() -> None:
    translator = Upper()
    (made,) = add_counterparts([_item(1, PLACED)], translator).items
    assert made.aux == "JINA LA {name} NI NANI KATIKA <b>KITABU</b> HIKI: https://a.bc/d?e=1"
    assert [len(texts) for texts, _, _ in translator.calls] == [1, 4]


def test_a_part_that_brings_a_placeholder_of_its_own_fails() -> None:
    found = add_counterparts([_item(1, PLACED)], Upper(lambda text: f"{text} %s"))
    assert found.items == ()
    assert "no usable translation" in found.failures["q1"]


def test_the_last_characters_of_a_prompt_stay() -> None:
    for end in (":", "：", " :", ":\n", ": ", "\n\n"):
        (made,) = add_counterparts([_item(1, f"Jibu lako{end}")], Upper(lambda t: f"{t}:")).items
        assert made.aux == f"Jibu lako{end}"
        assert [piece.text for piece in cut(made.aux)][1:] == [
            piece.text for piece in cut(f"Jibu lako{end}")
        ][1:]


def test_no_items() -> None:
    found = add_counterparts([], Upper())
    assert (found.items, found.failures, found.made, found.cached) == ((), {}, 0, 0)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    items = [
        _item(1, "Swali – «ndiyo»?\u2028Jibu:", aux="Q?\nA:", aux_lang="en"),
        _item(
            2,
            aux="Answer:",
            options=("(1)", "(2)"),
            answer="(2)",
            labels=("a", "b"),
            cluster="fact",
            split="pilot",
            strata={"relation": "capital"},
        ),
    ]
    path = tmp_path / "parallel.jsonl"
    write_parallel(items, path)
    assert read_items(path) == tuple(items)
    assert "«ndiyo»" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["parallel.jsonl"]


def test_only_fields_that_are_set_are_written() -> None:
    line = parallel_line(_item(1, "Jibu:", aux="A:"))
    assert line == {"id": "q1", "lang": "sw", "main": "Jibu:", "aux": "A:"}
    assert json.dumps(line)


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"Cannot write .*none.*: give a folder"):
        write_parallel([_item(1, aux="A:")], tmp_path / "none" / "parallel.jsonl")
    old = tmp_path / "old.jsonl"
    old.write_text("old")
    with pytest.raises(TypeError):
        write_parallel([_item(1, aux="A:", strata={"x": object()})], old)
    assert old.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["old.jsonl"]
