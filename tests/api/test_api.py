"""One transplant through the Python interface, and what the package's top level offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import crosslatent as xl
from support.rows import AUX, MAIN, wrapped
from support.runs import item, row, write_run


def test_layers_from_the_end_are_resolved_and_the_touched_tokens_named():
    model = wrapped()
    one = xl.transplant(
        model, main=MAIN, aux=AUX, component="ffn", source=-1, target=-4, max_new_tokens=4
    )
    assert (one.source, one.target) == (3, 0)
    assert one.main_token == one.aux_token == ":"
    assert one.same_last_token
    assert one.main_length == len(MAIN)  # the tiny tokenizer has one token a byte
    assert one.vanilla == model.text_of(list(one.vanilla_ids))
    assert set(one.to_dict()) >= {"vanilla", "output", "output_ids", "component", "aux_length"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": 4}, "source layer 4 is out of range: this model has 4 blocks"),
        ({"target": -5}, "target layer -5 is out of range"),
        (
            {"component": "mlp"},
            "Unknown component 'mlp' (did you mean 'ffn'?): use one of attn, ffn",
        ),
        ({"main": " "}, "main prompt is empty"),
        ({"aux": ""}, "aux prompt is empty"),
        ({"main": "x" * 300}, "main prompt has 300 tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_mistakes_say_what_would_be_right(changes, says):
    arguments = {"main": MAIN, "aux": AUX, "component": "ffn", "source": 0, "target": 0} | changes
    with pytest.raises(xl.CrosslatentError) as error:
        xl.transplant(wrapped(), **arguments)
    assert says in str(error.value)


def test_importing_the_package_does_not_load_torch():
    code = "import sys, crosslatent; crosslatent.Item; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_folder_is_read_without_torch(tmp_path):
    rows = [row("a", "vanilla", correct=False), row("a"), row("b", "vanilla"), row("b")]
    write_run(tmp_path / "run", [item("a"), item("b")], rows, spec={"components": ["ffn"]})
    code = (
        "import sys, crosslatent; run = crosslatent.Run(sys.argv[1]); run.upper_bound(); "
        "run.heatmap(); run.to_pandas(); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "run"]
    assert subprocess.run(command, check=False).returncode == 0


def test_every_public_name_resolves():
    for name in xl.__all__:
        assert getattr(xl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xl.nonsense
