"""Sweeps on one device and on two give the rows of the CPU, on every path."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import dispatch_model
from accelerate.hooks import AlignDevicesHook, add_hook_to_module

import crosslatent as xl
from crosslatent.answering.gradients import AttributionScore, attributions
from crosslatent.core.errors import DeviceError
from crosslatent.core.specs import EXPANDED_CACHE, ORACLE, SHARED_PREFIX
from crosslatent.engine import best_path, memory, prefix_layout
from crosslatent.engine.prefill import prefill
from crosslatent.lens.training.processes import seeded
from crosslatent.model import caches, encode_batch, loading
from support import accelerator
from support.models import save_tiny, tiny_model
from support.rows import AUX, MAIN, ids_of
from support.two_stacks import tiny_two_stacks

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("nothing_refused")]

FAMILIES = {
    "llama": SHARED_PREFIX,
    "gemma2": SHARED_PREFIX,
    "gemma3_text": SHARED_PREFIX,
    "gpt_neox": SHARED_PREFIX,
    "qwen3": SHARED_PREFIX,
    "falcon-alibi": EXPANDED_CACHE,
    "t5": EXPANDED_CACHE,
    "m2m_100": EXPANDED_CACHE,
}
"""Families and the fastest path of each."""
CORE = ("llama", "gemma2", "falcon-alibi", "t5")
"""Without windows and norms after modules, with both, on the middle path, with an encoder."""
TWO_STACKS = ("t5", "m2m_100")
ENDS = [*range(0, 256, 9), 106]
"""End tokens by which rows end early, each at another time, in all of the families."""
NEW = 5


def model_of(family, place="cpu", **overrides):
    """A tiny model on the CPU, on one device ("one"), over two ("two"), or over one and the CPU."""
    if family in TWO_STACKS:
        hf, tokenizer = tiny_two_stacks(family, **overrides), tiny_model("llama")[1]
    else:
        hf, tokenizer = tiny_model(family, **overrides)
    hf.generation_config.eos_token_id = ENDS
    if place == "one":
        hf.to(accelerator.device())
    elif place == "two":
        hf = dispatch_model(hf, device_map=halves(hf), force_hooks=True)
    elif place in ("cpu behind", "cpu in front"):
        apart(hf, accelerator.device(), torch.device("cpu"), turned=place == "cpu in front")
    return xl.wrap(hf, tokenizer)


def apart(hf, first, second, *, turned):
    """Half of a model on each device; unlike a device map, this does not fetch what the CPU has."""
    for name, place in halves(hf, *((second, first) if turned else (first, second))).items():
        part = hf.get_submodule(name).to(place)
        add_hook_to_module(part, AlignDevicesHook(execution_device=place, io_same_device=False))
    place = hf.get_input_embeddings().weight.device
    add_hook_to_module(hf, AlignDevicesHook(execution_device=place, io_same_device=True))


def halves(hf, first=None, second=None):
    """A device map: blocks 2 and 3 of each stack, and what follows them, on the second device."""
    first, second = first or accelerator.device(0), second or accelerator.device(1)
    stacks = [name for name, part in hf.named_modules() if isinstance(part, torch.nn.ModuleList)]
    stacks = [name for name in stacks if len(hf.get_submodule(name)) == 4]
    placed = {f"{stack}.{n}": second if n > 1 else first for stack in stacks for n in range(4)}
    head, embedded = hf.get_output_embeddings(), hf.get_input_embeddings().weight
    for name, part in hf.named_modules():
        is_leaf = not [*part.children()] and not name.startswith(tuple(placed))
        if is_leaf and [*part.parameters(), *part.buffers()]:
            is_after = "norm" in name.rpartition(".")[2] or part is head
            is_tied = getattr(part, "weight", None) is embedded
            placed[name] = second if is_after and not is_tied else first
    return placed


def items():
    return [
        {
            "id": f"q{n}", "main": f"{MAIN} {n}", "aux": f"{AUX} {n}", "options": ["ab", "cd", "a"],
            "answer": "ab", "cluster": f"c{n}",
        }
        for n in range(2)
    ]  # fmt: skip


def swept(model, out, **settings):
    """All tables of a sweep, in an order of their own, without what says when they were made."""
    asked = {
        "component": ("attn", "ffn"),
        "pairs": "0:3,2:1",
        "controls": ("shuffled",),
        "score_options": True,
        "max_new_tokens": NEW,
        "out": out,
    }
    xl.sweep(model, items(), **(asked | settings))
    found = {}
    for folder in sorted({path.parent for path in out.rglob("*.parquet")}):
        parts = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
        table = pd.concat(parts, ignore_index=True)
        drop = [name for name in table if name in ("seconds", "time", "session")]
        table = table.drop(columns=drop)
        keys = [name for name in table if not any(map(unsortable, table[name]))]
        found[folder.relative_to(out).name] = table.sort_values(keys, ignore_index=True)
    return found


def unsortable(value):
    return isinstance(value, (list, dict, np.ndarray, float))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name], atol=1e-3, rtol=1e-3)


EXTRAS = {"attribution": True, "samples": 2, "keep_vectors": True}
"""With the exception of attribution on two devices: without C++, torch's backward knows one."""


