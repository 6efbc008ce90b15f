"""The documentation says what the code does: generated parts, error classes, CLI options."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from transformers import CONFIG_MAPPING

import crosslatent
from crosslatent.cli.app import app, main
from crosslatent.core import errors
from crosslatent.core.imports import EXTRAS
from crosslatent.planted.planting import VARIANTS
from crosslatent.tasks import RULES
from crosslatent.tasks.definition import Definition, Language, Released, RowsSection
from crosslatent.tasks.item import FIELDS as ITEM_FIELDS
from crosslatent.tasks.metrics import METRICS
from scripts import (
    cli_docs,
    errors_index,
    models_docs,
    planted_docs,
    python_docs,
    released_models,
    scale_docs,
)
from scripts.run_folder_docs import RUN_JSON, TARGET, render
from support.families import REFUSED
from support.models import ALL_FAMILIES
from support.two_stacks import TWO_STACKS

ROOT = Path(__file__).parent.parent
GUIDES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_run_folder_document_is_up_to_date():
    assert TARGET.read_text(encoding="utf-8") == render(), "run `make docs`"


def test_the_document_of_the_command_line_is_up_to_date():
    assert cli_docs.TARGET.read_text(encoding="utf-8") == cli_docs.render(), "run `make docs`"


def test_every_planted_variant_has_its_section_and_picture():
    page = planted_docs.TARGET.read_text(encoding="utf-8")
    for name in VARIANTS.own:
        assert planted_docs.body(name, VARIANTS[name]) in page, "run `make docs-planted`"
        assert (planted_docs.PICTURES / f"{name}.png").stat().st_size < 100_000
    assert len(list(planted_docs.PICTURES.iterdir())) == len(VARIANTS.own)


def test_scale_document_is_up_to_date():
    assert scale_docs.TARGET.read_text(encoding="utf-8") == scale_docs.render(), "run `make docs`"


def test_models_document_is_up_to_date():
    found = models_docs.read()
    assert models_docs.TARGET.read_text(encoding="utf-8") == models_docs.render(found)
    newest = found[list(found)[-1]]
    assert sorted(newest["families"]) == sorted((*ALL_FAMILIES, *TWO_STACKS)), "run `make models`"
    assert sorted(newest["refused"]) == sorted(REFUSED), "run `make models`"
    assert models_docs.series(next(iter(found))) == models_docs.lowest_transformers()


def test_the_readme_counts_the_model_types_that_are_tested():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    types = {name.partition("-")[0] for name in (*ALL_FAMILIES, *TWO_STACKS)}
    assert re.findall(r"(\d+) model types are tested", readme) == [str(len(types))]


def test_whatever_does_not_pass_has_its_reason_in_the_models_document():
    for found in models_docs.read().values():
        for family, one in found["families"].items():
            others = {name for name, status in one["contracts"].items() if status != "passed"}
            assert others == set(one["reasons"]), family
            assert (one["path"] == "shared-prefix") == (one["reason"] == ""), family


def test_released_models_are_named_by_model_types_that_there_are():
    types = {name.partition("-")[0] for name in released_models.RELEASED}
    tested = {name.partition("-")[0] for name in ALL_FAMILIES}  # by newer versions, some of them
    assert [name for name in sorted(types - tested) if name not in CONFIG_MAPPING] == []


def test_a_row_of_the_models_document_says_what_did_not_pass_and_why():
    passed = {"self-transplant": "passed", "fast-equals-oracle": "passed"}
    skipped = passed | {"fast-equals-oracle": "skipped"}
    kept = {"path": "shared-prefix", "reason": "", "contracts": passed, "reasons": {}}
    alone = {
        "path": "oracle",
        "reason": "shared-prefix: a | b",
        "contracts": skipped,
        "reasons": {"fast-equals-oracle": "one by one"},
    }
    families = {"gpt2": kept, "opt-norm-after": alone}
    found = {
        "5.3.0": {"families": {"gpt2": alone}, "refused": {}},
        "5.23.0": {"families": families, "refused": {"mamba": "No."}},
    }
    lines = models_docs.render(found).splitlines()
    assert "| `gpt2` | GPT-2 | 5.3, 5.23 | 2 of 2 (5.3: 1 of 2, fast-equals-oracle skipped) | " in (
        "\n".join(lines)
    )
    assert (
        "| `opt`, norm-after | OPT-350M | 5.23 | 1 of 2, fast-equals-oracle skipped | `oracle` | "
        "shared-prefix: a \\| b; fast-equals-oracle: one by one |"
    ) in lines
    assert "| `mamba` | Mamba | No. |" in lines
    assert any("1 of 2 model types keep all 2 contracts, 1 of them on" in line for line in lines)


def test_results_of_the_lowest_version_stay_when_another_is_run():
    lowest = f"{models_docs.lowest_transformers()}.0"
    before = {lowest: {"a": 1}, "5.22.0": {"b": 1}}
    assert models_docs.merged(before, {"5.23.1": {}}) == {lowest: {"a": 1}, "5.23.1": {}}
    assert models_docs.merged(before, {"5.22.3": {}}) == {lowest: {"a": 1}, "5.22.3": {}}
    assert models_docs.merged(before, {lowest: {}}) == {lowest: {}, "5.22.0": {"b": 1}}
    assert list(models_docs.merged({}, {"5.10.0": {}, "5.9.0": {}})) == ["5.9.0", "5.10.0"]


def test_run_json_of_a_sweep_has_the_documented_keys(tmp_path, tiny_folder):
    import crosslatent as xl

    xl.sweep(xl.load(tiny_folder), [{"main": "a", "aux": "b"}], pairs="0:0", out=tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert set(manifest) == set(RUN_JSON)


def test_every_error_is_in_the_index():
    index = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    classes = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert [name for name in classes if f"`{name}`" not in index] == []


def test_every_field_and_rule_of_a_task_is_documented():
    guide = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    parts = (Definition, Language, RowsSection, Released)
    fields = {"include", *ITEM_FIELDS, *(name for part in parts for name in part.model_fields)}
    assert [n for n in (*sorted(fields), *RULES, *METRICS) if f"`{n}`" not in guide] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_lead_somewhere(guide):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8"))
    assert [link for link in links if not (guide.parent / link).exists()] == []


def examples(guide):
    """The words behind `crosslatent`, of every example in a block or within a sentence."""
    text = guide.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    lines = re.findall(r"^crosslatent (.+)$", blocks, flags=re.MULTILINE)
    lines += re.findall(r"`(?:[\w. -]+ )?crosslatent ([a-z][^`]*)`", text)
    return [line.split("#")[0].split() for line in lines]


def known(words):
    """The command that an example calls, however deep, and its options."""
    command, path = typer.main.get_command(app), []
    while hasattr(command, "commands"):
        if len(path) == len(words):
            break  # a group of commands, spoken of as one
        assert words[len(path)] in command.commands, " ".join(words)
        path.append(words[len(path)])
        command = command.commands[path[-1]]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return path, options | {"--help"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_options_in_examples_exist(guide, capsys):
    for words in examples(guide):
        path, options = known(words)
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        if path == ["lm-eval"]:
            if find_spec("lm_eval") is None:
                continue  # an extra, whose options are its own
            assert main(["lm-eval", "--help"]) == 0
            options = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert used <= options, " ".join(words)


def test_options_that_do_not_exist_are_seen(tmp_path):
    guide = tmp_path / "guide.md"
    block = "```sh\ncrosslatent lens train \\\n  --bloks 4  # --at\n```\n"
    guide.write_text(f"{block}`torchrun -m crosslatent lens train --bloks 2`\n")
    path = ["lens", "train"]
    assert examples(guide) == [[*path, "--bloks", "4"], [*path, "--bloks", "2"]]
    assert known(path)[0] == path
    assert "--blocks" in known(path)[1]
    with pytest.raises(AssertionError, match="--bloks"):
        test_options_in_examples_exist(guide, None)
    with pytest.raises(AssertionError, match="lens tain"):
        known(["lens", "tain"])


def test_guide_of_lens_has_an_example_of_each_of_its_commands():
    shown = {tuple(words[:2]) for words in examples(ROOT / "docs" / "lens.md")}
    commands = typer.main.get_command(app).commands["lens"].commands
    assert {("lens", name) for name in commands} <= shown


def blocks(language, guide="README.md"):
    text = (ROOT / guide).read_text(encoding="utf-8")
    return "".join(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))


def test_transplant_of_the_readme_repairs_what_it_says(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = blocks("sh").replace("\\\n", " ").splitlines()
    (line,) = [line for line in commands if line.startswith("crosslatent transplant")]
    claim = re.search(r"# (\(\d\)).* becomes (\(\d\))", line)
    arguments = shlex.split(line, comments=True)[1:]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["vanilla"].strip(), result["output"].strip()) == claim.groups()


def test_the_readme_is_a_screen_that_begins_with_python_that_runs(capsys):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert lines.index("```python") < 20
    assert len(blocks("python").split()) < 60
    scope = {}
    exec(compile(blocks("python"), "README.md", "exec"), scope)
    before, after = capsys.readouterr().out.split("->")
    assert f"# {before.strip()} -> {after.strip()}: " in blocks("python")


def test_python_of_the_tour_runs(capsys):
    scope = {}
    exec(compile(blocks("python", "docs/tour.md"), "tour.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert f"{scope['one'].vanilla} -> {scope['one'].output}" in printed
    assert "correct" in printed
    answer = scope["ids"][0, scope["prompt"]["input_ids"].shape[1] :]
    assert scope["model"].text_of(answer.tolist()).strip() == scope["one"].output.strip()


def test_the_installation_page_lists_every_extra():
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    own = {"all", "recipe", "build", "test", "dev"}
    assert declared.keys() - own == EXTRAS.keys()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == {*EXTRAS, "all"}
    assert {*declared} - own == set(Requirement(*declared["all"]).extras)


def test_the_python_reference_is_up_to_date_and_whole():
    named = {name for group in python_docs.GROUPS.values() for name in group}
    assert {name for name in named if "." not in name} == {*crosslatent.__all__} - {"lens"}
    assert python_docs.TARGET.read_text(encoding="utf-8") == python_docs.render(), "run `make docs`"


def test_every_message_is_in_the_index():
    page = errors_index.TARGET.read_text(encoding="utf-8")
    assert page == errors_index.render(page), "run `make docs`"


def test_only_public_names_are_listed():
    assert dir(crosslatent) == sorted(crosslatent.__all__)
    assert dir(crosslatent.lens) == sorted(crosslatent.lens.__all__)
    for name in (*crosslatent.__all__, *(f"lens.{each}" for each in crosslatent.lens.__all__)):
        found = crosslatent
        for part in name.split("."):
            found = getattr(found, part)
        if callable(found):
            assert inspect.getdoc(found), name
