"""Help answers at once; wrong usage is one sentence; what nobody foresaw has no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

import crosslatent
from crosslatent.cli.app import command, excepthook
from crosslatent.cli.command_class import EXAMPLES, Invocation, lines_of
from crosslatent.core.settings import Panel

COMMANDS = ("check", "demo", "transplant", "sweep", "export", "report", "tasks")

SPY = """
import sys
from crosslatent.cli.app import main
codes = [main(arguments) for arguments in {arguments!r}]
heavy = sorted({{"torch", "transformers", "pandas", "duckdb", "plotly"}} & set(sys.modules))
print("SPY", codes, heavy)
"""


def test_help_and_task_list_load_no_heavy_library():
    arguments = [["--help"], ["check", "--help"], ["tasks", "ls"], ["tasks", "show", "nope"]]
    done = subprocess.run(
        [sys.executable, "-c", SPY.format(arguments=arguments)],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "SPY [0, 0, 0, 2] []" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli, command):
    result = cli(command, "--help")
    assert result.code == 0
    assert result.err == ""
    assert command in result.out


def test_version(cli):
    result = cli("--version")
    assert result.code == 0
    assert result.out.startswith("crosslatent ")


@pytest.mark.parametrize("arguments", [[], ["tasks"]])
def test_no_command_shows_help_and_is_wrong_usage(cli, arguments):
    result = cli(*arguments)
    assert result.code == 2
    assert "Usage: crosslatent" in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["sweep", "--task", "x"], "--model"),
        (["sweep", "--modle", "x"], "--modle"),
        (["transplant", "--model", "m", "--source", "one"], "'one'"),
        (["transplant", "--model", "m", "--max-new-tokens", "0"], "0 is too small"),
        (["sweep", "--model", "m", "--out", "r", "--limit", "0"], "0 is too small"),
        (["sweep", "--model", "m", "--out", "r", "--seed", "x"], "'x' is not a whole"),
        (["export", "run"], "--format"),
        (["report", "--out", "x"], "RUN"),
        (["--nope"], "--nope"),
    ],
)
def test_arguments_that_cannot_be_parsed(cli, arguments, words):
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("Error: ")
    assert words in result.err
    assert "--help" in result.err


def test_debug_shows_where_an_error_was_raised(cli):
    quiet = cli("tasks", "show", "nope")
    quiet.assert_refused("nope")
    loud = cli("tasks", "show", "nope", "--debug")
    assert loud.code == 2
    assert "Traceback" in loud.err
    assert loud.err.rstrip().endswith(quiet.err.removeprefix("Error: ").rstrip())
    assert cli("--debug", "tasks", "show", "nope").err == loud.err


def test_an_unforeseen_error_is_one_sentence(capsys):
    error = RuntimeError("two\nlines")
    excepthook(Invocation())(RuntimeError, error, None)
    assert capsys.readouterr().err == (
        "Error: unexpected RuntimeError (two lines): repeat with --debug to see where.\n"
    )
    excepthook(Invocation(debug=True))(RuntimeError, error, None)
    assert "RuntimeError: two\nlines" in capsys.readouterr().err


def test_interruption_is_not_a_crash(cli, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("crosslatent.core.shared_settings.transplant_of", interrupt)
    result = cli("transplant", "--model", "m")
    assert result.code in (1, 130)
    assert "Traceback" not in result.err


def test_version_is_the_package_version(cli):
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("crosslatent")
    except PackageNotFoundError:
        pytest.skip("the package runs from its source folder and is not installed")
    assert installed == crosslatent.__version__


def test_rare_options_are_shown_when_asked_for(cli):
    short, whole = cli("sweep", "--help").out, cli("sweep", "--help-all").out
    assert "--pairs" in short
    assert "--slice-rows" not in short
    assert "more options: crosslatent sweep --help-all" in short
    assert "--slice-rows" in whole
    assert "more options" not in whole
    again = cli("sweep", "--help").out
    assert again == short


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_help_fits_and_has_two_examples(cli, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", columns)
    said = cli(*name.split(), "--help").out
    assert max(map(len, said.splitlines())) <= int(columns)
    assert "\x1b[" not in said
    assert said.count(f"crosslatent {name}") >= 2
    lines = [line.strip() for line in said.splitlines()]
    for example in EXAMPLES[name]:
        assert all(line.strip() in lines for line in lines_of(example).splitlines())


@pytest.mark.parametrize("example", [example for both in EXAMPLES.values() for example in both])
def test_every_example_is_right_as_far_as_it_is_parsed(example):
    arguments = shlex.split(example)
    found = command()
    while hasattr(found, "commands"):
        found = found.commands[arguments.pop(0)]
    context = found.make_context("crosslatent", arguments)
    assert context.params


def test_every_command_has_examples():
    def names(found, before=()):
        for name, each in found.commands.items():
            yield from (
                names(each, (*before, name))
                if hasattr(each, "commands")
                else [" ".join((*before, name))]
            )

    assert set(names(command())) - {"lm-eval"} == EXAMPLES.keys()


def commands_of(found, before=()):
    for name, each in found.commands.items():
        if hasattr(each, "commands"):
            yield from commands_of(each, (*before, name))
        else:
            yield " ".join((*before, name)), each


COMMANDS_OF = {name: each for name, each in commands_of(command()) if name != "lm-eval"}


@pytest.mark.parametrize("name", COMMANDS_OF)
def test_options_are_in_panels_and_few_of_them_are_shown(name):
    options = [one for one in COMMANDS_OF[name].params if one.param_type_name == "option"]
    assert {one.rich_help_panel for one in options} <= set(Panel)
    panels = [tuple(Panel).index(one.rich_help_panel) for one in options]
    assert panels == sorted(panels)
    assert sum(not one.hidden for one in options) <= 14
    for one in options:
        assert not (one.required and one.hidden), one.name


def test_an_example_is_the_same_on_several_lines():
    name, (example, _) = "transplant", EXAMPLES["transplant"]
    lines = lines_of(example)
    assert lines.count(" \\\n  ") >= 2
    assert shlex.split(lines.replace("\\\n", "")) == shlex.split(f"crosslatent {example}")
    assert example.startswith(name)


@pytest.mark.parametrize("setting", [{}, {"NO_COLOR": "1"}, {"COLUMNS": "200"}])
def test_a_pipe_gets_help_without_colours(setting):
    done = subprocess.run(
        [sys.executable, "-m", "crosslatent", "tasks", "ls", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, **setting},
    )  # fmt: skip
    assert "\x1b" not in done.stdout + done.stderr
    assert "crosslatent tasks ls --json" in done.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("swe", {"sweep"}),
        ("sweep --task demo-f", {"demo-facts"}),
        ("sweep --controls shuffled,no", {"shuffled,noise"}),
        ("transplant --preset c", {"culture"}),
        ("sweep --pairs preset:g", {"preset:generation"}),
        ("select RUN --strategy conf", {"confidence"}),
        ("sweep --slice", {"--slice-rows"}),
        ("overhead --plan 70B@h2", {"70B@h200"}),
    ],
)
def test_the_shell_completes(words, completed):
    asked = {"_CROSSLATENT_COMPLETE": "complete_bash", "COMP_WORDS": f"crosslatent {words}"}
    done = subprocess.run(
        [sys.executable, "-c", "from crosslatent.cli.app import entry; entry()"],
        capture_output=True, text=True, check=True,
        env={**os.environ, **asked, "COMP_CWORD": str(len(words.split()))},
    )  # fmt: skip
    assert set(done.stdout.split()) == completed
