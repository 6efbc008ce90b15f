"""Tasks, models, selectors and spaces of others: read without running anything, or refused."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core.errors import (
    CrosslatentError,
    ModelError,
    RunFolderError,
    TaskError,
    UsageError,
)
from crosslatent.lens.evaluation.evaluation_record import Evaluation
from crosslatent.lens.space import load_space
from crosslatent.lens.training.record import CurvePoint, TrainRecord, read_record, write_record
from crosslatent.selectors.saved import load as load_selector
from crosslatent.tasks import load_task
from crosslatent.translate.translations import TranslationCache
from support.hostile import bad, hostile_run
from support.models import save_tiny

OLD = tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 24)
STRANGE = (None, True, -1, 10**30, 1e308, "", bad("text"), [], [[]], {}, {"a": [None]})


def variations(plain: Any) -> Iterator[Any]:
    """The same plain data with something else in one of its places."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield {name: held for name, held in plain.items() if name != key}
            yield from ({**plain, key: strange} for strange in STRANGE)
            yield from ({**plain, key: other} for other in variations(value))
    elif isinstance(plain, list) and plain:
        yield from ([strange, *plain[1:]] for strange in STRANGE)
        yield from ([other, *plain[1:]] for other in variations(plain[0]))


# Tasks

TASK = """
name: mine
languages: {sw: {}, en: {}}
template: "{{ q }}"
answer: "a"
rows: {files: "{code}.jsonl"}
"""


def task_with(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TASK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    for lang in ("sw", "en"):
        (folder / f"{lang}.jsonl").write_text('{"q": "Swali?", "a": "x"}\n', encoding="utf-8")
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return file


ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ q.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('touch PWNED').read() }}",
    "{{ (q|attr('format'))('{0.__class__}', q) }}{{ self._TemplateReference__context }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__.__mro__}'.format(q) }}",
    "{{ range(10**9) }}",
    "{{ 'x' * 10**20 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
)


@pytest.mark.parametrize("template", ESCAPES, ids=lambda text: text[:24])
def test_templates_stay_in_their_sandbox(
    tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = task_with(tmp_path, ('"{{ q }}"', json.dumps(template)))
    try:
        shown = load_task(str(file)).items[0].main
    except TaskError as error:
        shown = str(error)
        assert f"{file}:" in shown, "it is the template that is refused"
    assert "subprocess" not in shown
    assert "root:" not in shown
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "pattern", ["{code.__class__}.jsonl", "{code[0]}.jsonl", "{0}.jsonl", "{code!r:>{lang}}", "{"]
)
def test_patterns_of_files_hold_names_alone(tmp_path: Path, pattern: str) -> None:
    file = task_with(tmp_path, ('"{code}.jsonl"', json.dumps(pattern)))
    with pytest.raises(TaskError, match="pattern"):
        load_task(str(file))


@pytest.mark.parametrize(
    "hub", ["pandas", "csv", "/etc", "./x", "../x", "a/b/c", "a/../b", "", "~/x"]
)
def test_data_repositories_are_those_of_the_hub(tmp_path: Path, hub: str) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"q": ["x"], "a": ["x"]}))
    rows = f"hub: {json.dumps(hub)}, splits: {{pilot: train}}, data_files: \"'x.pkl'\""
    file = task_with(tmp_path, ('files: "{code}.jsonl"', rows))
    with pytest.raises(TaskError, match="OWNER/NAME|hub"):
        load_task(str(file))


