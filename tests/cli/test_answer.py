"""`crosslatent answer`: a file of questions in, a file of answers out, and what is refused."""

from __future__ import annotations

import json

import pytest

from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.saved import SavedSelector, save

SPEC = {"components": ["ffn"], "max_new_tokens": 3, "strength": 1.0, "positions": 1}


@pytest.fixture
def files(tmp_path, tiny_folder):
    """Options of the command, of 5 questions; and what the files hold."""
    origin = {"model": {"n_layers": 4}, "task": {"rule": "contains"}, "spec": SPEC}
    pair = FixedPairs(TransplantSpec("ffn", 1, 0))
    save(SavedSelector("pilot", "about", pair, origin), tmp_path / "chooser.json")
    lines = [{"main": f"Swali {n}? Jibu:", "aux": f"Question {n}? Answer:"} for n in range(5)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    return {
        "--model": tiny_folder,
        "--chooser": tmp_path / "chooser.json",
        "--prompts": tmp_path / "mine.jsonl",
        "--out": tmp_path / "answers" / "out.jsonl",
    }


def run(cli, files, *more, **changes):
    given = files | {f"--{name}": value for name, value in changes.items()}
    return cli("answer", *(f"{name}={value}" for name, value in given.items()), *more)


def test_every_question_gets_a_line_and_a_cut_file_goes_on(cli, files):
    done = run(cli, files)
    assert done.code == 0, done
    assert "5 answers in" in done.out
    assert "5 with a transplant" in done.out
    out = files["--out"]
    whole = out.read_bytes()
    lines = [json.loads(line) for line in whole.decode().splitlines()]
    assert [line["way"] for line in lines] == ["transplant"] * 5
    assert lines[0]["chosen"] == {"component": "ffn", "source": 1, "target": 0}
    for size in (0, 10, whole.index(b"\n") + 1, len(whole) - 1):
        out.write_bytes(whole[:size])
        again = run(cli, files)
        assert again.code == 0, again
        assert out.read_bytes() == whole
    assert "0 of them now" in run(cli, files).out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max-new-tokens": 2}, "another chooser or other settings"),
        ({"chooser": "none.json"}, "Cannot read the selector"),
        ({"prompts": "none.jsonl"}, "none.jsonl"),
        ({"model": "/nope"}, "/nope"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(cli, files, changes, says):
    assert run(cli, files).code == 0
    out = files["--out"]
    if "model" in changes:
        out.unlink()
    before = out.read_bytes() if out.exists() else None
    refused = run(cli, files, **changes)
    assert refused.code == 2 or "model" in changes
    assert refused.code != 0
    assert says in " ".join(refused.err.split())
    assert (out.read_bytes() if out.exists() else None) == before


def test_a_folder_or_another_file_is_no_place_for_answers(cli, files, tmp_path):
    assert run(cli, files, out=tmp_path).code == 2
    notes = tmp_path / "notes.txt"
    for text in ("my notes\n", "my notes", '{"a": 1}\n', "[1]\n"):
        notes.write_text(text)
        refused = run(cli, files, out=notes)
        assert refused.code == 2
        assert "or that this command began" in " ".join(refused.err.split())
        assert notes.read_text() == text


def test_counterparts_are_made_where_they_are_asked_for(cli, files, tmp_path, monkeypatch):
    from crosslatent.translate import OwnTranslator

    lines = [{"main": f"Swali la {n} ni gani", "lang": "sw"} for n in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    refused = run(cli, files)
    assert refused.code == 2
    assert "--aux auto" in refused.err
    cache = f"--translation-cache={tmp_path / 'cache'}"
    said = {"Swali": "Question"}

    def translate(self, texts, source, target):
        return [" ".join(said.get(word, word) for word in text.split()) for text in texts]

    monkeypatch.setattr(OwnTranslator, "translate", translate)
    both = tmp_path / "both.jsonl"
    done = run(cli, files, "--aux=auto", cache, **{"save-parallel": both})
    assert done.code == 0, done
    assert len(files["--out"].read_text().splitlines()) == 3
    made = [json.loads(line) for line in both.read_text(encoding="utf-8").splitlines()]
    assert [line["aux"] for line in made] == [f"Question la {n} ni gani" for n in range(3)]
    monkeypatch.setattr(OwnTranslator, "translate", lambda *given: [""] * len(given[1]))
    failed = run(cli, files, "--aux=auto", out=tmp_path / "other.jsonl",
                 **{"translation-cache": tmp_path / "empty"})  # fmt: skip
    assert failed.code == 2
    assert "3 questions cannot be translated" in failed.err
    assert not (tmp_path / "other.jsonl").exists()
