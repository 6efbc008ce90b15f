"""Arguments of other types than belong there, as in somebody's first notebook: one sentence."""

from __future__ import annotations

import pytest

import crosslatent as xl
from crosslatent.core.errors import PairError, TaskError
from support.models import save_tiny
from support.rows import wrapped

QUESTION = {"main": "a?", "aux": "b?", "answer": "A"}
EDIT = {"main": "a", "aux": "b", "component": "ffn", "source": 0, "target": 0}


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m: xl.load(None), TypeError, "a folder or by a name on the hub, not NoneType"),
        (lambda m: xl.load(123), TypeError, "not int .123."),
        (lambda m: xl.transplant(3, **EDIT), TypeError, "A model is what xl.load returns"),
        (lambda m: xl.transplant(m, **EDIT | {"main": None}), TypeError, "main is a text, not"),
        (lambda m: xl.transplant(m, **EDIT | {"aux": ["b"]}), TypeError, "aux is a text, not list"),
        (lambda m: xl.transplant(m, **EDIT | {"source": "0"}), PairError, "source layer is '0'"),
        (lambda m: xl.transplant(m, **EDIT, sorce=1), TypeError, "no setting 'sorce'"),
        (lambda m: xl.capture("m", "a"), TypeError, "A model is what xl.load returns, not str"),
        (lambda m: xl.check(3), TypeError, "or its folder or name, not int"),
        (lambda m: xl.load_task([QUESTION]), TypeError, "load_prompts.*not list"),
        (lambda m: xl.load_prompts(QUESTION), TaskError, "a list of objects with main and aux"),
        (lambda m: xl.load_prompts(["a", "b"]), TaskError, "item 1: an Item, or a mapping"),
        (lambda m: xl.sweep(m, "demo-facts"), TaskError, "give a task .xl.load_task."),
        (lambda m: xl.sweep(m, [QUESTION], pair="0:0"), TypeError, "no setting 'pair'"),
        (lambda m: xl.sweep(m, [QUESTION], progress="yes"), TypeError, "give True, or a function"),
        (lambda m: xl.Run(123), TypeError, "the path or the URL of its folder, not int"),
    ],
)
def test_what_belongs_there_is_said(model, call, kind, words):
    with pytest.raises(kind, match=words):
        call(model)


def test_a_list_of_mappings_is_prompts():
    task = xl.load_prompts([QUESTION | {"lang": "Swahili"}, QUESTION])
    assert [item.lang for item in task.items] == ["sw", "und"]


def test_a_folder_serves_as_the_model(tmp_path, model):
    folder = save_tiny(tmp_path / "tiny")
    assert xl.transplant(folder, **EDIT, max_new_tokens=1).output is not None
    run = xl.sweep(folder, [QUESTION], pairs="0:0", out=tmp_path / "run", progress=True)
    assert run.status().complete
    assert run.status().rows == run.status().planned == 3
