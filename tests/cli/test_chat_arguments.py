"""``--chat-arg`` and prompts that end inside a thought, wherever there is ``--chat``."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from crosslatent.cli.command_options import check_chat
from crosslatent.core.errors import UsageError
from crosslatent.core.specs import CHAT_ARGS
from support.models import save_tiny

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant><think>"
    "{% if enable_thinking is defined and enable_thinking is false %}</think>{% endif %}"
)
OFF = "--chat-arg=enable_thinking=false"
GOLD = {"answer": "a"}
ITEMS = [
    {
        "id": f"q{k}",
        "lang": "sw",
        "aux_lang": "en",
        "main": f"M{k}?",
        "aux": f"C{k}?",
        "answer": "a",
    }
    for k in range(4)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = save_tiny(tmp_path_factory.mktemp("models") / "thinking")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in ITEMS))
    return path


def read(given, *, chat):
    arguments = CHAT_ARGS.read(given or [])
    check_chat({"chat": chat, "chat_args": arguments})
    return arguments


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a=false"], {"a": False}),
        (["a=1", "b=1.5"], {"a": 1, "b": 1.5}),
        (["a=null"], {"a": None}),
        (['a="false"'], {"a": "false"}),
        (["a=high"], {"a": "high"}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (['a=[{"x": 1}]'], {"a": [{"x": 1}]}),
        (["a=NaN"], {"a": "NaN"}),
        ([" a = x"], {"a": " x"}),
        (None, {}),
    ],
)
def test_values_are_json_or_texts(given, found):
    assert read(given, chat=True) == found


@pytest.mark.parametrize(
    ("given", "chat", "said"),
    [
        (["a"], True, "NAME=VALUE belongs there"),
        (["=a"], True, "NAME=VALUE belongs there"),
        (["a=1", "a=2"], True, "gives 'a' twice"),
        (["a=False"], True, "write a=false"),
        (["a=None"], True, "write a=null"),
        (["a=1"], False, "give --chat too"),
    ],
)
def test_what_is_no_argument(given, chat, said):
    with pytest.raises(UsageError, match=said):
        read(given, chat=chat)


COMMANDS = {
    "sweep": ["sweep", "--out=OUT", "--prompts=PROMPTS", "--pairs=0:0"],
    "transplant": ["transplant", "--main=Mji?", "--aux=City?", "--preset=culture"],
    "tasks show": ["tasks", "show", "PROMPTS"],
    "tasks validate": ["tasks", "validate", "PROMPTS"],
    "lens eval": ["lens", "eval", "--out=OUT", "--prompts=PROMPTS", "--transplant=ffn:0:0"],
    "lens probe": ["lens", "probe", "--out=OUT", "--task=demo-facts", "--langs=en,sw", "--limit=6"],
    "lens train": ["lens", "train", "--out=OUT", "--task=demo-facts", "--langs=sw", "--limit=6",
                   "--objective=answers", "--max-steps=1"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_with_chat_tells_its_template(name, cli, folder, prompts, tmp_path):
    def call(*more):
        places = {"OUT": str(tmp_path / "out"), "PROMPTS": str(prompts)}
        words = [word.replace("OUT", places["OUT"]) for word in COMMANDS[name]]
        words = [word.replace("PROMPTS", places["PROMPTS"]) for word in words]
        return cli(*words, f"--model={folder}", *more)

    call(OFF).assert_refused("enable_thinking", "do not go through one: give --chat")
    call("--chat", "--chat-arg=enable_thinkng=false").assert_refused(
        "does not use 'enable_thinkng'", "it reads enable_thinking"
    )
    assert call("--chat", OFF).code == 0


@pytest.mark.parametrize("name", ["sweep", "transplant", "tasks show", "dry run"])
def test_an_open_thought_is_said(name, cli, folder, prompts, tmp_path):
    def call(*more):
        words = COMMANDS["sweep" if name == "dry run" else name]
        words = [word.replace("PROMPTS", str(prompts)) for word in words]
        words = [word.replace("OUT", str(tmp_path / f"out{len(more)}")) for word in words]
        dry = ["--dry-run"] if name == "dry run" else []
        return cli(*words, f"--model={folder}", "--chat", *dry, *more)

    said = "Warning: the main prompt ends inside a thought ('<think>')"
    open_, closed = call(), call(OFF)
    assert (open_.code, closed.code) == (0, 0)
    assert said in open_.err
    assert "--chat-arg enable_thinking=false closes it" in open_.err
    assert said not in closed.err


def test_arguments_stand_in_the_run_and_its_selector(cli, folder, prompts, tmp_path):
    sweep = ["sweep", f"--model={folder}", f"--prompts={prompts}", f"--out={tmp_path / 'run'}"]
    assert cli(*sweep, "--pairs=0:0", "--chat", OFF).code == 0
    assert cli(*sweep, "--pairs=0:0", "--chat", OFF).code == 0
    cli(*sweep, "--pairs=0:0", "--chat").assert_refused("spec.chat_args")
    from crosslatent.runs import RunReader
    from crosslatent.selectors.saved import fitted_on

    manifest = RunReader(tmp_path / "run").manifest
    assert manifest["requested"]["chat_args"] == {"enable_thinking": False}
    assert fitted_on(manifest, "run", "pilot", 4)["spec"]["chat_args"] == {"enable_thinking": False}


def test_tasks_show_renders_what_the_model_is_told(cli, folder, prompts):
    shown = cli("tasks", "show", prompts, f"--model={folder}", "--chat", OFF, "--json").json
    assert [one["text"][-16:] for one in shown["prompts"]] == ["><think></think>"] * 2
