"""`crosslatent lens probe`: from texts of any form to a folder, and what is refused before that."""

from __future__ import annotations

import json

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.lens.probing import probe
from crosslatent.lens.space import load_space
from crosslatent.model import load

WORDS = {"en": "the town of {}", "sw": "mji wa {}", "hi": "शहर {}"}
LANGS = "--langs=en,sw,hi"


def rows(n=8):
    return [{lang: words.format(k) for lang, words in WORDS.items()} for k in range(n)]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), "utf-8")
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "space"


@pytest.fixture
def no_report(monkeypatch):
    """Figures take seconds, and tests/report is about them."""
    written = lambda space, out: [out / "probe.html"]  # noqa: E731
    monkeypatch.setattr("crosslatent.report.lens.write_probe_report", written)


@pytest.fixture
def call(cli, tiny_folder, texts, out):
    """The command on the texts and the tiny model; options that are given replace these."""

    def run(*options):
        given = {"--model": tiny_folder, "--data": texts, "--out": out}
        named = {str(option).partition("=")[0] for option in options}
        base = [f"{name}={value}" for name, value in given.items() if name not in named]
        return cli("lens", "probe", *base, *options)

    return run


class TestSpace:
    @pytest.mark.slow
    def test_report_lies_beside_the_space(self, call, out):
        files = call(LANGS, "--json").json["files"]
        assert (out / "probe.html").is_file()
        assert str(out / "probe.html") in files

    @pytest.mark.usefixtures("no_report")
    def test_folder_holds_what_python_gives(self, call, out, tiny_folder):
        done = call(LANGS, "--batch-size=3", "--pooling=mean", "--held-out=0.3", "--seed=4")
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == str(out)
        space = load_space(out)
        lists = {lang: [row[lang] for row in rows()] for lang in WORDS}
        expected = probe(load(str(tiny_folder)), lists, pooling="mean", held_out=0.3, seed=4)
        for one, other in zip(space.subspaces, expected.subspaces, strict=True):
            assert np.allclose(one.means, other.means, rtol=1e-4, atol=1e-4)
        assert space.record.texts == {"en": 8, "sw": 8, "hi": 8}
        assert space.record.command
        head, *layers = done.out.splitlines()
        assert "by linear rule" in head
        assert [line.split()[0] for line in layers[:5]] == ["0", "1", "2", "3", "final"]
        assert "of 8 texts only" in done.err

    @pytest.mark.usefixtures("no_report")
    def test_json(self, call, out):
        data = call(LANGS, "--rank=1", "--json").json
        assert (data["languages"], data["rank"], data["n_layers"]) == (["en", "sw", "hi"], 1, 4)
        assert [layer["layer"] for layer in data["layers"]] == [0, 1, 2, 3, "final"]
        last, space = data["layers"][-1], load_space(out)
        assert last["explained"] == pytest.approx(list(space.final.explained))
        assert last["between"] == space.record.between[-1]
        assert last["specific"]["value"] == space.record.separability[-1].specific.value
        assert last["largest_angle"] == pytest.approx(np.nanmax(space.final.angles()))
        assert str(out / "probe.html") in data["files"]

    @pytest.mark.usefixtures("no_report")
    def test_what_is_left_out_cut_and_stripped_is_told(self, call, texts):
        with texts.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"en": " blanks ", "sw": "", "hi": "x" * 40}) + "\n")
        done = call(LANGS, "--max-tokens=30", "--held-out=0")
        assert done.code == 0, done.err
        for line in (
            "Warning: texts left out because they are empty: 1 (sw 1).",
            "Warning: texts that were too long, so that only their beginning was read: 1 (hi 1).",
            "Texts whose blanks or line breaks at the ends were left out: 1 (en 1).",
            "Warning: no text was held out, so nothing is said about separability",
        ):
            assert line in done.err.splitlines()

    @pytest.mark.usefixtures("no_report")
    def test_limit_and_field(self, call, tmp_path):
        path = tmp_path / "more.json"
        named = [{f"q_{lang}": text for lang, text in row.items()} for row in rows()]
        path.write_text(json.dumps({"Instances": named}))
        done = call(LANGS, f"--data={path}", "--field=q_{lang}", "--limit=3", "--json")
        assert done.json["texts"] == {"en": 3, "sw": 3, "hi": 3}

    @pytest.mark.usefixtures("no_report")
    def test_task(self, call, tmp_path):
        items = [
            {"id": f"{lang}{k}", "lang": lang, "aux_lang": "en", "main": row[lang],
             "aux": row["en"], "split": "pilot" if k % 2 else "final"}
            for k, row in enumerate(rows())
            for lang in ("sw", "hi")
        ]  # fmt: skip
        (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)), "utf-8")
        task = tmp_path / "mine.yaml"
        task.write_text("name: mine\nitems: items.jsonl\n")
        done = call(f"--task={task}", f"--data={tmp_path}", "--split=pilot", "--json")
        assert done.code == 0, done.err
        assert done.json["languages"] == ["en", "sw", "hi"]
        assert done.json["texts"] == {"en": 4, "sw": 4, "hi": 4}


