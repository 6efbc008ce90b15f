"""Methods that train: they learn, by their seed alone, and leave the model exactly as it was."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from crosslatent import engine
from crosslatent.core import imports
from crosslatent.core.errors import ModelError, TrainingError, UsageError
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.engine import EnginePath
from crosslatent.engine.oracle import run_rows
from crosslatent.engine.requests import Request
from crosslatent.methods import tuning
from crosslatent.methods.method import Bench, Way
from crosslatent.tasks import Item, Task
from crosslatent.tasks.item import Shot
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped
from support.two_stacks import wrapped_stacks

IN_MODULES = ("lora-x", "ia3", "madx")
SOFT = ("prefix", "prompt")
NAMES = ("lora-en", "lens-train", *IN_MODULES, *SOFT)
OPTIONS = ("a", "b", "c", "d")


def items(count: int = 8, lang: str = "sw") -> tuple[Item, ...]:
    """Questions whose answers can only be learnt by heart."""
    return tuple(
        Item(
            f"{lang}{k}", lang, "en", f"{lang} swali {k * k}:", f"question {k * k}:",
            answer=OPTIONS[k * 7 % 5 % 4], options=OPTIONS,
        )
        for k in range(count)
    )  # fmt: skip


def bench_of(model, learn=None, **others) -> Bench:
    learn = items() if learn is None else learn
    task = Task("toy", "Toy", "", "en->x", "understanding", "option", 2, learn)
    return Bench(model, task, learn, 2, **others)


def fitted(name, bench, seed=0, langs=("sw",), **settings):
    method = METHOD_KINDS[name]()
    return method.fit(bench, langs, dict(method.settings(bench)[0]) | settings, seed)


def answers(way, bench, asked=None):
    return list(way.answers(bench, bench.learn if asked is None else asked, lambda _: None))


def right(way, bench, asked=None):
    found = answers(way, bench, asked)
    assert not any(one.failure for one in found)
    return sum(bool(one.record["correct"]) for one in found)


def picture(hf):
    """Everything of a model that a method must leave as it is."""
    modules = {
        name: (id(one), one.training, len(one._forward_hooks), len(one._forward_pre_hooks))
        for name, one in hf.named_modules()
    }
    weights = {
        name: (id(one), one.requires_grad, one.grad, one.data_ptr())
        for name, one in hf.named_parameters()
    }
    return list(modules.items()), weights, {name: id(one) for name, one in vars(hf).items()}


class Untouched:
    """While open, a model may be changed; afterwards it must be what it was."""

    def __init__(self, hf):
        self.hf = hf

    def __enter__(self):
        self.state = {name: one.clone() for name, one in self.hf.state_dict().items()}
        self.seen = picture(self.hf)

    def __exit__(self, *_):
        assert picture(self.hf) == self.seen
        assert list(self.hf.state_dict()) == list(self.state)
        for name, one in self.hf.state_dict().items():
            assert torch.equal(one, self.state[name]), name


def logits(model, text=MAIN):
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([ids_of(model, text)])).logits


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt", "phi3", "bloom"])
@pytest.mark.parametrize("name", IN_MODULES)
def test_untrained_weights_change_nothing_at_all(name, family):
    model = wrapped(family)
    before = logits(model)
    with Untouched(model.hf), tuning.restored(model.hf) as held:
        put = METHOD_KINDS[name]().put(model, 0, held)
        assert put
        assert torch.equal(logits(model), before)
        for weight in put.values():
            weight.data += 0.5
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_as_before(name):
    model = wrapped()
    model.hf.model.layers[1].mlp.train()  # a mode and flags of the user's own
    model.hf.model.layers[0].self_attn.k_proj.weight.requires_grad_(False)
    bench = bench_of(model)
    plain = logits(model)
    with Untouched(model.hf):
        way = fitted(name, bench)
    with Untouched(model.hf), way.installed():
        assert torch.equal(logits(model), plain) == (name in SOFT)
    with Untouched(model.hf):
        assert len(answers(way, bench)) == 8
    assert torch.equal(logits(model), plain)


def broken(*_):
    raise RuntimeError("broken")


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_as_before_after_an_error(name, monkeypatch):
    model = wrapped()
    way = fitted(name, bench_of(model))
    with pytest.raises(RuntimeError, match="broken"), Untouched(model.hf), way.installed():
        broken()
    monkeypatch.setattr("crosslatent.lens.training.loop.Descent.step", broken)
    with Untouched(model.hf), pytest.raises(RuntimeError, match="broken"):
        fitted(name, bench_of(model))


def test_an_error_while_weights_are_put_leaves_the_model_too(monkeypatch):
    model = wrapped()
    way = fitted("lora-x", bench_of(model))
    monkeypatch.setattr(way, "state", {})
    with Untouched(model.hf), pytest.raises(KeyError), way.installed():
        pass


@pytest.mark.parametrize(
    ("name", "lr", "epochs"),
    [
        ("lora-x", 1e-2, 40),
        ("lora-en", 1e-2, 40),
        ("ia3", 1e-1, 120),
        ("prefix", 1e-1, 120),
        ("prompt", 1e-1, 120),
    ],
)
def test_answers_can_be_learnt_by_heart(name, lr, epochs):
    bench = bench_of(wrapped())
    way = fitted(name, bench, lr=lr, epochs=epochs)
    asked = bench.learn
    if name == "lora-en":
        asked = tuple(replace(one, main=one.aux) for one in asked)  # it has learnt these
    assert way.losses[-1] < 0.1 * way.losses[0]
    assert right(Way(), bench, asked) < 4
    assert right(way, bench, asked) == 8


def test_a_task_adapter_learns_over_the_english_one():
    bench = bench_of(wrapped())
    way = fitted("madx", bench, lr=3e-2, epochs=60, langs=("en",))
    assert way.losses[-1] < 0.5 * way.losses[0]
    asked = tuple(replace(one, main=one.aux, lang="en") for one in bench.learn)
    assert right(way, bench, asked) > right(Way(), bench, asked)
    other = fitted("madx", bench, lr=3e-2, epochs=60)
    task = [name for name in way.state if name.startswith("task")]
    assert all(torch.equal(way.state[name], other.state[name]) for name in task)
    rest = set(way.state) - set(task)
    assert not any(torch.equal(way.state[name], other.state[name]) for name in rest)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_nothing_else(name):
    model = wrapped()
    # More samples than one batch: else an order would be the same for all seeds.
    bench = bench_of(model, items(20))
    first, again, other = (fitted(name, bench, seed=seed, epochs=1) for seed in (1, 1, 2))
    assert list(first.state) == list(again.state) == list(other.state)
    assert all(torch.equal(first.state[key], again.state[key]) for key in first.state)
    assert not all(torch.equal(first.state[key], other.state[key]) for key in first.state)


@pytest.mark.parametrize("name", IN_MODULES)
def test_the_engine_answers_as_single_rows_do(name):
    model = wrapped()
    way = fitted(name, bench_of(model), lr=3e-2)
    with way.installed():
        main, aux = ids_of(model, MAIN), ids_of(model, AUX)
        rows = all_rows(model, aux, ("attn", "ffn"))[:9]
        options = ((5, 6), (7,))
        request = Request(tuple(main), tuple(rows), (3, 4), options)
        slow = run_rows(model, main, rows, max_new_tokens=3, watch=(3, 4), options=options)
        for path in (None, EnginePath("shared-prefix"), EnginePath("expanded-cache")):
            (fast,) = engine.run(model, [request], max_new_tokens=3, path=path)
            assert_equal(fast.rows, slow)


def test_the_cost_is_counted():
    bench = bench_of(wrapped(), items(8) + items(8, "hi"))
    d, n = bench.model.d_model, bench.model.n_layers
    lora = fitted("lora-x", bench)
    assert (lora.labelled, lora.unlabelled) == (16, 0)
    linear = [
        one for one in bench.model.hf.model.layers.modules() if type(one).__name__ == "Linear"
    ]
    assert lora.trained == sum(8 * (one.in_features + one.out_features) for one in linear)
    assert fitted("lora-en", bench).labelled == 8  # the counterparts are the same
    assert fitted("prefix", bench).trained == 20 * n * 2 * 2 * 8
    assert fitted("prompt", bench).trained == 20 * d
    madx = fitted("madx", bench)
    small, large = (2 * d * width + d + width for width in (d // 16, d // 2))
    assert madx.trained == n * (2 * large + small)
    lengths = [len(ids_of(bench.model, text)) for one in items() for text in (one.main, one.aux)]
    assert (madx.labelled, madx.unlabelled) == (8, sum(lengths))
    lens = fitted("lens-train", bench)
    assert (lens.labelled, lens.trained) == (0, sum(one.numel() for one in lens.state.values()))


def test_a_language_adapter_learns_from_the_texts_that_are_given():
    bench = bench_of(wrapped(), texts={"sw": ["habari za asubuhi"], "en": ["good morning"]})
    assert fitted("madx", bench).unlabelled == len(b"habari za asubuhi") + len(b"good morning")
    with pytest.raises(UsageError, match="There is no text in 'xx'"):
        fitted("madx", bench, langs=("xx",))


def test_scaled_modules_are_seen_and_not_looked_up():
    for family, scaled in {
        "qwen3": "self_attn.k_proj, self_attn.v_proj and the inputs of mlp.down_proj",
        "gpt2": "attn.c_attn and the inputs of mlp.c_proj",
        "opt": "self_attn.k_proj, self_attn.v_proj and the inputs of fc2",
    }.items():
        (note,) = fitted("ia3", bench_of(wrapped(family))).notes
        assert note == f"scales the outputs of {scaled}"
    assert "no 'neurons' that could be proven" in METHOD_KINDS["ia3"]().refusal(
        bench_of(wrapped("mixtral"))
    )


def test_shots_of_english_questions_are_english():
    item = replace(items()[0], shots=(Shot("m", "ma", "x", "xa"),))
    (found,) = tuning.english(bench_of(wrapped(), (item,)))
    assert found.main == item.aux
    assert found.shots == (Shot("x", "xa", "x", "xa"),)


def test_a_loss_that_is_no_number_is_an_error():
    with pytest.raises(TrainingError, match="try a lower learning rate"):
        fitted("lora-x", bench_of(wrapped()), lr=1e30, epochs=5)


@pytest.mark.parametrize("name", NAMES)
def test_refusals(name, monkeypatch):
    method, model = METHOD_KINDS[name](), wrapped()
    assert method.refusal(bench_of(model)) == ""
    assert "give 8 or more" in method.refusal(bench_of(model, items(7)))
    assert "encoder-decoder" in method.refusal(bench_of(wrapped_stacks("t5")))
    with tuning.restored(model.hf), ExitStack() as held:
        METHOD_KINDS["lora-x"]().put(model, 0, held)
        assert "has adapters already" in method.refusal(bench_of(model))
    if name in ("lora-en", "lora-x", "ia3", "prefix"):
        with monkeypatch.context() as patched:
            patched.setattr(imports, "installed", lambda module: module != "peft")
            assert "pip install" in method.refusal(bench_of(model))
    monkeypatch.setattr(model.hf, "quantization_method", "gptq", raising=False)
    assert "quantised weights (gptq)" in method.refusal(bench_of(model))


def test_a_model_that_cannot_run_with_adapters_is_named():
    model = wrapped("phimoe")  # its router is a linear layer that returns two tensors
    with Untouched(model.hf), pytest.raises(ModelError, match="LoRA on the languages does not"):
        fitted("lora-x", bench_of(model))


@pytest.mark.parametrize("name", NAMES)
def test_weights_in_half_precision_stay_so(name):
    model = wrapped()
    model.hf.to(torch.bfloat16)
    bench = bench_of(model)
    with Untouched(model.hf):
        way = fitted(name, bench)
        assert len(answers(way, bench)) == 8
    assert name == "lens-train" or {one.dtype for one in way.state.values()} == {torch.float32}


def test_gold_answers_become_likelier_in_the_shipped_model():
    from crosslatent.model import shipped_model
    from crosslatent.tasks import load_task

    task = load_task("demo-facts")
    learn = tuple(item for item in task.items if item.split == "pilot" and item.lang == "es")
    unseen = [item for item in task.items if item.split == "unseen" and item.lang == "es"]
    bench = Bench(shipped_model(), task, learn, 2)
    way = fitted("lora-x", bench, lr=1e-3, epochs=3)

    def gold(each, asked):
        return sum(one.record["gold_score"] for one in answers(each, bench, asked)) / len(asked)

    assert gold(way, learn) > gold(Way(), learn) + 0.5
    assert gold(way, unseen) > gold(Way(), unseen)


def test_quick_settings_are_few_and_short():
    bench = bench_of(wrapped())
    for name in NAMES:
        method = METHOD_KINDS[name]()
        assert len(method.settings(bench)) in (2, 3)
        (only,) = method.settings(replace(bench, quick=True))
        assert only["epochs"] <= method.settings(bench)[0]["epochs"]
