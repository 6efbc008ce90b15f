"""Settings: one place from which the command line, Python and run.json follow."""

# Annotations are evaluated in this module, since they hold the settings.

import inspect
from pathlib import Path
from typing import Annotated, TypedDict, Unpack

import pytest
import typer
from typer.testing import CliRunner

from crosslatent.cli.command_options import command
from crosslatent.core.settings import (
    REQUIRED,
    Panel,
    Setting,
    complete,
    documented,
    kept,
    names,
    part,
    positive,
    real,
    settings_of,
    whole,
)
from crosslatent.sweeps.spec import RunSettings, SweepSpec, WorkerSettings


class Basket(TypedDict, total=False):
    """What is bought."""

    shop: Annotated[
        str, Setting(help="Where.", default=REQUIRED, metavar="NAME", panel=Panel.MODEL)
    ]
    fruit: Annotated[tuple[str, ...], Setting(help="Which.", default=(), metavar="F,F", read=names)]
    count: Annotated[int, Setting(help="How many.", default=2, metavar="N", read=positive)]
    note: Annotated[
        list[str], Setting(help="Said.", default=(), repeated=True, read=sorted, metavar="TEXT")
    ]
    file: Annotated[Path | None, Setting(help="List.", metavar="FILE", read=Path, aside=True)]
    wrap: Annotated[bool, Setting(help="In paper.", default=False, rare=True)]
    cash: Annotated[bool, Setting(help="Paid so.", default=True)]
    least: Annotated[
        int | None,
        Setting(
            help="None for any.",
            default=1,
            metavar="N|none",
            read=lambda text: None if text == "none" else whole(text),
        ),
    ]
    who: Annotated[str, Setting(help="Buyer.", default="me", only_python=True)]


def run(*arguments):
    """What a command with these settings gets, and what it prints."""
    got = {}
    app = typer.Typer()

    @app.command()
    @command
    def buy(basket: Basket, dry: bool = False) -> None:
        got.update(basket, dry=dry)

    return got, CliRunner().invoke(app, list(arguments))


def test_options_follow_from_settings():
    got, result = run("--shop=corner")
    assert result.exit_code == 0, result.output
    assert got == complete(Basket, {"shop": "corner"}) | {"dry": False}
    got, _ = run(
        "--shop=x", "--fruit=fig, plum,fig", "--count=3", "--note=b", "--note=a", "--file=f",
        "--wrap", "--no-cash", "--dry",
    )  # fmt: skip
    assert got == {
        "shop": "x", "fruit": ("fig", "plum"), "count": 3, "note": ["a", "b"], "file": Path("f"),
        "wrap": True, "cash": False, "least": 1, "who": "me", "dry": True,
    }  # fmt: skip
    assert run("--shop=x", "--least=none")[0]["least"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--shop'"),
        (["--shop=x", "--count=0"], "'--count': 0 is too small: give 1 or more"),
        (["--shop=x", "--count=many"], "'many' is not a whole number"),
        (["--shop=x", "--fruit=a,,b"], "'a,,b' has an empty part"),
        (["--shop=x", "--who=you"], "No such option"),
    ],
)
def test_what_no_setting_can_be_is_refused(arguments, said):
    got, result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert not got


def test_help_names_panels_and_defaults_and_leaves_out_what_is_rare():
    _, result = run("--help")
    assert f" {Panel.MODEL} ─" in result.output
    assert "--wrap" not in result.output
    assert run("--wrap", "--shop=x")[0]["wrap"] is True
    assert "How many. [default: 2]" in " ".join(result.output.split())
    assert "--who" not in result.output


def test_a_group_is_completed_and_refuses_what_is_no_setting():
    assert complete(Basket, {"shop": "x", "count": 5})["count"] == 5
    with pytest.raises(TypeError, match="no setting 'cout': Basket has shop, fruit, count"):
        complete(Basket, {"shop": "x", "cout": 5})
    with pytest.raises(TypeError, match="'shop' is missing"):
        complete(Basket, {})


def test_a_part_of_several_groups():
    given = {"engine": "oracle", "strength": 2.0, "ray": "local"}
    assert part(RunSettings, given) == complete(RunSettings, {"engine": "oracle"})
    assert part(SweepSpec, given)["strength"] == 2.0
    assert part(WorkerSettings, given)["ray"] == "local"


def test_run_json_keeps_what_decides_a_result():
    basket = complete(Basket, {"shop": "x", "fruit": ("a", "b"), "file": Path("f")})
    assert kept(Basket, basket) == {
        "shop": "x", "fruit": ["a", "b"], "count": 2, "note": [], "wrap": False, "cash": True,
        "least": 1, "who": "me",
    }  # fmt: skip


def test_python_shows_settings_as_keywords():
    @documented(Basket)
    def buy(much: int, **basket: Unpack[Basket]) -> None:
        """Buy.

        Args:
            much: pieces.
            {settings}
        """

    assert list(inspect.signature(buy).parameters) == ["much", *settings_of(Basket)]
    assert inspect.signature(buy).parameters["count"].default == 2
    assert "            count: How many." in buy.__doc__
    assert "{settings}" not in buy.__doc__


def test_every_setting_of_a_sweep_says_what_it_is():
    for group in (SweepSpec, RunSettings, WorkerSettings):
        for name, one in settings_of(group).items():
            assert one.help.endswith("."), name
            assert one.is_switch or one.only_python or one.metavar, name


@pytest.mark.parametrize(
    ("read", "text"), [(whole, "1.5"), (positive, "-1"), (real, "nan"), (real, "x"), (names, ",")]
)
def test_texts_that_are_refused_are_named(read, text):
    with pytest.raises(ValueError, match=text):
        read(text)
