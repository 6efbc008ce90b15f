"""The papers' tasks on local data: a sweep equals what plain hooks and `generate` give.

The data is made here, in the layout of the authors' release, with sentences of our own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from crosslatent.runs.reader import RunReader
from crosslatent.tasks import load_task

NEW_TOKENS = 4
PAIRS = [(0, 0), (1, 2), (3, 0)]
LANGUAGES = ("en", "sw", "zh")


def _lines(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), "utf-8")


def _xnli(root):
    for lang in LANGUAGES:
        folder = root / "XNLI" / "XNLI_sample"
        prompts = [f"Premise: {lang} {k}\n(1) yes\n(2) so\n(3) no\nA:" for k in range(2)]
        _lines(folder / "split" / f"{lang}.json", prompts)
        _lines(folder / "ans" / f"{lang}.json", ["1", "3"])
        _lines(folder / "ans_lang" / f"{lang}.json", [{"1": "yes", "2": "so", "3": "no"}])


def _xcopa(root):
    for lang in LANGUAGES:
        folder = root / "XCOPA" / "XCOPA_sample"
        prompts = [f"Say: {lang} {k}\n(1) rain\n(2) sun\nA:" for k in range(2)]
        _lines(folder / "split" / f"{lang}.json", prompts)
        _lines(folder / "en" / f"{lang}.json", [f"Back {prompt}" for prompt in prompts])
        _lines(folder / "ans" / f"{lang}.json", ["2", "1"])


def _xquad(root):
    for lang in ("en", "ar", "zh"):
        folder = root / "XQuAD" / "XQuAD_sample"
        prompts = [f"Context: {lang} {k} is red\nWhat?\nA:" for k in range(2)]
        _lines(folder / "split" / f"xquad.{lang}.json", prompts)
        _lines(folder / "ans" / f"xquad.{lang}.json", [f"red {lang}", "blue"])


def _globalopinionqa(root):
    folder = root / "GlobalOpinionQA" / "GlobalOpinionQA_sample"
    for lang, code in (("en", "en"), ("sw", "sw"), ("zh", "zh-CN")):
        prompts = [f"In {lang} {k}?\n(A) good\n(B) bad\n(C) so\nA:" for k in range(2)]
        rows = [
            {"input_text": prompt, "label": [0.2, 0.7, 0.1], "country": "Kenya"}
            for prompt in prompts
        ]
        _lines(folder / "split" / f"{code}.json", rows)
        _lines(folder / "translated" / f"{code}.json", [f"T {prompt}" for prompt in prompts])


MAKE = {"xnli": _xnli, "xcopa": _xcopa, "xquad": _xquad, "globalopinionqa": _globalopinionqa}


class Direct:
    """A transplant with two plain hooks, one for reading and one for replacing."""

    def __init__(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def _module(self, component, layer):
        block = self.model.model.layers[layer]
        return block.self_attn if component == "attn" else block.mlp

    def vector(self, prompt, component, layer):
        seen = []

        def keep(_module, _inputs, output):
            seen.append((output[0] if isinstance(output, tuple) else output)[0, -1].clone())

        handle = self._module(component, layer).register_forward_hook(keep)
        with torch.no_grad():
            self.model(**self.tokenizer(prompt, return_tensors="pt"))
        handle.remove()
        return seen[0]

    def answer(self, prompt, component, layer, vector):
        """The output, and the scores of `options` as continuations."""
        first = [True]

        def replace(_module, _inputs, output):
            if first[0]:
                first[0] = False
                (output[0] if isinstance(output, tuple) else output)[0, -1] = vector
            return output

        inputs = self.tokenizer(prompt, return_tensors="pt")
        handle = self._module(component, layer).register_forward_hook(replace)
        ids = self.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        handle.remove()
        new = ids[0, inputs["input_ids"].shape[1] :]
        return self.tokenizer.decode(new, skip_special_tokens=True)

    def score(self, prompt, option, component, layer, vector):
        """Log-probability of an option's likelier spelling after the edited prompt."""
        start = len(self.tokenizer(prompt)["input_ids"])

        def replace(_module, _inputs, output):
            (output[0] if isinstance(output, tuple) else output)[0, start - 1] = vector
            return output

        best = -torch.inf
        for text in (option, f" {option}"):
            ids = self.tokenizer(prompt)["input_ids"] + self.tokenizer(text)["input_ids"]
            handle = self._module(component, layer).register_forward_hook(replace)
            with torch.no_grad():
                logits = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            handle.remove()
            places = torch.arange(start - 1, len(ids) - 1)
            best = max(best, float(logits[places, torch.tensor(ids[start:])].sum()))
        return best


