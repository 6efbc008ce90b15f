"""Texts by language: every form of file, what is left out, and what is refused with which words."""

from __future__ import annotations

import json
import os
from itertools import count, islice
from pathlib import Path

import pytest

from crosslatent.core.errors import SpaceError
from crosslatent.lens.text_streams import (
    Text,
    parallel_of_items,
    read_parallel,
    read_texts,
    texts_of,
    texts_of_items,
)
from crosslatent.tasks import Item

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "lens"
DATA = Path(os.environ.get("CROSSLATENT_LENS_DATA", BESIDE))
SEVEN = ["en", "zh", "ja", "ko", "ar", "bn", "sw"]

EN, SW = ["one", "two", "three"], ["moja", "mbili", "tatu"]
BOTH = [Text("en", EN[k], k + 1) for k in range(3)], [Text("sw", SW[k], k + 1) for k in range(3)]
EXPECTED = [text for row in zip(*BOTH, strict=True) for text in row]


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def rows(template="{lang}", **extra):
    keys = [template.replace("{lang}", lang) for lang in ("en", "sw")]
    return [dict(zip(keys, pair, strict=True)) | extra for pair in zip(EN, SW, strict=True)]


def folder(path, en="one\ntwo\nthree\n", sw="moja\nmbili\ntatu"):
    path.mkdir()
    (path / "en.txt").write_bytes(en.encode())
    (path / "sw.txt").write_bytes(sw.encode())
    return path


def of_lang(stream, lang):
    return [text.text for text in stream if text.lang == lang]


class TestForms:
    @pytest.mark.parametrize("template", ["{lang}", "input_{lang}", "text_{lang}"])
    def test_json_lines_with_a_field_for_each_language(self, tmp_path, template):
        path = lines(tmp_path / "t.jsonl", rows(template, id="x", output=""))
        assert list(read_texts(path, ["en", "sw"])) == EXPECTED

    def test_a_named_field(self, tmp_path):
        path = lines(tmp_path / "t.jsonl", rows("q:{lang}!", en="not this"))
        assert list(read_texts(path, ["en", "sw"], field="q:{lang}!")) == EXPECTED

    @pytest.mark.parametrize(("name", "field"), [("text", None), ("inputs", "inputs")])
    def test_a_language_beside_each_text(self, tmp_path, name, field):
        given = [{"lang": text.lang, name: text.text} for text in EXPECTED]
        given.insert(1, {"lang": "fr", name: "un"})
        stream = read_texts(lines(tmp_path / "t.jsonl", given), ["en", "sw"], field=field)
        assert [text[:2] for text in stream] == [text[:2] for text in EXPECTED]

    @pytest.mark.parametrize("indent", [None, 2])
    @pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"Instances": rows, "x": 1}])
    def test_one_json_value(self, tmp_path, indent, wrap):
        path = tmp_path / "t.json"
        path.write_text(json.dumps(wrap(rows("input_{lang}")), indent=indent))
        assert list(read_texts(path, ["en", "sw"])) == EXPECTED

    def test_folder_of_lines(self, tmp_path):
        assert list(read_texts(folder(tmp_path / "t"), ["en", "sw"])) == EXPECTED

    @pytest.mark.parametrize(
        "write",
        [lambda t: t, lambda t: {"text": t}, lambda t: {"sw": t}, lambda t: {"input_sw": t}],
    )
    def test_folder_with_json_lines(self, tmp_path, write):
        path = folder(tmp_path / "t")
        (path / "sw.txt").unlink()
        lines(path / "sw.jsonl", map(write, SW))
        assert list(read_texts(path, ["en", "sw"])) == EXPECTED

    def test_byte_order_mark_blank_lines_and_windows_ends(self, tmp_path):
        path = tmp_path / "t.jsonl"
        text = "".join(json.dumps(row) + "\r\n\r\n" for row in rows())
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert [text[:2] for text in read_texts(path, ["en", "sw"])] == [t[:2] for t in EXPECTED]

    def test_the_order_of_languages_is_the_one_asked_for(self, tmp_path):
        path = lines(tmp_path / "t.jsonl", rows())
        assert [text.lang for text in read_texts(path, ["sw", "en", "sw"])] == ["sw", "en"] * 3