@pytest.mark.parametrize("place", ["one", "two"])
@pytest.mark.parametrize(
    "family",
    [pytest.param(one, marks=[] if one in CORE else [pytest.mark.slow]) for one in FAMILIES],
)
def test_the_rows_are_those_of_the_cpu(family, place, tmp_path):
    extras = EXTRAS if family in ("llama", "gemma2") else {}
    extras = extras | {"attribution": False} if place == "two" else extras
    model = model_of(family, place)
    path = best_path(model)
    assert path.name == FAMILIES[family]
    if path.name == SHARED_PREFIX:
        assert path.reason == ""
    expected = swept(model_of(family), tmp_path / "cpu", **extras)
    assert_same(swept(model, tmp_path / "device", **extras), expected)
    assert set(expected["rows"].path) == {path.name}
    assert expected["rows"].output_ids.map(len).nunique() > 2  # rows end early


@pytest.mark.parametrize("name", [SHARED_PREFIX, EXPANDED_CACHE, ORACLE])
@pytest.mark.parametrize("place", ["one", "two"])
def test_every_path_on_every_place(name, place, tmp_path):
    asked = {"engine": name, "strength": 0.5, "positions": 2, "exact": True}
    expected = swept(model_of("llama"), tmp_path / "cpu", **asked)
    found = swept(model_of("llama", place), tmp_path / "device", **asked)
    assert_same(found, expected)
    assert name in set(found["rows"].path)


@pytest.mark.parametrize("place", ["cpu behind", "cpu in front"])
def test_attribution_where_the_halves_of_a_model_are_apart(place):
    scores = []
    for where in ("cpu", place):
        model = model_of("llama", where)
        prompts = [(ids_of(model, MAIN), ids_of(model, AUX)), (ids_of(model, AUX), [4, 9, 6])]
        asked = [AttributionScore(), AttributionScore("rise", ((5,), (9, 11)))]
        scores += [attributions(model, prompts, ["attn", "ffn"], scores=asked)]
    for one, other in zip(*scores, strict=True):
        for kind, values in one.items():
            np.testing.assert_allclose(values, other[kind], rtol=1e-3, atol=1e-3)


def test_loading_over_two_devices(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "model")
    placed = halves(tiny_model("llama")[0])
    monkeypatch.setattr(loading, "_spread", lambda: {"device_map": placed})
    model = xl.load(folder, device="spread")
    assert set(map(str, model.devices)) == {"mockgpu:0", "mockgpu:1"}
    plain = xl.load(folder, device="cpu")
    assert_same(swept(model, tmp_path / "device"), swept(plain, tmp_path / "cpu"))


@pytest.mark.parametrize("family", ["llama", "gemma2", "t5"])
@pytest.mark.parametrize("place", ["one", "two"])
def test_generate_under_patched(family, place):
    answers = []
    for where in ("cpu", place):
        model = model_of(family, where)
        vectors = xl.capture(model, AUX, ["ffn"])
        ids = torch.tensor([ids_of(model, MAIN)], device=model.device)
        settings = {"do_sample": False, "max_new_tokens": NEW, "pad_token_id": 0}
        asked = [settings, settings | {"use_cache": False}, settings | {"num_beams": 2}]
        with xl.patched(model, vectors, component="ffn", source=0, target=3):
            found = [model.hf.generate(ids, **each).tolist() for each in asked]
        answers.append(found)
    assert answers[0] == answers[1]
    assert answers[0][0] == answers[0][1]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("place", ["one", "two"])