class TestExisting:
    @pytest.mark.usefixtures("no_report")
    def test_a_space_is_replaced_only_when_asked(self, call, out):
        assert call("--langs=en,sw").code == 0
        before = (out / "space.json").read_bytes()
        call(LANGS).assert_refused("holds language subspaces already", "--new")
        assert (out / "space.json").read_bytes() == before
        assert call(LANGS, "--new").code == 0
        assert load_space(out).languages == ("en", "sw", "hi")

    def test_other_files_stay(self, call, out):
        out.mkdir()
        (out / "cat.jpg").write_text("mine")
        call(LANGS, "--new").assert_refused("cat.jpg", "empty or new")
        call(LANGS, f"--out={out / 'cat.jpg'}").assert_refused("is a file")
        assert [path.name for path in out.iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--langs is missing", "en,sw"]),
        (["--langs=en"], ["two languages or more"]),
        (["--langs=en,"], ["--langs", "separated by commas"]),
        (["--langs=sw,hi"], ["'en' is not among the languages (sw, hi)"]),
        (["--langs=en,fr"], ["texts.jsonl", "no text in 'fr'", "en, sw, hi"]),
        ([LANGS, "--rank=3"], ["rank is 3", "1 to 2"]),
        ([LANGS, "--pooling=max"], ["'max'", "last or mean"]),
        ([LANGS, "--held-out=1"], ["held_out is 1", "below 1"]),
        ([LANGS, "--held-out=x"], ["'x' is not a number"]),
        ([LANGS, "--max-tokens=0"], ["0 is too small"]),
        ([LANGS, "--batch-size=0"], ["0 is too small"]),
        ([LANGS, "--seed=-1"], ["--seed is -1"]),
        ([LANGS, "--limit=1"], ["1 text of 'en'", "2 or more"]),
        ([LANGS, "--field=q"], ["texts.jsonl:1", "no language"]),
        ([LANGS, "--split=pilot"], ["only a task has splits"]),
        ([LANGS, "--data=nowhere.jsonl"], ["'nowhere.jsonl'", "no such file"]),
        ([LANGS, "--task=nope"], ["'nope'"]),
        ([LANGS, "--task=nope", "--field=q"], ["a task has no fields"]),
    ],
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(
    call, out, monkeypatch, options, words
):
    load = "crosslatent.cli.command_options.load_model"
    monkeypatch.setattr(load, lambda *_: pytest.fail("loaded"))
    call(*options).assert_refused(*words)
    assert not out.exists()


def test_neither_data_nor_task(cli, tiny_folder, out):
    cli("lens", "probe", f"--model={tiny_folder}", f"--out={out}", LANGS).assert_refused(
        "--data or --task", "neither is given"
    )


def test_a_mistake_in_the_last_line_is_found_before_the_model_is_loaded(call, texts, out):
    with texts.open("a") as handle:
        handle.write('{"en": 3}\n')
    call(LANGS, "--model=nowhere").assert_refused("texts.jsonl:9", "the field 'en' is 3")
    assert not out.exists()


def test_a_model_without_chat_template(call, out):
    call(LANGS, "--chat").assert_refused("no chat template")
    assert not out.exists()


def test_equal_texts_in_two_languages_span_nothing(call, texts, out):
    same = [{"en": f"t {k}", "sw": f"t {k}"} for k in range(4)]
    texts.write_text("\n".join(map(json.dumps, same)))
    call("--langs=en,sw").assert_refused("span 0 dimensions")
    assert not out.exists()


def test_python_names():
    assert xl.lens.probe is probe
