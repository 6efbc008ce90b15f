"""`--shots` and `--chat` on the command line."""

from __future__ import annotations

import json

import pytest

from crosslatent.runs.reader import RunReader
from support.models import save_tiny

ITEMS = [
    {"id": f"{split}{k}", "lang": "sw", "aux_lang": "en", "main": f"Mji {k}?", "aux": f"City {k}?",
     "answer": f"M{k}", "aux_answer": f"C{k}", "split": split, "cluster": f"{split}{k}"}
    for split in ("pilot", "unseen") for k in range(3)
]  # fmt: skip


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in ITEMS), encoding="utf-8")
    return path


def test_shots_come_from_the_whole_pilot_split(cli, tiny_folder, tmp_path, prompts):
    run = tmp_path / "run"
    result = cli(
        "sweep", f"--model={tiny_folder}", f"--prompts={prompts}", "--pairs=0:0", "--shots=2",
        "--limit=1", "--max-new-tokens=2", f"--out={run}",
    )  # fmt: skip
    assert result.code == 0, result.err
    with RunReader(run).connect() as connection:
        rows = connection.execute("SELECT item, shots, main_length FROM items").fetchall()
    assert [row[0] for row in rows] == ["pilot0", "unseen0"]
    for _, shots, length in rows:
        assert len(shots) == 2
        before = "".join(f"{main} {answer}\n\n" for main, answer, _, _ in shots)
        assert length == len(f"{before}Mji 0?")
    pilot = [shot[0] for shot in rows[0][1]]
    assert "Mji 0?" not in pilot  # never the question itself


def test_show_writes_them_out(cli, prompts):
    shown = cli("tasks", "show", prompts, "--shots=1", "--item=unseen0").out
    assert "\n\nMji 0?" in shown
    cli("tasks", "show", prompts, "--shots=3").assert_refused("'pilot0'", "only 2 solved")


def test_chat(cli, tmp_path, prompts):
    folder = save_tiny(tmp_path / "model")
    template = "{% for m in messages %}[{{ m.content }}]{% endfor %}>"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    sweep = ["sweep", f"--model={folder}", f"--prompts={prompts}", "--pairs=0:0", "--limit=1",
             "--max-new-tokens=2"]  # fmt: skip
    run = tmp_path / "run"
    assert cli(*sweep, "--chat", f"--out={run}").code == 0
    with RunReader(run).connect() as connection:
        tokens = connection.execute("SELECT main_token, main_length FROM items").fetchall()
    assert set(tokens) == {(">", len("[Mji 0?]>"))}
    cli(*sweep, f"--out={run}").assert_refused("chat")
    shown = cli("tasks", "show", prompts, "--chat", f"--model={folder}")
    assert "[Mji 0?]>" in shown.out
    assert "▶>◀" in shown.out


def test_chat_without_a_template_is_refused(cli, tiny_folder, tmp_path, prompts):
    out = tmp_path / "run"
    fixed = [f"--model={tiny_folder}", "--chat"]
    cli("sweep", *fixed, f"--prompts={prompts}", f"--out={out}").assert_refused("no chat template")
    assert not out.exists()
    cli(
        "transplant", *fixed, "--main=a", "--aux=b", "--component=ffn", "--source=0", "--target=0"
    ).assert_refused("no chat template")


def test_back_answers_the_counterparts_with_vectors_of_the_questions(
    cli, tiny_folder, tmp_path, prompts
):
    run = tmp_path / "run"
    asked = ["sweep", f"--model={tiny_folder}", f"--prompts={prompts}", "--pairs=0:0",
             "--controls=skip,mean-main", "--max-new-tokens=2", f"--out={run}"]  # fmt: skip
    result = cli(*asked, "--back")
    assert result.code == 0, result.err
    with RunReader(run).connect() as connection:
        items = connection.execute("SELECT main, aux, answer, aux_lang FROM items").fetchall()
        counts = connection.execute("SELECT control, count(*) FROM rows GROUP BY ALL").fetchall()
    assert ("City 0?", "Mji 0?", "C0", "sw") in items
    kinds = ("vanilla", "translate_test", "none", "skip", "mean-main")
    assert dict(counts) == dict.fromkeys(kinds, 6)
    assert json.loads((run / "run.json").read_text())["requested"]["back"] is True
    cli(*asked).assert_refused("task.hash")