@pytest.mark.parametrize("chunk", [None, 7])
def test_padded_prompts_in_chunks(side, place, chunk):
    """The last real tokens of a batch stand in different columns."""
    logits = []
    for where in ("cpu", place):
        model = model_of("llama", where)
        prompts = [ids_of(model, text) for text in (MAIN, "Habari?", AUX)]
        read = prefill(model, encode_batch(model, prompts, side), chunk=chunk)
        read.keep(torch.tensor([2, 0]))
        read.feed(torch.tensor([40, 41]))
        logits.append(read.logits.cpu())
    assert torch.allclose(*logits, atol=1e-3)


# What the checks above would not be worth without: each fault is put back, and noticed.


def device_of_the_first(monkeypatch):
    """Rows that go on are picked by places on the first device."""
    monkeypatch.setattr(caches, "keep_rows", lambda cache, rows: cache.batch_select_indices(rows))


def columns_as_a_tensor(monkeypatch):
    """Which logits are wanted is said by a tensor."""
    right = caches.forward

    def forward(module, inputs, cache=None, logits_to_keep=None, **more):
        if logits_to_keep is not None:
            width = inputs["input_ids"].shape[1]
            places = torch.arange(width - logits_to_keep, width, device=inputs["input_ids"].device)
            more["logits_to_keep"] = places
        return right(module, inputs, cache, **more)

    monkeypatch.setattr(caches, "forward", forward)


def suffix_on_the_cpu(monkeypatch):
    """The masks of a step stay where they are made."""

    def mask(step, hidden, _device):
        return hidden(step, torch.device("cpu"))[:, None, None, None]

    monkeypatch.setattr(prefix_layout.Step, "_mask", mask)


def read_and_leave(model):
    """Two prompts of different lengths, of which one goes on."""
    prompt = ids_of(model, MAIN)
    rows = prefill(model, encode_batch(model, [prompt, prompt[:9]]))
    rows.keep(torch.tensor([1]))


SABOTAGES = {
    device_of_the_first: read_and_leave,
    columns_as_a_tensor: read_and_leave,
    suffix_on_the_cpu: best_path,
}


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda each: each.__name__)
def test_a_tensor_on_the_wrong_device_is_noticed(sabotage, monkeypatch):
    work = SABOTAGES[sabotage]
    work(model_of("llama", "two"))
    assert not accelerator.refused
    sabotage(monkeypatch)
    model = model_of("llama", "two")
    with pytest.raises((RuntimeError, DeviceError), match="same device"):
        work(model)
    assert accelerator.refused
    accelerator.refused.clear()


def test_the_trial_does_not_take_a_device_error_for_a_reason(monkeypatch, tmp_path):
    suffix_on_the_cpu(monkeypatch)
    model = model_of("llama", "one")
    with pytest.raises(DeviceError, match="'shared-prefix' fails on mockgpu:0 .* --engine oracle"):
        swept(model, tmp_path / "run")
    accelerator.refused.clear()
    assert set(swept(model, tmp_path / "slow", engine=ORACLE)["rows"].path) == {ORACLE}


def test_memory_of_the_device_is_asked(monkeypatch):
    device = accelerator.device(1)
    assert memory.free_bytes(device) == accelerator.FREE
    before = accelerator.Backend.emptied
    memory.release([device, torch.device("cpu"), device])
    assert accelerator.Backend.emptied == before + 1


def test_generators_of_all_devices_go_on_as_if_unasked():
    torch.manual_seed(7)
    seeds, drawn = list(accelerator.Backend.seeds), torch.get_rng_state()
    with seeded(3):
        assert accelerator.Backend.seeds == [3, 3]
    assert accelerator.Backend.seeds == seeds == [7, 7]
    assert torch.equal(torch.get_rng_state(), drawn)
