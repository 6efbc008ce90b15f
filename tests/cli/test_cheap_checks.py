"""What is refused, or shown, without importing torch: in one process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from crosslatent.model import folder

RUN = """
import json, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from crosslatent.cli.app import main
found = []
for arguments in json.load(sys.stdin):
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    heavy = [name for name in ("torch", "transformers", "datasets") if sys.modules.pop(name, None)]
    found.append((code, bool(out.getvalue()), err.getvalue(), heavy))
print(json.dumps(found))
"""


@pytest.fixture
def places(tiny_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "bad.jsonl").write_text('{"main":')
    question = {"main": "Mji?", "aux": "City?", "answer": "A"}
    (tmp_path / "one.jsonl").write_text(json.dumps(question))
    return {"MODEL": str(tiny_folder), "HERE": str(tmp_path)}


PAIR = "--component=ffn --source=1 --target=1"
ASKED = f"--main=a --aux=b {PAIR}"
SWEEP = "sweep --model=MODEL --out=HERE/run"
REFUSED = [
    (f"transplant --model=HERE/none {ASKED}", "There is no folder"),
    (f"transplant --model=HERE/empty {ASKED}", "config.json"),
    (f"transplant --model=MODEL {ASKED} --device=gpu", "'gpu'"),
    (f"transplant --model=MODEL {ASKED} --device=mps:x", "'mps:x'"),
    (f"transplant --model=MODEL {ASKED} --dtype=fp16", "'fp16'"),
    (f"transplant --model=MODEL {ASKED} --quantization=3bit", "'3bit'"),
    (f"transplant --model=MODEL {ASKED} --modules=x", "--modules is 'x'"),
    (f"transplant --model=MODEL --main=a {PAIR}", "no counterpart"),
    ("transplant --model=MODEL --main=a --aux=b --preset=nope", "'nope'"),
    ("transplant --model=MODEL --main=a --aux=b --component=ffn --source=9 --target=0", "layer 9"),
    ("transplant --model=MODEL --main=a --aux=b --selector=HERE/none.json", "none.json"),
    (f"{SWEEP} --task=demo-facts --pairs=1-2", "'1-2'"),
    (f"{SWEEP} --task=demo-facts --pairs=0:9", "target layer 9"),
    (f"{SWEEP} --task=demo-facts --controls=luck", "'luck'"),
    (f"{SWEEP} --task=demo-facts --engine=fast", "'fast'"),
    (f"{SWEEP} --task=demo-facts --samples=2 --score-only", "score_only"),
    (f"{SWEEP} --task=demo-facts --strength=nan", "nan"),
    (f"{SWEEP} --task=nope", "'nope'"),
    (f"{SWEEP} --prompts=HERE/none.jsonl", "none.jsonl"),
    (f"{SWEEP} --prompts=HERE/bad.jsonl", "bad.jsonl:1"),
    ("sweep --model=MODEL --prompts=HERE/one.jsonl --out=HERE/full", "mine.txt"),
    (f"{SWEEP} --task=demo-facts --prompts=HERE/one.jsonl", "both are given"),
    (f"{SWEEP} --task=demo-facts --declare=ffn", "--declare"),
    ("improve MODEL --prompts=HERE/one.jsonl --out=HERE/run", "1 of 1 questions"),
    ("answer --model=MODEL --chooser=HERE/none --prompts=HERE/one.jsonl --out=HERE/a", "none"),
    ("check HERE/none", "There is no folder"),
    ("report HERE/empty --out=HERE/report", "run.json"),
    ("export HERE/empty --format=csv", "run.json"),
    ("select HERE/empty", "run.json"),
    ("lens probe --model=MODEL --out=HERE/space --pooling=x --task=demo-facts", "'x'"),
    ("overhead --plan=7B@abacus", "'7B@abacus'"),
    ("overhead --plan=7B@h200 --prompt-tokens=0", "0 is too small"),
    ("overhead --model=MODEL --prompt-tokens=90000", "180,000"),
    ("overhead --model=HERE/none", "There is no folder"),
    ("overhead --plan=7B@h200 --out=HERE/full", "mine.txt"),
    ("lens probe --model=HERE/none --out=HERE/space --task=demo-facts", "There is no folder"),
]
SHOWN = [
    "tasks ls",
    "tasks show demo-facts",
    "tasks validate HERE/one.jsonl",
    "--version",
    "overhead --plan=7B@h200",
    "overhead --model=MODEL --dry-run --prompt-tokens=20",
]


def test_no_refusal_waits_for_torch(places, tmp_path):
    commands = [command for command, _ in REFUSED] + SHOWN
    for name, place in places.items():
        commands = [command.replace(name, place) for command in commands]
    before = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([command.split() for command in commands]),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    for (command, words), (code, printed, said, heavy) in zip(REFUSED, found, strict=False):
        assert (code, printed, heavy) == (2, False, []), (command, said)
        assert words in said, command
        assert said.count("\n") == 1, said
    for command, (code, printed, said, heavy) in zip(SHOWN, found[len(REFUSED) :], strict=True):
        assert (code, printed, heavy) == (0, True, []), (command, said)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_config_says_how_many_blocks_there_are(tiny_folder, tmp_path):
    assert folder.layers_of(tiny_folder) == 4
    assert folder.layers_of("Qwen/Qwen3-0.6B") is None
    for config, depth in [
        ({"n_layer": 6}, 6),
        ({"num_hidden_layers": 6, "is_encoder_decoder": True}, None),
        ({"num_hidden_layers": 6, "n_layers": 7}, None),
        ({"num_hidden_layers": [6]}, None),
        ([6], None),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert folder.layers_of(tmp_path) == depth


@pytest.mark.parametrize(
    ("build", "driver", "known"),
    [("2.9.0+cpu", True, False), ("2.9.0", False, False), ("2.9.0", True, True)],
)
def test_cuda_needs_a_build_and_a_driver(monkeypatch, tmp_path, build, driver, known):
    if driver:
        (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(folder, "version", lambda _name: build)
    monkeypatch.setattr(folder.sys, "platform", "linux")
    monkeypatch.setattr(folder, "DEVICES", tmp_path)
    if known:
        folder.check_device("cuda:1")
    else:
        with pytest.raises(folder.ModelError, match="'cuda:1' cannot be used: try auto, cpu"):
            folder.check_device("cuda:1")
    folder.check_device("cpu")