def test_yaml_makes_no_objects_and_no_millions(tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    call = f"!!python/object/apply:os.system ['touch {executed}']"
    file = task_with(tmp_path, ("name: mine", f"name: {call}"))
    with pytest.raises(TaskError):
        load_task(str(file))
    assert not executed.exists()
    laughs = "a0: &a0 {x: y}\n" + "".join(
        f"a{k}: &a{k} {{" + ", ".join(f"k{n}: *a{k - 1}" for n in range(10)) + "}\n"
        for k in range(1, 9)
    )
    file.write_text(laughs + TASK, encoding="utf-8")
    with pytest.raises(TaskError, match="more than"):
        load_task(str(file))


# Models


def test_a_config_cannot_ask_for_code_of_the_hub(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for name in ("attn_implementation", "_attn_implementation"):
        file.write_text(json.dumps(config | {name: "somebody/kernel"}), encoding="utf-8")
        if name == "attn_implementation" and OLD:  # it is not read
            assert xl.load(folder, device="cpu").hf.config._attn_implementation == "sdpa"
            continue
        with pytest.raises(ModelError, match="code from the hub"):
            xl.load(folder, device="cpu")
    code = {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Config: pass\n", encoding="utf-8"
    )
    for kind in (config["model_type"], "evil"):
        changed = config | code | {"model_type": kind}
        file.write_text(json.dumps(changed), encoding="utf-8")
        with contextlib.suppress(ModelError):
            xl.load(folder, device="cpu")
        assert not (tmp_path / "executed").exists()


def test_an_adapter_cannot_name_a_module(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    content = {
        "peft_type": "LORA",
        "base_model_name_or_path": "x/y",
        "megatron_config": {"a": 1},
        "megatron_core": "antigravity",
    }
    (folder / "adapter_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="megatron_config"):
        xl.load(folder, device="cpu")
    (folder / "adapter_config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ModelError, match="deep"):
        xl.load(folder, device="cpu")


# Selectors, records, evaluations, spaces, caches


def test_saved_selectors_of_others_are_read_or_refused(run: Path, tmp_path: Path) -> None:
    for strategy in ("pilot", "confidence", "vote"):
        file = tmp_path / f"{strategy}.json"
        assert main(["select", str(run), "--strategy", strategy, "--save", str(file)]) == 0
        content = json.loads(file.read_text(encoding="utf-8"))
        load_selector(file)
        for other in variations(content):
            file.write_text(json.dumps(other), encoding="utf-8")
            try:
                load_selector(file)
            except UsageError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017 - either is right


def test_records_of_training_are_read_or_refused(tmp_path: Path) -> None:
    point = CurvePoint(1, 0.5, "train", 1e-4, 2.0, {"align": 2.0})
    record = TrainRecord("lens", {"name": "tiny"}, {"lr": 1.0}, ["sw"], "en", [1], curve=[point])
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    for name in ("train.json", "curve.jsonl"):
        file = tmp_path / "training" / name
        before = file.read_text(encoding="utf-8")
        for other in variations(json.loads(before)):
            file.write_text(json.dumps(other), encoding="utf-8")
            try:
                read_record(tmp_path)
            except RunFolderError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017 - either is right
        for text in ("[" * 100_000, '{"a": NaN}', "\ud800".encode("utf-8", "surrogatepass")):
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
            with pytest.raises(RunFolderError):
                read_record(tmp_path)
        file.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", '{"format": NaN}', '{"version": 1}'])
def test_spaces_and_evaluations_that_are_none(tmp_path: Path, text: str) -> None:
    for name in ("space.json", "evaluation.json"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("space.safetensors", "rows.parquet"):
        (tmp_path / name).write_bytes(pickle.dumps([1]))
    with pytest.raises(CrosslatentError):
        load_space(tmp_path)
    with pytest.raises(CrosslatentError):
        Evaluation.load(tmp_path)


def test_a_translation_cache_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    file.write_bytes(pickle.dumps([1]) * 1000)
    with pytest.raises(RunFolderError):
        TranslationCache(file)


def test_a_lock_that_is_a_link_empties_no_other_file(tmp_path: Path) -> None:
    from crosslatent.runs.run_folder import RunFolder

    folder = hostile_run(tmp_path / "run")
    victim = tmp_path / "precious"
    victim.write_text("precious", encoding="utf-8")
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(RunFolderError, match="link"):
        RunFolder.open(folder, {})
    assert victim.read_text(encoding="utf-8") == "precious"


def test_an_owner_that_no_clock_knows(tmp_path: Path) -> None:
    from crosslatent.runs.locks import hold

    held = hold(tmp_path)
    for started in (1e300, -1e300, 10**400, "x"):
        owner = {"pid": 1, "host": bad("host"), "started": started}
        (tmp_path / ".owner.json").write_text(json.dumps(owner), encoding="utf-8")
        with pytest.raises(RunFolderError, match="Another process"):
            hold(tmp_path)
    held.release()