class TestLeftOut:
    def test_empty_texts_are_counted(self, tmp_path):
        given = [*rows(), {"en": " ", "sw": None}, {"sw": "nne"}]
        stream = read_texts(lines(tmp_path / "t.jsonl", given), ["en", "sw"])
        assert [text[:2] for text in stream] == [*(t[:2] for t in EXPECTED), ("sw", "nne")]
        assert (dict(stream.texts), dict(stream.empty)) == ({"en": 3, "sw": 4}, {"en": 2, "sw": 1})
        again = list(stream)  # begins anew, and so do the counts
        assert (len(again), stream.empty["en"]) == (7, 2)

    def test_blanks_around_texts_of_files_go_and_those_of_lists_stay(self, tmp_path):
        path = lines(tmp_path / "t.jsonl", [{"en": "a", "sw": " b c \n"}])
        stream = read_texts(path, ["en", "sw"])
        assert of_lang(stream, "sw") == ["b c"]
        assert (stream.stripped["en"], stream.stripped["sw"]) == (0, 1)
        assert of_lang(texts_of({"en": ["a"], "sw": [" b c \n"]}), "sw") == [" b c \n"]

    def test_limit_counts_texts_that_are_not_empty_and_stops_reading(self, tmp_path):
        path = lines(tmp_path / "t.jsonl", [{"en": "", "sw": "x"}, *rows()])
        with path.open("a") as handle:
            handle.write("not JSON\n")
        stream = read_texts(path, ["en", "sw"], limit=2)
        assert of_lang(stream, "en") == ["one", "two"]
        assert of_lang(stream, "sw") == ["x", "moja"]


def test_generators_are_read_in_turns_and_no_further_than_asked():
    taken = {"en": 0, "sw": 0}

    def endless(lang):
        for k in count():
            taken[lang] += 1
            yield f"{lang} {k}"

    stream = texts_of({"en": endless("en"), "sw": endless("sw")})
    first = list(islice(stream, 6))
    assert [text.text for text in first] == ["en 0", "sw 0", "en 1", "sw 1", "en 2", "sw 2"]
    assert [text.row for text in first] == [1, 1, 2, 2, 3, 3]
    assert max(taken.values()) <= 4


def test_a_file_is_read_as_it_is_asked_for(tmp_path):
    path = lines(tmp_path / "t.jsonl", rows())
    with path.open("a") as handle:
        handle.write("not JSON\n")
    stream = iter(read_texts(path, ["en", "sw"]))
    assert list(islice(stream, 6)) == EXPECTED
    with pytest.raises(SpaceError, match=r"t\.jsonl:4: this is not JSON"):
        next(stream)