@pytest.fixture(scope="module")
def direct(tiny_folder):
    return Direct(tiny_folder)


CHOSEN = {name: ["ar" if name == "xquad" else "sw", "zh"] for name in MAKE}
"""XQuAD has no Swahili."""


@pytest.mark.parametrize("name", sorted(MAKE))
def test_sweep_of_local_data_equals_a_direct_computation(cli, direct, tiny_folder, tmp_path, name):
    MAKE[name](tmp_path / "data")
    run = tmp_path / "run"
    pairs = ",".join(f"{i}:{j}" for i, j in PAIRS)
    result = cli(
        "sweep", f"--model={tiny_folder}", f"--task={name}", f"--data={tmp_path / 'data'}",
        f"--lang={','.join(CHOSEN[name])}", "--component=attn,ffn", f"--pairs={pairs}",
        "--score-options", f"--max-new-tokens={NEW_TOKENS}", f"--out={run}",
    )  # fmt: skip
    assert result.code == 0, result.err
    items = {item.id: item for item in load_task(name, data=tmp_path / "data").items}
    with RunReader(run).connect() as connection:
        rows = connection.execute("SELECT * FROM rows WHERE control = 'none'").df()
    assert len(rows) == 2 * 2 * 2 * len(PAIRS)
    culture = name == "globalopinionqa"
    for row in rows.to_dict("records"):
        item = items[row["item"]]
        assert (item.aux_lang if culture else item.lang) in CHOSEN[name]
        vector = direct.vector(item.aux, row["component"], int(row["source"]))
        place = (row["component"], int(row["target"]), vector)
        assert row["output"] == direct.answer(item.main, *place)
        if item.options:
            scores = [direct.score(item.main, option, *place) for option in item.options]
            assert list(row["option_scores"]) == pytest.approx(scores, abs=1e-3)
            best = item.options[scores.index(max(scores))]
            assert dict(row["correct_by_rule"])["likelihood"] is (best == item.answer)
    assert len(set(rows["output"])) > len(rows) // 3  # the rows really differ


def test_languages_of_a_culture_task_are_those_of_the_counterpart(cli, tiny_folder, tmp_path):
    _globalopinionqa(tmp_path / "data")
    shown = cli(
        "tasks", "show", "globalopinionqa", f"--data={tmp_path / 'data'}", "--lang=zh", "--json"
    )
    assert shown.json["languages"] == ["en"]
    assert shown.json["aux_languages"] == ["zh"]
    assert shown.json["item"]["shares"] == [0.2, 0.7, 0.1]
    assert shown.json["item"]["answer"] == "(B)"


def test_a_language_that_is_not_there_is_refused(cli, tiny_folder, tmp_path):
    _xquad(tmp_path / "data")
    fixed = [f"--model={tiny_folder}", "--task=xquad", f"--out={tmp_path / 'run'}"]
    cli("sweep", *fixed, f"--data={tmp_path / 'data'}", "--lang=de").assert_refused(
        "'de'", "no file"
    )
    cli("sweep", *fixed, f"--data={tmp_path}", "--lang=zh").assert_refused("google/xquad", "--data")
    assert not (tmp_path / "run").exists()
