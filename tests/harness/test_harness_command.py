"""The harness's own command line with `crosslatent` among its models."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from crosslatent.core.errors import UsageError
from crosslatent.harness import command


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr("lm_eval.__main__.setup_logging", lambda: None)
    from crosslatent.cli.app import lm_eval

    app = typer.Typer()
    app.callback()(lambda: None)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("lm-eval", context_settings=settings)(lm_eval)
    return app


def handed_on(*arguments):
    """The model arguments that flags turn into, and the rest."""
    words = command._for_harness(list(arguments))
    if words[1:2] != ["--model_args"]:
        return {}, words
    return json.loads(words[2]), words[3:]


def test_flags_that_decide_contexts_are_handed_on():
    user = ("-M", "crosslatent", "--model_args", "pretrained=x", "--tasks", "a,b")
    flags = ("-f", "3", "--include_path", "my tasks", "--seed", "1,2,3,4", "--apply_chat_template")
    more = ("--fewshot_as_multiturn", "false", "--system_instruction", "Be brief, please")
    settings, rest = handed_on("run", *user, *flags, *more)
    assert rest == [*user, *flags, *more]
    assert settings == {
        "num_fewshot": 3,
        "include_path": "my tasks",
        "fewshot_seed": 4,
        "apply_chat_template": True,
        "fewshot_as_multiturn": False,
        "system_instruction": "Be brief, please",
    }


@pytest.mark.parametrize(("seeds", "expected"), [("5", 5), ("1,2,3", None), ("0,None,8,52", 52)])
def test_the_fourth_seed_draws_examples(seeds, expected):
    settings, _ = handed_on("--model", "crosslatent", "--seed", seeds)
    assert settings.get("fewshot_seed") == expected


@pytest.mark.parametrize(
    "arguments", [("--model", "hf", "--num_fewshot", "2"), ("ls", "tasks"), ()], ids=str
)
def test_other_commands_go_through_as_they_are(arguments):
    assert handed_on(*arguments) == ({}, list(arguments))


def test_from_the_shell(evaluate, folder, tasks, tmp_path):
    """Examples, include path and a layer counted from the end arrive at the model."""
    transplant = "component=attn,source=-1,target=0,aux=en"
    arguments = ["--model", "crosslatent", "--model_args", f"pretrained={folder},{transplant}"]
    arguments += ["--tasks", "choice_sw", "--include_path", tasks, "--num_fewshot", "1"]
    arguments += ["--output_path", tmp_path, "--log_samples", "--batch_size", "auto"]
    done = subprocess.run(
        [sys.executable, "-m", "crosslatent.harness", *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.rglob("results_*.json")
    results = json.loads(written.read_text(encoding="utf-8"))
    flags = {"num_fewshot": 1}
    settings = {"component": "attn", "source": -1, "target": 0, "aux": "en"}
    expected = evaluate("choice_sw", flags=flags, **flags, **settings)
    assert results["results"]["choice_sw"]["acc,none"] == expected.metric("choice_sw", "acc")
    assert results["config"]["source"] == 3
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    lines = samples.read_text(encoding="utf-8").splitlines()
    found = [float(said[0][0]) for line in lines for said in json.loads(line)["resps"]]
    assert found == pytest.approx(expected.scores("choice_sw"), abs=1e-4)


def test_help_is_that_of_the_harness(app):
    result = CliRunner().invoke(app, ["lm-eval", "--help"])
    assert result.exit_code == 0
    for option in ("--model_args", "--include_path", "--tasks"):
        assert option in result.output


def test_wrong_arguments_have_the_harness_s_exit_code(app):
    for wrong in (["run", "--no-such-option"], ["--model", "crosslatent", "--num_fewshot", "x"]):
        result = CliRunner().invoke(app, ["lm-eval", *wrong])
        assert result.exit_code == 2
        assert "lm-eval: error" in result.output or "lm-eval run: error" in result.output
    assert sys.argv[0] != "lm-eval"


def test_without_the_harness_the_way_to_install_it_is_said(app, monkeypatch):
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"need lm_eval, .* pip install .*\[lm-eval\]'"):
        command.run(["--help"])
    result = CliRunner().invoke(app, ["lm-eval", "--help"])
    assert isinstance(result.exception, UsageError)


def test_the_package_can_be_imported_without_the_harness():
    code = (
        "import sys; sys.modules['lm_eval'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'lm_eval' else real(name, *a)\n"
        "import runpy; sys.argv = ['x', '--help']\n"
        "runpy.run_module('crosslatent.harness', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "Error: The commands of lm-evaluation-harness need lm_eval"
    )
    assert "Traceback" not in done.stderr


def test_the_harness_s_own_models_stay_known():
    from lm_eval.api.registry import get_model

    assert get_model("crosslatent").__name__ == "CrosslatentLM"
    assert get_model("dummy").__name__ == "DummyLM"
