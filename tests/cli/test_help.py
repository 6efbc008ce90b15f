"""Help answers at once; wrong usage is one sentence; what nobody foresaw has no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

import crosslatent
from crosslatent.cli.app import excepthook
from crosslatent.cli.command_options import Invocation

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