@pytest.mark.parametrize(
    ("content", "langs", "field", "words"),
    [
        ('{"en": "a"}\n{"en": 3}\n', ["en"], None, [":2", "the field 'en' is 3", "a text"]),
        ('{"en": "a"}\n["b"]\n', ["en"], None, [":2", "a JSON object", '["b"]']),
        ('{"en": "a"}\n{"en": \n', ["en"], None, [":2", "not JSON"]),
        ('{"en": "a\\ud83d"}\n', ["en"], None, [":1", "half of a character", "'en'"]),
        ('{"en": "a"}\n', ["en", "sw"], None, ["no text in 'sw': it has en"]),
        ('{"en": "a", "sw": " "}\n', ["en", "sw"], None, ["'sw' that is not empty (1 are)"]),
        ('{"en": "a", "zh": "b"}\n', ["fr"], None, [":1", "'fr' or 'input_fr'", "en, zh"]),
        ('{"question": "a"}\n', ["en"], None, [":1", "fields 'question'", "--field"]),
        ('{"input_en": "a"}\n', ["en"], "{lang}_q", [":1", "'en_q'", "'input_en'"]),
        ('{"en": "a"}\n', ["en"], "{x}", ["'{x}'", "input_{lang}"]),
        ('{"en": "a"}\n', ["en"], "", ["''", "input_{lang}"]),
        ('{"text": "a"}\n', ["en"], "text", [":1", "no language", "'lang'"]),
        ('{"lang": "en", "text": "a"}\n', ["en", "sw"], None, ["no text in 'sw': it has en"]),
        ("", ["en"], None, ["is empty", "one JSON object per line"]),
        ("[\n{},\nx]", ["en"], None, [":3", "not JSON"]),
        ('{"a": 1,\n"b": 2}', ["en"], None, ["'Instances'", "'a', 'b'"]),
        ('[{"en": "a"}, 3]', ["en"], None, ["object 2", "a JSON object"]),
        (b'{"en": "\xff"}\n', ["en"], None, [":1", "not UTF-8"]),
        ('{"en": "a"}\n', [], None, ["give a list of one or more codes"]),
        ('{"en": "a"}\n', "en", None, ["'en'", "give a list"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, langs, field, words):
    path = tmp_path / "texts.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpaceError) as error:
        read_texts(path, langs, field=field).survey()
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    path = folder(tmp_path / "t")
    with pytest.raises(SpaceError, match=r"no file fr\.txt or fr\.jsonl: it has en, sw"):
        read_texts(path, ["fr"]).survey()
    lines(path / "sw.jsonl", SW)
    with pytest.raises(SpaceError, match=r"both sw\.txt and sw\.jsonl"):
        read_texts(path, ["sw"]).survey()
    (path / "sw.txt").unlink()
    lines(path / "sw.jsonl", [{"text": "a"}, {"body": "b"}])
    with pytest.raises(SpaceError, match=r"sw\.jsonl:2: none of the fields 'text'.*'body'"):
        read_texts(path, ["sw"]).survey()
    with pytest.raises(SpaceError, match="there is no such file"):
        read_texts(tmp_path / "nowhere", ["sw"])
    with pytest.raises(SpaceError, match="limit is 0"):
        read_texts(path, ["sw"], limit=0)


def test_what_is_wrong_with_lists_is_said():
    with pytest.raises(SpaceError, match=r"texts of 'en' are one string \('abc'\)"):
        texts_of({"en": "abc"})
    with pytest.raises(SpaceError, match="Text 2 of 'sw' is int 3, but a string"):
        texts_of({"en": EN, "sw": ["a", 3]}).survey()
    with pytest.raises(SpaceError, match="Text 1 of 'en' has half of a character"):
        texts_of({"en": ["\ud83d"]}).survey()
    with pytest.raises(SpaceError, match="no text in 'sw' that is not empty"):
        texts_of({"en": EN, "sw": ["", " "]}).survey()


class TestParallel:
    def test_rows_without_the_central_language_or_alone_are_counted(self, tmp_path):
        given = [*rows(), {"en": "four"}, {"sw": "tano", "fr": "cinq"}, {"en": "six", "fr": "six "}]
        found = read_parallel(lines(tmp_path / "t.jsonl", given), ["sw", "fr", "en"], "en")
        assert found == [*rows(), {"en": "six", "fr": "six"}]
        assert found.left_out == 2
        assert list(found[0]) == ["en", "sw"]

    def test_folder(self, tmp_path):
        assert read_parallel(folder(tmp_path / "t"), ["sw"], "en") == rows()
        path = folder(tmp_path / "u", sw="moja\n")
        with pytest.raises(SpaceError, match="'sw' ends before line 2"):
            read_parallel(path, ["sw"], "en")

    def test_refused(self, tmp_path):
        given = [{"lang": "en", "text": "a"}, {"lang": "sw", "text": "b"}]
        path = lines(tmp_path / "t.jsonl", given)
        with pytest.raises(SpaceError, match="translations of each other"):
            read_parallel(path, ["sw"], "en")
        path = lines(path, rows())
        with pytest.raises(SpaceError, match="beside 'en'"):
            read_parallel(path, ["en"], "en")
        with pytest.raises(SpaceError, match="no row has a text in 'fr' together with 'en'"):
            read_parallel(path, ["sw", "fr"], "en")


def item(name, lang, main, aux, aux_lang="en"):
    return Item(id=name, lang=lang, aux_lang=aux_lang, main=main, aux=aux)


class TestItems:
    ITEMS = (
        item("a-sw", "sw", "Mji?", "City?"),
        item("a-hi", "hi", "शहर?", "City?"),
        item("b-sw", "sw", "Mto?", "River?"),
        item("c-sw", "sw", "Jiji?", "City?"),  # the same question in other words
        item("d", "en", "Food?", "Chakula?", "sw"),  # asked in English
        item("e", "en", "Food?", "खाना?", "hi"),
        item("f", "sw", "Pekee?", ""),
    )

    def test_equal_prompts_are_one_row(self):
        assert parallel_of_items(self.ITEMS) == [
            {"en": "City?", "sw": "Mji?", "hi": "शहर?"},
            {"en": "River?", "sw": "Mto?"},
            {"en": "City?", "sw": "Jiji?"},
            {"sw": "Chakula?", "en": "Food?", "hi": "खाना?"},
            {"sw": "Pekee?"},
        ]

    def test_as_texts_every_prompt_comes_once(self):
        stream = texts_of_items(self.ITEMS, ["en", "sw"])
        assert of_lang(stream, "en") == ["City?", "River?", "Food?"]
        assert of_lang(stream, "sw") == ["Mji?", "Mto?", "Jiji?", "Chakula?", "Pekee?"]
        with pytest.raises(SpaceError, match="The task: there is no text in 'fr': it has"):
            texts_of_items(self.ITEMS, ["en", "fr"]).survey()


@pytest.mark.skipif(not DATA.is_dir(), reason="the Lens data is not here (CROSSLATENT_LENS_DATA)")
class TestReleasedData:
    @pytest.mark.parametrize(
        ("name", "n"), [("alpaca_parallel_200.json", 200), ("aya_7lang_300.jsonl", 300)]
    )
    def test_both_files_are_read_as_they_are(self, name, n):
        stream = read_texts(DATA / name, SEVEN).survey()
        assert dict(stream.texts) == dict.fromkeys(SEVEN, n)
        assert not stream.empty

    def test_parallel(self):
        found = read_parallel(DATA / "alpaca_parallel_200.json", SEVEN, "en")
        assert (len(found), found.left_out) == (200, 0)
        assert found[0]["sw"] == "Toa vidokezo vitatu vya kudumisha afya."


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.jsonl", b'[\n{"en": "a", "sw": "b"}\n]', ":1: this file is JSON, but not JSON Lines"),
        ("t.jsonl", b'{\n"Instances": []\n}', ":1: this file is JSON, but not JSON Lines"),
        ("t.jsonl", b'{"en": "a", "en": "b", "sw": "c"}', ":1: the key 'en' occurs twice"),
        ("t.jsonl", b'{"en": "a", "sw": {"x": 1, "x": 2}}', ":1: the key 'x' occurs twice"),
        ("t.json", b'[{"en": "a", "sw": "b"},\n{"en": "a", "en": "b"}]', "'en' occurs twice"),
        ("t.jsonl", b'{"en": "a", "sw": "b"}\r{"en": "c"}\r', r":1: '\\r' occurs within this line"),
        ("t.jsonl", b'{"en": "a",\x00 "sw": "b"}', r":1: '\\x00' occurs within this line"),
    ],
)
def test_files_that_would_be_misread(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpaceError, match=words):
        list(read_texts(tmp_path / name, ["en", "sw"]))


def test_a_carriage_return_within_a_line_is_refused(tmp_path):
    path = folder(tmp_path / "texts", en="one\rtwo\rthree")
    with pytest.raises(SpaceError, match=r"en.txt:1: '\\r' occurs within"):
        list(read_texts(path, ["en", "sw"]))
