"""Weights in 8 and 4 bits: loaded, told apart, and held to the contracts."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.core.errors import MissingExtraError, ModelError
from crosslatent.engine import best_path
from crosslatent.engine.memory import bytes_per_row
from crosslatent.engine.near_ties import TieBreaker
from crosslatent.engine.requests import Request
from crosslatent.model import quantized
from support.models import byte_tokenizer, save_tiny

WAYS = [
    pytest.param(
        bits,
        library,
        id=f"{bits}-{library}",
        marks=pytest.mark.skipif(
            find_spec(library) is None, reason=f"{library} is not installed (extra: quantize)"
        ),
    )
    for bits, libraries in quantized.LIBRARIES.items()
    for library, _ in libraries
]
with_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (extra: quantize)"
)
WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
"""bitsandbytes packs 64 weights to a block."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("plain") / "model", "llama", **WIDTHS)


@pytest.fixture
def only(monkeypatch):
    """Leaves one library, as if the others were not installed."""

    def leave(library):
        left = {"accelerate", library}
        monkeypatch.setattr(
            "crosslatent.core.imports.find_spec",
            lambda name: find_spec(name) if name in left else None,
        )

    return leave


def loaded(folder, bits, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of each other's versions
        return xl.load(folder, device="cpu", quantization=bits, **options)


def layers(*models):
    """What the same input gives in each model's down projections."""
    entered = torch.randn(
        5, WIDTHS["intermediate_size"], generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        return [
            [model.blocks[layer].ffn.down_proj(entered.to(model.dtype)) for model in models]
            for layer in range(4)
        ]


def logits(model):
    with torch.no_grad():
        return model.hf(torch.arange(40)[None], use_cache=False).logits.float()


@pytest.mark.parametrize(("bits", "library"), WAYS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_held_in_few_bits_and_mean_the_same(folder, only, bits, library, dtype):
    only(library)
    plain, model = xl.load(folder, device="cpu", dtype=dtype), loaded(folder, bits, dtype=dtype)
    assert model.identity["quantization"] == library
    assert model.dtype == plain.dtype
    assert model.identity["parameters"] == plain.identity["parameters"]
    assert model.identity["weights_hash"] != plain.identity["weights_hash"]
    assert (
        model.identity["weights_hash"] == loaded(folder, bits, dtype=dtype).identity["weights_hash"]
    )
    # What a layer gives is off by 0.6 to 1.1% (8 bits) or 9 to 11% (4 bits), as measured on these
    # weights, which are Gaussian; a layer that was not quantised, or wrongly, is outside.
    least, most = (2e-3, 2e-2) if bits == "8bit" else (5e-2, 0.15)
    for expected, found in layers(plain, model):
        distance = (found.float() - expected.float()).norm() / expected.float().norm()
        assert least < distance < most
    held = sum(
        part.numel() * part.itemsize
        for name, weight in model.hf.state_dict().items()
        if "proj" in name
        for part in quantized.plain_tensors(weight)
    )
    weights = sum(w.numel() for n, w in plain.hf.named_parameters() if "proj" in n)
    packed = (bits, library) == ("4bit", "bitsandbytes")
    assert held < weights * (0.8 if packed else 1.6)
    request = Request((1, 2, 3), ((),))
    assert bytes_per_row(model, [request], 4) == bytes_per_row(plain, [request], 4)


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(("bits", "library"), WAYS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_contracts(folder, only, bits, library, dtype, contract):
    only(library)
    model = loaded(folder, bits, dtype=dtype)
    assert best_path(model).name == "shared-prefix"
    outcome = run(contract, Subject.of(model))
    assert (outcome.status, outcome.reason) == ("passed", "")
    if contract == "fast-equals-oracle":
        assert outcome.facts["distinct"] > 5
        assert outcome.facts["near_ties"] == 0


@pytest.mark.parametrize(("bits", "library"), WAYS)
def test_a_folder_that_is_quantised_loads_as_it_is(folder, only, tmp_path, bits, library):
    only(library)
    model = loaded(folder, bits)
    model.hf.save_pretrained(tmp_path / "small")
    model.tokenizer.save_pretrained(tmp_path / "small")
    again = loaded(tmp_path / "small", None)
    assert again.identity["quantization"] == library
    assert again.identity["weights_hash"] == model.identity["weights_hash"]
    assert torch.equal(logits(again), logits(model))
    with pytest.raises(ModelError, match=rf"quantised already .{library}.: leave --quantization"):
        loaded(tmp_path / "small", bits)


def test_a_folder_that_is_quantised_says_what_reads_it(folder, tmp_path, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match="few bits need bitsandbytes, which is not installed"
    ):
        xl.load(tmp_path)


@with_bitsandbytes
def test_outlier_columns_are_refused(folder):
    settings = BitsAndBytesConfig(load_in_8bit=True)  # its threshold is 6.0
    hf = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float16, device_map={"": "cpu"}
    )
    # This is why: another last token changes what comes before it.
    one, other = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 3]])
    with torch.no_grad():
        moved = hf(one).logits[:, :2] - hf(other).logits[:, :2]
    assert moved.abs().max() > 0.01
    with pytest.raises(ModelError, match=r"outlier columns .llm_int8_threshold = 6 in model.layer"):
        xl.wrap(hf, byte_tokenizer())


@with_bitsandbytes
def test_eight_bit_sums_round_as_half_precision(folder, only):
    only("bitsandbytes")
    assert loaded(folder, "8bit").arithmetic == torch.float16
    assert loaded(folder, "4bit").arithmetic == torch.float32
    assert loaded(folder, "8bit", dtype="bfloat16").arithmetic == torch.bfloat16


@pytest.mark.parametrize(("bits", "library"), WAYS[:3])
def test_near_ties_cannot_be_settled_in_float32(folder, only, bits, library):
    only(library)
    with pytest.raises(ModelError, match=rf"--exact needs .* are quantised .{library}."):
        TieBreaker(loaded(folder, bits, dtype="bfloat16"), 3)


def test_unknown_bits_and_missing_libraries_are_said(folder, monkeypatch):
    with pytest.raises(ModelError, match="Unknown quantization '3bit': use 8bit or 4bit"):
        xl.load(folder, quantization="3bit")
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="need torchao or bitsandbytes, which are not"):
        xl.load(folder, quantization="8bit")
    found = {"torchao", "bitsandbytes"}
    monkeypatch.setattr("crosslatent.core.imports.find_spec", lambda name: name in found or None)
    with pytest.raises(MissingExtraError, match="need accelerate, which is not installed"):
        xl.load(folder, quantization="4bit")


def test_kernels_that_a_device_lacks_are_said(folder, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("No kernel for this device\nand more")

    monkeypatch.setattr(quantized, "check", lambda name: None)
    monkeypatch.setattr(quantized, "settings", lambda *_: None)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(
        ModelError, match=r"in 4bit on cpu .No kernel for this device.: use another"
    ):
        xl.load(folder, device="cpu", quantization="4bit")


@with_bitsandbytes
def test_hashing_and_running_leave_four_bit_weights_as_they_are(folder, only):
    from bitsandbytes.functional import dequantize_4bit

    only("bitsandbytes")
    model = loaded(folder, "4bit")
    entered = torch.randn(5, WIDTHS["intermediate_size"])
    for _ in range(2):
        for block in model.blocks:
            layer = block.ffn.down_proj
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
            with torch.no_grad():
                assert torch.allclose(layer(entered), entered @ weight.T, atol=1e-4)
        again = xl.wrap(model.hf, model.tokenizer)
        assert again.identity["weights_hash"] == model.identity["weights_hash"]


@with_bitsandbytes
def test_weights_that_are_repacked_are_refused(folder, only):
    only("bitsandbytes")
    model = loaded(folder, "4bit")
    model.blocks[2].attn.q_proj.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(ModelError, match=r"repacked its 4-bit weights since .model.layers.2.self"):
        xl.wrap(model.hf, model.tokenizer)


@pytest.mark.parametrize(("bits", "library"), WAYS[:1])
def test_on_the_command_line(folder, capsys, bits, library):
    asked = ["transplant", "--model", str(folder), "--main", "Mji?", "--aux", "City?"]
    asked += ["--component", "ffn", "--source", "1", "--target", "0", "--max-new-tokens", "2"]
    assert main([*asked, "--device", "cpu", "--quantization", bits, "--json"]) == 0
    assert main([*asked, "--quantization", "2bit"]) == 2
    assert "Unknown quantization '2bit': use 8bit or 4bit." in capsys.readouterr().err
